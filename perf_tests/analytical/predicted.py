"""Writes what the analytical model predicts where it is quoted: the ledger's ``predicted`` and the page of the model.

    python -m perf_tests.analytical.predicted

To be run whenever a constant of hardware.toml moves; a test says when it was not.
"""

import contextlib
import functools
import io
import re
import shlex

from fixtures.claims.ledger import LEDGER, UNITS
from fixtures.deployments import deployment as deployments
from fixtures.deployments.cell import cells
from fixtures.deployments.prediction import Prediction, predict
from fixtures.engines.registry import ENGINES
from fixtures.report import predictions
from perf_tests.harness.server_process import ROOT

PAGE = ROOT / "docs" / "model.md"
_ROW = re.compile(r"^    \{ deployment = .*\},$", re.MULTILINE)
_BLOCK = re.compile(r"(?<=^```text\n)\$ python -m fixtures\.report\.predictions (.*)\n(?s:.*?)(?=^```$)", re.MULTILINE)


@functools.cache
def prediction(deployment: str, cell: str, metric: str) -> Prediction:
    """The prediction of one metric of a cell by their names."""
    loaded = deployments.load(deployment, ENGINES)
    (found,) = cells(loaded, [cell])
    (one,) = (one for one in predict(loaded, found) if one.metric == metric)
    return one


def expected(deployment: str, cell: str, metric: str, over: str = "") -> Prediction:
    """What a row of the ledger is about: a metric of a cell, or its ratio to another cell's."""
    one = prediction(deployment, cell, metric)
    return one.over(prediction(deployment, over, metric), metric) if over else one


def ledger(text: str) -> str:
    """The ledger with the numbers of its predictions as the model has them, to four significant digits."""
    return _ROW.sub(_row, text)


def _row(found: re.Match[str]) -> str:
    row = found[0]
    words = dict(re.findall(r'(\w+) = "([^"]*)"', row))
    one = expected(words["deployment"], words["cell"], words["metric"], words.get("over", ""))
    for name in ("value", "low", "high"):
        number = f"{getattr(one, name) * UNITS[words['unit']]:.4g}"
        row = re.sub(rf"\b{name} = [^,]+", f"{name} = {float(number):g}", row)
    return row


def page(text: str) -> str:
    """The page with the output of every command on it that prints predictions."""
    return _BLOCK.sub(lambda found: f"$ python -m fixtures.report.predictions {found[1]}\n{_printed(found[1])}", text)


def _printed(options: str) -> str:
    with contextlib.redirect_stdout(io.StringIO()) as output:
        assert predictions.main(shlex.split(options)) == 0, options
    return output.getvalue()


def main() -> None:
    """Rewrite both files."""
    for path, rewrite in ((LEDGER, ledger), (PAGE, page)):
        path.write_text(rewrite(path.read_text()))


if __name__ == "__main__":
    main()

"""Writes the ledger's numbers that come from elsewhere: what the analytical model predicts, what the baselines have.

    python -m perf_tests.analytical.ledger_numbers

To be run whenever a constant of hardware.toml moves or a boot is added to the baselines; a test says when it was not. Whether
a statement holds is written by hand: the ledger cannot be read with a verdict that its numbers contradict.
"""

import functools
import re
import statistics

from fixtures.claims.ledger import LEDGER, UNITS
from fixtures.deployments import deployment as deployments
from fixtures.deployments.cell import cells
from fixtures.deployments.prediction import Prediction, predict
from fixtures.engines.registry import ENGINES
from fixtures.store import baseline
from perf_tests.harness.server_process import ROOT

# Where the baselines of a deployment are.
DIRECTORIES = {"h100x1": "h100-80gb-hbm3x1", "h200x1": "h200x1", "h100x2": "h100-80gb-hbm3x2", "h200x2": "h200x2"}
_ROW = re.compile(r"^    \{ deployment = .*\},$", re.MULTILINE)


@functools.cache
def prediction(deployment: str, cell: str, metric: str) -> Prediction:
    """The prediction of one metric of a cell, by their names."""
    loaded = deployments.load(deployment, ENGINES)
    (found,) = cells(loaded, [cell])
    (one,) = (one for one in predict(loaded, found) if one.metric == metric)
    return one


@functools.cache
def measurement(deployment: str, cell: str, metric: str) -> float:
    """The median of a metric over a cell's valid boots in the baselines."""
    engine, model, parallel, _ = cell.split("/")
    path = ROOT / "baselines" / DIRECTORIES[deployment] / f"{engine}-{parallel}-random" / f"{model}.json"
    found = baseline.read(path)
    if found is None:
        raise LookupError(f"{path}: not there")
    return statistics.median(boot.metrics[metric] for boot in found.cells[cell].boots if not boot.invalid)


def ledger(text: str) -> str:
    """The ledger with those numbers, to four significant digits."""
    return _ROW.sub(lambda found: _row(found[0]), text)


def _row(row: str) -> str:
    words = dict(re.findall(r'(\w+) = "([^"]*)"', row))
    key = words["deployment"], words["cell"], words["metric"]
    over = words["deployment"], words.get("over", ""), words["metric"]
    if "stated" in row:
        numbers = {"value": measurement(*key) / (measurement(*over) if "over" in words else 1)}
    else:
        one = prediction(*key).over(prediction(*over), words["metric"]) if "over" in words else prediction(*key)
        numbers = {"value": one.value, "low": one.low, "high": one.high}
    for name, number in numbers.items():
        rounded = float(f"{number * UNITS[words['unit']]:.4g}")
        row = re.sub(rf"\b{name} = [^,]+", f"{name} = {rounded:g}", row)
    return row


if __name__ == "__main__":
    LEDGER.write_text(ledger(LEDGER.read_text()))

"""Writes what the analytical model predicts into the ledger, as its ``predicted`` rows ask.

    python -m perf_tests.analytical.predicted

To be run whenever a constant of hardware.toml moves; a test says when it was not.
"""

import functools
import re

from fixtures.claims.ledger import LEDGER, UNITS
from fixtures.deployments import deployment as deployments
from fixtures.deployments.cell import cells
from fixtures.deployments.prediction import Prediction, predict
from fixtures.engines.registry import ENGINES

_ROW = re.compile(r"^    \{ deployment = .*\},$", re.MULTILINE)


@functools.cache
def prediction(deployment: str, cell: str, metric: str) -> Prediction:
    """The prediction of one metric of a cell, by their names."""
    loaded = deployments.load(deployment, ENGINES)
    (found,) = cells(loaded, [cell])
    (one,) = (one for one in predict(loaded, found) if one.metric == metric)
    return one


def ledger(text: str) -> str:
    """The ledger with the numbers of its predictions as the model has them, to four significant digits."""
    return _ROW.sub(lambda found: _row(found[0]), text)


def _row(row: str) -> str:
    words = dict(re.findall(r'(\w+) = "([^"]*)"', row))
    one = prediction(words["deployment"], words["cell"], words["metric"])
    if "over" in words:
        one = one.over(prediction(words["deployment"], words["over"], words["metric"]), words["metric"])
    for name in ("value", "low", "high"):
        number = f"{getattr(one, name) * UNITS[words['unit']]:.4g}"
        row = re.sub(rf"\b{name} = [^,]+", f"{name} = {float(number):g}", row)
    return row


if __name__ == "__main__":
    LEDGER.write_text(ledger(LEDGER.read_text()))

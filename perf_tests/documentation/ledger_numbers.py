"""The ledger's numbers that come from elsewhere: what the analytical model predicts, what the evidence has.

Whether a statement holds is written by hand: the ledger cannot be read with a verdict that its numbers contradict.
"""

import functools
import re

from fixtures.claims.ledger import UNITS
from fixtures.deployments import deployment as deployments
from fixtures.deployments.cell import cells
from fixtures.engines.registry import ENGINES
from fixtures.prediction.prediction import Prediction, predict
from perf_tests.documentation import evidence
from perf_tests.documentation.calibrate import PLATFORMS
from perf_tests.documentation.evidence.boots import PAIRS, measured
from perf_tests.documentation.tables import H100, H200

# Where the boots of a deployment are: the card's directory, and the set with the weights that the deployment serves. What the
# ledger says of two H200 was measured with dummy ones, and not all of it with random ones yet.
DIRECTORIES = {"h100x1": H100, "h200x1": H200, **PAIRS}
RANDOM = {"h200x1": evidence.TODAY}
ROW = re.compile(r"^    \{ deployment = .*\},$", re.MULTILINE)


@functools.cache
def prediction(deployment: str, cell: str, metric: str) -> Prediction:
    """The prediction of one metric of a cell, by their names."""
    loaded = deployments.load(deployment, ENGINES)
    (found,) = (one for one in cells(loaded, [cell]) if one.id == cell)
    (one,) = (one for one in predict(loaded, found, PLATFORMS[found.block.engine]) if one.metric == metric)
    return one


def filled(text: str) -> str:
    """The ledger with those numbers. Raises LookupError for a measurement that isn't in the evidence."""
    return ROW.sub(lambda found: _row(found[0]), text)


def _row(row: str) -> str:
    words = dict(re.findall(r'(\w+) = "([^"]*)"', row))
    deployment, metric, unit = words["deployment"], words["metric"], words["unit"]
    recorded = _recorded(deployment, words["cell"], words.get("over", ""), metric)
    if "stated = " in row:
        if recorded is None:
            raise LookupError(f"nothing is recorded of {row.strip()}")
        return _with(row, {"value": recorded}, unit)
    one = prediction(deployment, words["cell"], metric)
    if "over" in words:
        one = one.over(prediction(deployment, words["over"], metric), metric)
    row = re.sub(r", recorded = [^,]+", "", row)
    if recorded is not None:
        row = row.replace(", unit = ", ", recorded = 0, unit = ")
    numbers = {"value": one.value, "low": one.low, "high": one.high}
    return _with(row, numbers | ({"recorded": recorded} if recorded is not None else {}), unit)


def _recorded(deployment: str, cell: str, over: str, metric: str) -> float | None:
    """The median of a metric in the evidence, or its ratio to that of another cell; None where either has no boot."""
    if deployment not in DIRECTORIES:
        return None
    place, of = DIRECTORIES[deployment], RANDOM.get(deployment, evidence.CURRENT)
    value = measured(place, cell, metric, of)
    base = measured(place, over, metric, of) if over else 1.0
    return None if value is None or base is None else value / base


def _with(row: str, numbers: dict[str, float], unit: str) -> str:
    """A row with numbers, given in base units, to four significant digits."""
    for name, number in numbers.items():
        rounded = float(f"{number * UNITS[unit]:.4g}")
        row = re.sub(rf"\b{name} = [^,]+", f"{name} = {rounded:g}", row)
    return row

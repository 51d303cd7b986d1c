"""What was foretold of a deployment before anything ran, beside what came out.

The predictions were written by ``python -m fixtures.prediction --deployment NAME --csv FILE`` and are kept as they were.
"""

import csv
import functools
import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from fixtures.deployments import deployment as deployments
from fixtures.engines.registry import ENGINES
from fixtures.metrics import shown
from fixtures.prediction import prediction
from fixtures.store import baseline
from perf_tests.documentation import evidence
from perf_tests.documentation.errors import of_time, summary

PREDICTIONS = Path(__file__).parent / "foretold"
SET = evidence.TODAY
TIMES = ("latency", "output_throughput")
# Of online cells the pace: their time is that of the arrivals.
PACE = "tpot_p50"
# A deployment's second predictions, and when they were written: boots, whose names begin with their time, are held against
# what was foretold last before them.
AGAIN = {"h200x4": ("h200x4-again", "20261129")}
Row = tuple[str, str, float, float, float, float]


def predictions(name: str) -> list[Mapping[str, str]]:
    """The rows of a deployment's file: ``cell``, ``metric``, ``predicted``, ``low`` and ``high``."""
    with (PREDICTIONS / f"{name}.csv").open(encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def expected_today(name: str) -> Iterator[Mapping[str, str]]:
    """What the model expects of it now, in the same form."""
    for one in prediction.predictions(deployments.load(name, ENGINES)):
        figures = {"predicted": one.value, "low": one.low, "high": one.high}
        yield {"cell": one.cell.id, "metric": one.metric} | {key: repr(value) for key, value in figures.items()}


@functools.cache
def compared(name: str, today: bool = False) -> tuple[Row, ...]:
    """Cell, metric, predicted, low, high and measured (the median over boots), of every time that was both.

    Predicted as foretold, beside the boots that came then, or by the model of ``today``, beside all boots.
    """
    return tuple(_compared(name, expected_today(name) if today else predictions(name), today))


def _compared(name: str, predicted: Iterable[Mapping[str, str]], today: bool) -> Iterator[Row]:
    deployment, written = next(
        ((first, at) for first, (second, at) in AGAIN.items() if name in (first, second)), (name, "")
    )
    # Boots lie under the name of their cards.
    found = {
        cell_id: cell
        for path in sorted((SET / deployment.removesuffix("-families")).rglob("*.json"))
        for cell_id, cell in baseline.read(path).cells.items()
    }
    for row in predicted:
        cell, metric = found.get(row["cell"]), row["metric"]
        if cell is None or metric not in (*TIMES, PACE):
            continue
        boots = [boot for boot in cell.boots if today or (boot.boot < written) == (name == deployment) or not written]
        values = [boot.metrics[metric] for boot in boots if not boot.invalid and metric in boot.metrics]
        if values:
            figures = (float(row[key]) for key in ("predicted", "low", "high"))
            yield (row["cell"], metric, *figures, statistics.median(values))


def by_block(*names: str, today: bool = False) -> list[list[str]]:
    """A row for each booted engine and model: cells, mean and worst error, mean with its sign, and how many were inside."""
    blocks: dict[str, list[Row]] = defaultdict(list)
    for row in (row for name in names for row in compared(name, today)):
        blocks[row[0].rpartition("/")[0]].append(row)
        blocks["all"].append(row)
    rows = []
    for block in (*(key for key in blocks if key != "all"), "all"):
        errors = [of_time(metric, predicted / value) for _, metric, predicted, _, _, value in blocks[block]]
        inside = sum(low <= value <= high for _, _, _, low, high, value in blocks[block])
        rows.append([block, *summary(errors), f"{statistics.mean(errors):+.1%}", f"{inside} of {len(errors)}"])
    return rows


def every_cell(*names: str) -> list[list[str]]:
    """A row for each time: predicted, its interval, measured, the error as of a time, and whether it was inside."""
    return [
        [
            cell.removeprefix("vllm/"),
            shown(metric, predicted),
            f"{shown(metric, low)} to {shown(metric, high)}",
            shown(metric, value),
            f"{of_time(metric, predicted / value):+.1%}",
            "inside" if low <= value <= high else "outside",
        ]
        for name in names
        for cell, metric, predicted, low, high, value in compared(name)
    ]

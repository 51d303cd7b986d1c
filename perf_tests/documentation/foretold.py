"""What was foretold of a deployment before anything ran, beside what came out.

The predictions were written by ``python -m fixtures.prediction --deployment NAME --csv FILE`` and are kept as they were.
"""

import csv
import functools
import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

from fixtures.metrics import shown
from fixtures.store import baseline
from perf_tests.documentation import evidence
from perf_tests.documentation.errors import of_time, summary

PREDICTIONS = Path(__file__).parent / "foretold"
SET = evidence.TODAY
TIMES = ("latency", "output_throughput")
# Of online cells the pace: their time is that of the arrivals.
PACE = "tpot_p50"
Row = tuple[str, str, float, float, float, float]


def predictions(name: str) -> list[Mapping[str, str]]:
    """The rows of a deployment's file: ``cell``, ``metric``, ``predicted``, ``low`` and ``high``."""
    with (PREDICTIONS / f"{name}.csv").open(encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


@functools.cache
def compared(name: str) -> tuple[Row, ...]:
    """Cell, metric, predicted, low, high and measured (the median over boots), of every time that was both."""
    return tuple(_compared(name))


def _compared(name: str) -> Iterator[Row]:
    # Boots lie under the name of their cards.
    found = {
        cell_id: cell
        for path in sorted((SET / name.removesuffix("-families")).rglob("*.json"))
        for cell_id, cell in baseline.read(path).cells.items()
    }
    for row in predictions(name):
        cell, metric = found.get(row["cell"]), row["metric"]
        if cell is None or metric not in (*TIMES, PACE):
            continue
        values = [boot.metrics[metric] for boot in cell.boots if not boot.invalid and metric in boot.metrics]
        if values:
            figures = (float(row[key]) for key in ("predicted", "low", "high"))
            yield (row["cell"], metric, *figures, statistics.median(values))


def by_block(*names: str) -> list[list[str]]:
    """A row for each booted engine and model: cells, mean and worst error, mean with its sign, and how many were inside."""
    blocks: dict[str, list[Row]] = defaultdict(list)
    for row in (row for name in names for row in compared(name)):
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

"""Tables of four cards: what was foretold before anything ran, what came out, and whole experts beside split ones.

The predictions were written by ``python -m fixtures.prediction --deployment h200x4 --csv FILE`` and are kept as they were.
"""

import csv
import functools
import statistics
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from fixtures.analytical import serving
from fixtures.analytical.hardware import gpu, hardware
from fixtures.analytical.parallel import Parallel
from fixtures.analytical.precision import precision
from fixtures.analytical.step import Setup
from fixtures.comparison import engines
from fixtures.gate import results
from fixtures.metrics import shown
from fixtures.store import baseline
from fixtures.workloads.workload import Workload
from perf_tests.analytical.models import architecture
from perf_tests.documentation import evidence
from perf_tests.documentation.calibrate import NEWEST_VLLM
from perf_tests.documentation.errors import of_time, summary

FORETOLD = Path(__file__).parent / "foretold"
HARDWARE, MOE = "h200x4", "mixtral-8x7b"
SET = evidence.TODAY
# Mixtral's experts in one half each, whole beside split attention, and whole beside a copy of the attention on each card.
SPLIT, WHOLE, COPIED = "tp4", "tp4ep4", "tp1dp4ep4"
TIMES = ("latency", "output_throughput")
Row = tuple[str, str, float, float, float, float]


@functools.cache
def compared() -> tuple[Row, ...]:
    """Cell, metric, predicted, low, high and measured (the median over boots), of every time that was both."""
    return tuple(_compared())


def _compared() -> Iterator[Row]:
    found = {
        cell_id: cell
        for path in sorted((SET / HARDWARE).rglob("*.json"))
        for cell_id, cell in baseline.read(path).cells.items()
    }
    with (FORETOLD / f"{HARDWARE}.csv").open(encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            cell, metric = found.get(row["cell"]), row["metric"]
            if cell is None or metric not in TIMES:
                continue
            values = [boot.metrics[metric] for boot in cell.boots if not boot.invalid and metric in boot.metrics]
            if values:
                figures = (float(row[name]) for name in ("predicted", "low", "high"))
                yield (row["cell"], metric, *figures, statistics.median(values))


def foretold() -> list[list[str]]:
    """A row for each booted engine and model: cells, mean and worst error, mean with its sign, and how many were inside."""
    blocks: dict[str, list[Row]] = defaultdict(list)
    for row in compared():
        blocks[row[0].rpartition("/")[0]].append(row)
        blocks["all"].append(row)
    rows = []
    for name in (*(key for key in blocks if key != "all"), "all"):
        errors = [of_time(metric, predicted / value) for _, metric, predicted, _, _, value in blocks[name]]
        inside = sum(low <= value <= high for _, _, _, low, high, value in blocks[name])
        rows.append([name, *summary(errors), f"{statistics.mean(errors):+.1%}", f"{inside} of {len(errors)}"])
    return rows


def every_cell() -> list[list[str]]:
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
        for cell, metric, predicted, low, high, value in compared()
    ]


def whole_experts() -> list[list[str]]:
    """By how much Mixtral's times differ with whole experts from those with split ones on four cards, with 95% intervals.

    One boot each; how much boots differ is pooled from those of the set.
    """
    known = engines.groups(results.read(SET))
    split = _boots(SPLIT)
    others = {spread: engines.compare(split, _boots(spread), known) for spread in (WHOLE, COPIED)}
    changes = {(spread, one.cell, one.metric): one for spread, found in others.items() for one in found}
    sizes = [
        *((f"batch-{n}", "latency") for n in (1, 8, 32, 128, 256)),
        *((f"offline-{n}", TIMES[1]) for n in (100, 150)),
    ]
    rows = []
    for cell, metric in sizes:
        found = [changes[spread, cell, metric] for spread in others]
        values = [shown(metric, found[0].first), *(shown(metric, one.second) for one in found)]
        rows.append([cell, values[0], values[1], found[0].text, values[2], found[1].text])
    return rows


def steps() -> list[list[str]]:
    """A row for each batch of Mixtral: a decode step as measured, and as the model has it now, by how experts are spread."""
    host = hardware().host_term(NEWEST_VLLM, "h200", 4)
    rows: dict[str, list[str]] = defaultdict(list)
    for spread, parallel in ((SPLIT, Parallel(4)), (WHOLE, Parallel(4, 4)), (COPIED, Parallel(1, 4, 4))):
        setup = Setup(architecture(MOE), gpu("h200"), parallel, precision("bf16"))
        stored = baseline.read(_path(spread))
        assert stored is not None
        for cell_id, cell in stored.cells.items():
            if cell.workload["kind"] == "batch":
                size, into, out = (cell.workload[key] for key in ("batch_size", "input_len", "output_len"))
                measured = statistics.median(boot.metrics["decode_step"] for boot in cell.boots if not boot.invalid)
                term = host.streaming(Workload(cell_id, **cell.workload).stream)
                step = serving.decode_step(setup, term, size, into + out / 2).total
                found = f"{shown('decode_step', step)} ({step / measured - 1:+.1%})"
                rows[cell_id.rpartition("/")[2]] += [shown("decode_step", measured), found]
    return [[name, *rows[name]] for name in sorted(rows, key=lambda name: int(name.partition("-")[2]))]


def _path(spread: str) -> Path:
    return SET / HARDWARE / f"vllm-{spread}-random" / f"{MOE}.json"


def _boots(spread: str) -> engines.Boots:
    return engines.by_name({cell.rpartition("/")[2]: found for cell, found in results.read(_path(spread)).items()})

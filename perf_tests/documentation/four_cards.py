"""Tables of four cards: whole experts beside split ones, and Mixtral's steps beside the model's."""

import statistics
from collections import defaultdict
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
from perf_tests.documentation import foretold
from perf_tests.documentation.calibrate import NEWEST_VLLM
from perf_tests.documentation.foretold import SET, TIMES

HARDWARE, MOE = "h200x4", "mixtral-8x7b"
AGAIN, _ = foretold.AGAIN[HARDWARE]
# Mixtral's experts in one half each, whole beside split attention, and whole beside a copy of the attention on each card.
SPLIT, WHOLE, COPIED = "tp4", "tp4ep4", "tp1dp4ep4"


def whole_experts() -> list[list[str]]:
    """By how much Mixtral's times differ with whole experts from those with split ones on four cards, with 95% intervals.

    Boots are of two machines; how much they differ is pooled from those of the set.
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
    rows: dict[str, list[str]] = defaultdict(list)
    for spread, parallel in ((SPLIT, Parallel(4)), (WHOLE, Parallel(4, 4)), (COPIED, Parallel(1, 4, 4))):
        host = hardware().host_term(NEWEST_VLLM, "h200", parallel.tp)
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

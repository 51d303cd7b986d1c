"""What the evidence has of a cell."""

import functools
import statistics
from pathlib import Path

from fixtures.store import baseline
from perf_tests.documentation import evidence

# Deployments of two cards, and where their boots are.
PAIRS = {"h100x2": "h100-80gb-hbm3x2", "h200x2": "h200x2"}
_read = functools.cache(baseline.read)


def boots(
    card: str,
    model: str,
    cell: str,
    metric: str,
    parallel: str = "tp1",
    engine: str = "vllm",
    of: Path = evidence.CURRENT,
) -> list[float]:
    """The valid boots' values of a metric, in base units; none if there is no such cell."""
    found = _read(evidence.block(card, engine, parallel, of) / f"{model}.json")
    stored = found.cells.get(f"{engine}/{model}/{parallel}/{cell}") if found else None
    kept = [boot.metrics.get(metric) for boot in stored.boots if not boot.invalid] if stored else []
    return [value for value in kept if value is not None]


def measured(card: str, cell_id: str, metric: str, of: Path = evidence.CURRENT) -> float | None:
    """The median over the boots of a cell by its whole id, in base units; None without any."""
    engine, model, parallel, workload = cell_id.split("/")
    values = boots(card, model, workload, metric, parallel, engine, of)
    return statistics.median(values) if values else None

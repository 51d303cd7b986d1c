"""Errors of predictions as tables show them: as of a time, by mean and worst."""

import statistics
from collections.abc import Sequence

from fixtures.metrics import METRICS


def of_time(metric: str, ratio: float) -> float:
    """The relative error of a time that was predicted, from the ratio of predicted to measured of a time or a throughput."""
    return (ratio if METRICS[metric].direction == "lower" else 1 / ratio) - 1


def summary(errors: Sequence[float]) -> tuple[str, str, str]:
    """How many there are, the mean of their sizes and the worst."""
    sizes = [abs(by) for by in errors]
    return str(len(errors)), f"{statistics.mean(sizes):.1%}", f"{max(sizes):.1%}"

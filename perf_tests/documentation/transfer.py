"""How far the model is off where nothing was fitted: on the other card, on two cards; and whether its intervals hold there.

    python -m perf_tests.documentation.transfer

``one card by the other``: cells of the H100 by the H200's constants, and back. Efficiencies and overheads of the kernels and
the host's terms are all of the one card; only the datasheet is the other's. ``two cards by one``: cells at TP=2 by constants of
TP=1. Cells are counted, not boots: boots of a cell share whatever the model does not know.
"""

import dataclasses
import functools
import statistics
from collections.abc import Iterable, Sequence

from tabulate import tabulate

from fixtures.analytical.hardware import Figure, Gpu, gpu
from fixtures.analytical.uncertainty import quantile
from fixtures.deployments import deployment as deployments
from fixtures.engines.registry import ENGINES
from fixtures.metrics import METRICS
from fixtures.prediction import prediction
from perf_tests.documentation import calibrate, published
from perf_tests.documentation.calibrate import SGLANG, VLLM
from perf_tests.documentation.errors import of_time, summary
from perf_tests.documentation.evidence.boots import PAIRS, measured

ENGINE_NAMES = {VLLM: "vLLM", SGLANG: "SGLang"}
LEVELS = (0.8, 0.9, 0.95)
_DATASHEET = ("memory_bytes", "hbm_bandwidth", "link_bandwidth", "multiprocessors")


@dataclasses.dataclass(frozen=True)
class Error:
    """A cell's relative error of what was predicted, on the ``card`` that it was measured on; negative is below the truth."""

    platform: str
    card: str
    cell: str
    metric: str
    value: float

    @property
    def slow(self) -> float:
        """That of the time: a throughput that is too high is a time that is too short."""
        return of_time(self.metric, 1 + self.value)


def with_constants_of(card: Gpu, other: Gpu) -> Gpu:
    """``card`` by its datasheet, with what ``other``'s kernels reach of theirs."""
    figures = [field.name for field in dataclasses.fields(Gpu) if isinstance(getattr(card, field.name), Figure)]
    taken = [name for name in figures if name not in _DATASHEET and not name.endswith("_flops")]
    return dataclasses.replace(card, **{name: getattr(other, name) for name in taken})


@functools.cache
def same_card(platform: str, held_back: bool = True) -> tuple[Error, ...]:
    """Cells of one card by its own constants, that none was fitted to, but of weight-only formats."""
    points = [p for p in calibrate.recorded(platform) if not p.unpacks and (p.held_back or not held_back)]
    return _errors(platform, calibrate.cell_errors(points, calibrate.fitted(platform)))


@functools.cache
def other_card(platform: str, card: str) -> tuple[Error, ...]:
    """Every cell of a card by the other's constants, but of weight-only formats, whose uncertainty is of both cards."""
    points = calibrate.recorded(platform)
    (other,) = {point.card for point in points} - {card}
    host = calibrate.fit_cards([point for point in points if point.card == other])[other]
    foreign = with_constants_of(gpu(card), gpu(other))
    own = [point for point in points if point.card == card and not point.unpacks]
    return _errors(platform, calibrate.cell_errors(own, {card: host}, foreign))


def _errors(platform: str, cells: dict[tuple[str, ...], float]) -> tuple[Error, ...]:
    """Of times and rates."""
    timed = {key: by for key, by in cells.items() if key[0] not in ("weight_memory", "kv_capacity")}
    return tuple(
        Error(platform, card, f"{model} {form} {workload}", metric, by)
        for (metric, card, model, form, workload), by in timed.items()
    )


@functools.cache
def two_cards(platform: str, card: str) -> tuple[Error, ...]:
    """Cells of two cards at TP=2 by the constants of one, but whole experts, to which constants were fitted since."""
    found = []
    name = f"{card}x2"
    for one in prediction.predictions(deployments.load(name, ENGINES), platforms=calibrate.PLATFORMS):
        block = one.cell.block
        if (
            block.tensor_parallel == 1
            or block.expert_parallel > 1
            or not platform.startswith(block.engine)
            or METRICS[one.metric].reference
        ):
            continue
        if (
            one.cell.workload.kind != "startup"
            and (value := measured(PAIRS[name], one.cell.id, one.metric)) is not None
        ):
            found.append(Error(platform, card, one.cell.id, one.metric, one.value / value - 1))
    return tuple(found)


# -- coverage --


def coverage(level: float) -> list[tuple[str, int, int]]:
    """Cells inside an interval of that level, and how many there are, by what the interval was made of.

    ``left out``: each one-card cell by the errors of all others of its release and metric; of weight-only formats by those of
    all others of them. ``other card``: a card's cells, by
    the other's constants, in intervals of the other's held-back errors. ``two cards``: cells at TP=2, in those of one card, and
    at least as wide as for latencies at TP=2 and more that others published.
    """
    rows = []
    for of, cells in (("", same_card), (" of the locked release", of_locked)):
        for platform, name in ENGINE_NAMES.items():
            own = cells(platform)
            left_out = [(one, [two for two in own if two is not one and two.metric == one.metric]) for one in own]
            rows.append((f"{name}: left out{of}", *_inside(left_out, level)))
    unpacked = of_weight_only()
    left_out = [(one, [two for two in unpacked if two is not one]) for one in unpacked]
    rows.append(("weight-only formats: left out", *_inside(left_out, level)))
    for platform, name in ENGINE_NAMES.items():
        for card in ("h100", "h200"):
            known = [one for one in same_card(platform) if one.card != card]
            pairs = _beside(other_card(platform, card), known)
            rows.append((f"{name}: {card.upper()} by the other", *_inside(pairs, level)))
    wider = [abs(one.error) for one in published.points() if one.tp > 1]
    for platform, name in ENGINE_NAMES.items():
        for card in ("h100", "h200"):
            pairs = _beside(two_cards(platform, card), same_card(platform))
            rows.append((f"{name}: two {card.upper()}", *_inside(pairs, level, quantile(wider, level))))
    return rows


def of_locked(platform: str) -> tuple[Error, ...]:
    """Cells of the locked release on one H200, by constants that were fitted to another's boots."""
    name = calibrate.NEWEST_VLLM if platform == VLLM else platform
    return _errors(name, calibrate.of_locked(name))


def of_weight_only() -> tuple[Error, ...]:
    """Cells of weight-only formats under either engine, that no constant was fitted to."""
    found = calibrate.of_unpacking(calibrate.on_one_card)
    return tuple(one for platform, cells in found.items() for one in _errors(platform, cells))


def _beside(errors: Iterable[Error], known: Sequence[Error]) -> list[tuple[Error, list[Error]]]:
    return [(one, [two for two in known if two.metric == one.metric]) for one in errors]


def _inside(pairs: list[tuple[Error, list[Error]]], level: float, least: float = 0.0) -> tuple[int, int]:
    """How many errors are within the quantile of those beside them, and of how many; alone is not counted."""
    told = [(one, [two.value for two in known]) for one, known in pairs if known]
    return sum(abs(one.value) <= max(quantile(known, level), least) for one, known in told), len(told)


def rows() -> list[tuple[str, ...]]:
    """Errors by what was predicted by what: cells, mean, worst, and the mean with its sign."""
    found = []
    for platform, name in ENGINE_NAMES.items():
        for card in ("h100", "h200"):
            foreign = other_card(platform, card)
            same = {(one.cell, one.card, one.metric) for one in foreign}
            own = [one for one in same_card(platform, False) if (one.cell, one.card, one.metric) in same]
            for what, errors in (
                (f"one {card.upper()} by the other's constants", foreign),
                ("the same cells by its own, fitted ones among them", own),
                (f"two {card.upper()} by the constants of one", two_cards(platform, card)),
            ):
                slow = [one.slow for one in errors]
                found.append((name, what, *summary(slow), f"{statistics.mean(slow):+.1%}"))
    return found


def main() -> None:
    """Print both tables, and each cell's error by the other card's constants."""
    print(tabulate(rows(), ("engine", "predicted", "cells", "mean error", "worst", "with its sign")))
    for level in LEVELS:
        found = coverage(level)
        print(f"\ninside an interval of {level:.0%}")
        shown = [(what, f"{inside} of {cells}", f"{inside / cells:.0%}") for what, inside, cells in found]
        inside, cells = (sum(row[i] for row in found) for i in (1, 2))
        print(tabulate([*shown, ("all", f"{inside} of {cells}", f"{inside / cells:.0%}")]))
    for platform in ENGINE_NAMES:
        for card in ("h100", "h200"):
            print(f"\n{platform} {card} by the other's constants")
            print(tabulate([(one.cell, one.metric, f"{one.slow:+.1%}") for one in other_card(platform, card)]))


if __name__ == "__main__":
    main()

"""Predictions of what nothing was fitted to: that nothing of the other card leaks in, and what comes out."""

import dataclasses
import statistics

import pytest

from fixtures.analytical.hardware import gpu
from perf_tests.documentation import calibrate, transfer
from perf_tests.documentation.calibrate import SGLANG, VLLM
from perf_tests.documentation.transfer import Error

pytestmark = pytest.mark.cpu
BOTH = [(platform, card) for platform in (VLLM, SGLANG) for card in ("h100", "h200")]


def test_a_card_keeps_its_datasheet_and_takes_everything_that_was_calibrated():
    foreign, own, other = transfer.with_constants_of(gpu("h100"), gpu("h200")), gpu("h100"), gpu("h200")
    for name in ("hbm_bandwidth", "bf16_flops", "fp8_flops", "link_bandwidth", "memory_bytes"):
        assert getattr(foreign, name) == getattr(own, name)
    calibrated = [f.name for f in dataclasses.fields(own) if getattr(getattr(own, f.name), "kind", "") == "calibrated"]
    assert len(calibrated) == 23
    assert all(getattr(foreign, name) == getattr(other, name) for name in calibrated)


@pytest.mark.parametrize(("platform", "card"), BOTH)
def test_what_was_measured_on_a_card_has_no_part_in_its_prediction(platform, card, monkeypatch):
    """Twice as slow a card is told twice as slow, by the same predictions."""
    before = {(one.cell, one.metric): one.value for one in transfer.other_card.__wrapped__(platform, card)}
    slower = tuple(
        dataclasses.replace(point, metrics={name: 2 * value for name, value in point.metrics.items()})
        if point.card == card
        else point
        for point in calibrate.recorded(platform)
    )
    monkeypatch.setattr(calibrate, "recorded", lambda _: slower)
    after = {(one.cell, one.metric): one.value for one in transfer.other_card.__wrapped__(platform, card)}
    assert after == pytest.approx({key: (1 + value) / 2 - 1 for key, value in before.items()})


@pytest.mark.parametrize(("platform", "card"), BOTH)
def test_the_mean_error_on_the_other_card_is_what_it_must_reach(platform, card):
    """At most 6%, as one that was not fitted to."""
    errors = transfer.other_card(platform, card)
    assert len(errors) >= 14
    assert statistics.mean(abs(one.slow) for one in errors) <= 0.06


def test_the_interval_of_80_percent_holds_three_to_seven_of_eight_cells():
    """75 to 88% of at least 100 cells."""
    inside, cells = (sum(row[i] for row in transfer.coverage(0.8)) for i in (1, 2))
    assert cells >= 100
    assert 0.75 <= inside / cells <= 0.88


def test_a_wider_interval_holds_no_fewer():
    counts = [[inside for _, inside, _ in transfer.coverage(level)] for level in transfer.LEVELS]
    assert all(a <= b <= c for a, b, c in zip(*counts, strict=True))


def error(value, metric="latency", cell="x"):
    return Error(VLLM, "h100", cell, metric, value)


def test_inside_by_hand():
    """Of nine errors of 1 to 9% the 80% quantile is the eighth; alone in its metric a cell has nothing to be held to."""
    known = [error(n / 100) for n in range(1, 10)]
    pairs = [(error(by), known) for by in (0.07, -0.08, 0.081, -0.09)]
    assert transfer._inside(pairs, 0.8) == (2, 4)
    assert transfer._inside(pairs, 0.8, 0.085) == (3, 4)
    assert transfer._inside([(error(0.01), [])], 0.8) == (0, 0)


def test_a_rate_that_is_too_high_is_a_time_that_is_too_short():
    assert error(0.25, "output_throughput").slow == pytest.approx(-0.2)
    assert error(0.25).slow == 0.25

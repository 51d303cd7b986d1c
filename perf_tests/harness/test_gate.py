"""Verdicts of the gate: direction, tolerance and what counts as no verdict."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.gate.metric import METRICS
from fixtures.gate.verdict import Outcome, judge

pytestmark = pytest.mark.cpu
positive = st.floats(1e-6, 1e9)


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_direction_of_every_metric(metric):
    """Twice as much is judged by what the metric's name promises, written out here a second time."""
    better_when_higher = "throughput" in metric.name or metric.name in ("kv_capacity", "goodput", "hbm_floor_share")
    exact = metric.name in ("completed", "input_tokens", "output_tokens", "model_error")
    outcome = judge(metric, min(metric.tolerance, 0.4), [1.0], [2.0]).outcome
    assert outcome is (Outcome.IMPROVEMENT if better_when_higher else Outcome.REGRESSION)
    halved = judge(metric, min(metric.tolerance, 0.4), [1.0], [0.5]).outcome
    assert halved is (Outcome.REGRESSION if better_when_higher or exact else Outcome.IMPROVEMENT)


@given(positive, st.floats(0, 0.5), st.sampled_from(list(METRICS.values())))
def test_no_change_passes(value, tolerance, metric):
    verdict = judge(metric, tolerance, [value], [value])
    assert verdict.outcome is Outcome.PASS
    assert verdict.change == 0


@given(positive, st.floats(0.001, 0.5), st.floats(0.1, 10))
def test_the_tolerance_is_relative_and_is_the_limit(value, tolerance, share):
    change = tolerance * share
    verdict = judge(METRICS["latency"], tolerance, [value], [value * (1 + change)])
    if share < 0.999:
        assert verdict.outcome is Outcome.PASS
    elif share > 1.001:
        assert verdict.outcome is Outcome.REGRESSION
    assert verdict.change == pytest.approx(change, rel=1e-6, abs=1e-9)


@given(st.lists(positive, min_size=1, max_size=9), st.lists(positive, min_size=1, max_size=9), st.floats(1e-3, 1e3))
def test_units_do_not_matter(baseline, current, scale):
    before = judge(METRICS["latency"], 0.05, baseline, current)
    after = judge(METRICS["latency"], 0.05, [v * scale for v in baseline], [v * scale for v in current])
    if abs(abs(before.change) - 0.05) > 1e-9:
        assert after.outcome is before.outcome


def test_one_slow_boot_among_three_does_not_decide():
    assert judge(METRICS["latency"], 0.05, [1.0, 1.01, 0.99], [1.0, 5.0, 1.02]).outcome is Outcome.PASS


def test_what_cannot_be_judged_is_neither_pass_nor_regression():
    assert judge(METRICS["latency"], 0.05, [1.0], []).outcome is Outcome.INCONCLUSIVE
    assert judge(METRICS["latency"], 0.05, [1.0], [math.nan]).outcome is Outcome.INCONCLUSIVE
    assert judge(METRICS["latency"], 0.05, [], [1.0]).outcome is Outcome.NO_BASELINE


def test_a_count_that_was_zero():
    assert judge(METRICS["completed"], 0.0, [0.0], [0.0]).outcome is Outcome.PASS
    assert judge(METRICS["completed"], 0.0, [0.0], [1.0]).outcome is Outcome.REGRESSION

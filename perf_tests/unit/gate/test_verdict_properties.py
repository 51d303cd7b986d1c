"""Properties of verdicts: direction, tolerance, evidence, and what counts as no verdict."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.gate import sequential
from fixtures.gate.noise import PooledNoise
from fixtures.gate.sequential import MAX_BOOTS
from fixtures.gate.verdict import Outcome, judge
from fixtures.metrics import METRICS

pytestmark = pytest.mark.cpu
positive = st.floats(1e-6, 1e9)
EXACT = ("completed", "input_tokens", "output_tokens", "model_error", "routed_tokens")
QUIET = PooledNoise(0.01**2, 30)


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_direction_of_every_metric(metric):
    """Three boots of twice as much are judged by what the metric's name promises, written out here a second time."""
    higher = "throughput" in metric.name or metric.name in ("kv_capacity", "goodput", "hbm_floor_share")
    tolerance = min(metric.tolerance, 0.3)
    doubled, halved = (judge(metric, tolerance, [1.0], [value] * 3, QUIET).outcome for value in (2.0, 0.5))
    better = Outcome.REGRESSION if metric.name in EXACT else Outcome.IMPROVEMENT
    assert doubled is (better if higher else Outcome.REGRESSION)
    assert halved is (Outcome.REGRESSION if higher or metric.name in EXACT else better)


@given(positive, st.floats(0.01, 0.5), st.sampled_from(list(METRICS.values())), st.integers(1, 5))
def test_no_change_passes(value, tolerance, metric, boots):
    verdict = judge(metric, tolerance, [value], [value] * boots, QUIET)
    assert verdict.outcome is Outcome.PASS
    assert verdict.change == pytest.approx(0, abs=1e-12)


@given(positive, st.floats(0.01, 0.5), st.floats(0, 10))
def test_no_change_for_the_worse_within_the_tolerance_is_ever_a_regression(value, tolerance, share):
    verdict = judge(METRICS["latency"], tolerance, [value] * 10, [value * (1 + share * tolerance)] * MAX_BOOTS, QUIET)
    if share < 1:
        assert verdict.outcome is Outcome.PASS
    assert verdict.change == pytest.approx(share * tolerance, rel=1e-6, abs=1e-9)
    assert (verdict.outcome is Outcome.REGRESSION) <= (share > sequential.AGREE * (1 - 1e-9))


def test_one_boot_is_suspicion_and_three_are_evidence():
    outcomes = [judge(METRICS["latency"], 0.05, [1.0] * 10, [1.3] * boots, QUIET) for boots in (1, 2, 3)]
    assert [v.outcome for v in outcomes] == [Outcome.INCONCLUSIVE, Outcome.INCONCLUSIVE, Outcome.REGRESSION]
    assert [v.suspicious for v in outcomes] == [True, True, False]
    assert "not yet confirmed" in outcomes[0].reason


def test_two_slow_boots_among_five_do_not_make_a_regression():
    current = [1.4, 1.4, 1.01, 0.99, 1.0]
    for boots in range(1, 6):
        assert judge(METRICS["latency"], 0.05, [1.0] * 10, current[:boots], QUIET).outcome is not Outcome.REGRESSION
    assert judge(METRICS["latency"], 0.05, [1.0] * 10, current, QUIET).outcome is Outcome.PASS


def test_noise_explains_what_is_within_it():
    loud = PooledNoise(0.10**2, 30)
    verdict = judge(METRICS["latency"], 0.05, [1.0] * 10, [1.07, 1.08, 1.09], loud)
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert judge(METRICS["latency"], 0.05, [1.0] * 10, [1.07, 1.08, 1.09], QUIET).outcome is Outcome.REGRESSION


def test_a_count_that_differs_needs_no_second_boot():
    verdict = judge(METRICS["completed"], 0.0, [100.0], [99.0])
    assert (verdict.outcome, verdict.reason) == (Outcome.REGRESSION, "99 instead of 100")


@given(
    st.lists(st.floats(0.5, 2), min_size=1, max_size=9),
    st.lists(st.floats(0.5, 2), min_size=1, max_size=5),
    st.floats(1e-3, 1e3),
)
def test_units_do_not_matter(baseline, current, scale):
    before = judge(METRICS["latency"], 0.05, baseline, current, QUIET)
    after = judge(METRICS["latency"], 0.05, [v * scale for v in baseline], [v * scale for v in current], QUIET)
    assert after.change == pytest.approx(before.change, rel=1e-6, abs=1e-9)
    if abs(before.change) > 0.07:
        assert after.outcome is before.outcome


@pytest.mark.parametrize("current", [[], [math.nan], [1.0, math.inf]])
def test_nothing_measured_is_inconclusive(current):
    verdict = judge(METRICS["latency"], 0.05, [1.0], current)
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert not verdict.suspicious


def test_no_baseline_is_said():
    assert judge(METRICS["latency"], 0.05, [], [1.0]).outcome is Outcome.NO_BASELINE


def test_few_boots_are_said_and_lean_on_their_kind():
    assert "shrunk to its kind's" in judge(METRICS["latency"], 0.05, [1.0, 1.01], [1.0], QUIET).reason
    assert "assumed from the tolerance" in judge(METRICS["latency"], 0.05, [1.0], [1.0]).reason

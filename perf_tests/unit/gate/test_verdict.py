"""Verdicts: direction, tolerance, evidence, every field by hand, and what counts as no verdict."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.gate.noise import PooledNoise
from fixtures.gate.rule import MAX_BOOTS
from fixtures.gate.verdict import SPREAD_BOOTS, Outcome, Verdict, conclude, judge, standard
from fixtures.metrics import METRICS

pytestmark = pytest.mark.cpu
LATENCY, THROUGHPUT, COMPLETED = METRICS["latency"], METRICS["output_throughput"], METRICS["completed"]
BEFORE = [1.0] * 10
QUIET = PooledNoise(0.01**2, 30)
# Ten equal boots beside thirty degrees of a kind with a CV of 1%.
SIGMA = 0.01 * math.sqrt(30 / 39)
DETECTABLE = 0.05 + 1.2 * SIGMA * math.sqrt(1 + 1 / 10)
LIMITS = "tolerance 5.0%, noise 0.9%, detectable 6.1%, "
positive = st.floats(1e-6, 1e9)
EXACT = ("completed", "input_tokens", "output_tokens", "model_error", "routed_tokens", "token_difference")
# Better if higher, beside every throughput.
HIGHER = (
    *(
        "kv_capacity",
        "cold_kv_capacity",
        "warm_kv_capacity",
        "goodput",
        "hbm_floor_share",
        "prefix_cache_hits",
        "acceptance_length",
        "acceptance_rate",
    ),
    *("cache_hit", "cache_hit_expected", "capacity", "capacity_low", "capacity_high"),
)


def error(boots):
    return SIGMA * math.sqrt(1 / boots + 1 / 10)


def same(found, expected):
    """Equal but for rounding."""
    for name in ("value", "baseline", "change", "detectable", "error"):
        wanted = getattr(expected, name)
        assert getattr(found, name) == (wanted if wanted is None else pytest.approx(wanted, rel=1e-9)), name
    assert (found.outcome, found.reason, found.suspicious) == (expected.outcome, expected.reason, expected.suspicious)


@pytest.mark.parametrize(
    ("metric", "current", "expected"),
    [
        (
            LATENCY,
            [1.3] * 3,
            Verdict(
                Outcome.REGRESSION,
                1.3,
                1.0,
                0.3,
                f"worse by 30.0%; {LIMITS}3 boots against 10 boots",
                DETECTABLE,
                False,
                error(3),
            ),
        ),
        (
            LATENCY,
            [1.3],
            Verdict(
                Outcome.INCONCLUSIVE,
                1.3,
                1.0,
                0.3,
                f"worse by 30.0%, not yet confirmed; {LIMITS}1 boot against 10 boots",
                DETECTABLE,
                True,
                error(1),
            ),
        ),
        (
            THROUGHPUT,
            [0.8],
            Verdict(
                Outcome.INCONCLUSIVE,
                0.8,
                1.0,
                -0.2,
                f"worse by 20.0%, not yet confirmed; {LIMITS}1 boot against 10 boots",
                DETECTABLE,
                True,
                error(1),
            ),
        ),
        (
            THROUGHPUT,
            [1.2],
            Verdict(
                Outcome.IMPROVEMENT,
                1.2,
                1.0,
                0.2,
                f"better by 20.0%; {LIMITS}1 boot against 10 boots",
                DETECTABLE,
                False,
                error(1),
            ),
        ),
        (
            LATENCY,
            [1.0, 1.02],
            Verdict(Outcome.PASS, 1.01, 1.0, 0.01, f"{LIMITS}2 boots against 10 boots", DETECTABLE, False, error(2)),
        ),
    ],
)
def test_every_field(metric, current, expected):
    same(judge(metric, 0.05, BEFORE, current, QUIET), expected)


def test_a_note_on_the_noise_ends_the_reason():
    reason = judge(LATENCY, 0.05, [1.0], [1.0], QUIET).reason
    assert reason.endswith("1 boot against 1 boot; noise shrunk to its kind's")


def test_what_is_missing_is_said():
    same(judge(LATENCY, 0.05, BEFORE, []), Verdict(Outcome.INCONCLUSIVE, None, None, None, "nothing was measured"))
    missing = Verdict(Outcome.NO_BASELINE, 2.0, None, None, "the baseline has no such metric")
    same(judge(LATENCY, 0.05, [], [1.0, 2.0, 9.0]), missing)


@pytest.mark.parametrize(
    ("metric", "before", "now", "expected"),
    [
        (COMPLETED, 4.0, 4.0, Verdict(Outcome.PASS, 4.0, 4.0, 0.0, "")),
        (COMPLETED, 4.0, 5.0, Verdict(Outcome.REGRESSION, 5.0, 4.0, 0.25, "5 instead of 4")),
        (LATENCY, 0.0, 0.0, Verdict(Outcome.PASS, 0.0, 0.0, 0.0, "")),
        (LATENCY, 0.0, 5.0, Verdict(Outcome.REGRESSION, 5.0, 0.0, math.inf, "5 instead of 0")),
        (LATENCY, 0.0, -5.0, Verdict(Outcome.PASS, -5.0, 0.0, -math.inf, "")),
        (THROUGHPUT, 0.0, 5.0, Verdict(Outcome.PASS, 5.0, 0.0, math.inf, "")),
        (THROUGHPUT, 0.0, -5.0, Verdict(Outcome.REGRESSION, -5.0, 0.0, -math.inf, "-5 instead of 0")),
        (COMPLETED, 0.0, 1.0, Verdict(Outcome.REGRESSION, 1.0, 0.0, math.inf, "1 instead of 0")),
    ],
)
def test_counts_and_baselines_of_nothing(metric, before, now, expected):
    same(judge(metric, 0.0, [before], [now]), expected)


def test_an_improvement_exceeds_tolerance_and_noise():
    loud = PooledNoise(0.1**2, 30)  # three standard errors of one boot: 27.6%
    assert judge(LATENCY, 0.05, BEFORE, [0.72], loud).outcome is Outcome.IMPROVEMENT
    assert judge(LATENCY, 0.05, BEFORE, [0.73], loud).outcome is Outcome.PASS
    assert judge(LATENCY, 0.25, BEFORE, [0.77], QUIET).outcome is Outcome.PASS


def test_evidence_grows_with_the_night_and_with_a_small_baseline():
    kind = PooledNoise(0.03**2, 30)
    assert judge(LATENCY, 0.05, BEFORE, [1.09] * 3, kind).outcome is Outcome.REGRESSION
    large = judge(LATENCY, 0.05, BEFORE, [1.09] * 3, kind, family=100_000)
    assert large.outcome is Outcome.INCONCLUSIVE
    assert large.detectable > judge(LATENCY, 0.05, BEFORE, [1.09] * 3, kind).detectable
    assert judge(LATENCY, 0.05, BEFORE[:2], [1.09] * 3, kind).outcome is Outcome.INCONCLUSIVE


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_direction_of_every_metric(metric):
    """Three boots of twice as much are judged by what the metric's name promises, written out here a second time."""
    higher = "throughput" in metric.name or metric.name in HIGHER
    tolerance = min(metric.tolerance, 0.3)
    known = [1.0] * (SPREAD_BOOTS if metric.spread else 1)
    doubled, halved = (judge(metric, tolerance, known, [value] * 3, QUIET).outcome for value in (2.0, 0.5))
    better = Outcome.REGRESSION if metric.name in EXACT else Outcome.IMPROVEMENT
    assert doubled is (better if higher else Outcome.REGRESSION)
    assert halved is (Outcome.REGRESSION if higher or metric.name in EXACT else better)


@given(positive, st.floats(0.01, 0.5), st.sampled_from(list(METRICS.values())), st.integers(1, 5))
def test_no_change_passes(value, tolerance, metric, boots):
    known = [value] * (SPREAD_BOOTS if metric.spread else 1)
    verdict = judge(metric, tolerance, known, [value] * boots, QUIET)
    assert verdict.outcome is Outcome.PASS
    assert verdict.change == pytest.approx(0, abs=1e-12)


@given(positive, st.floats(0.01, 0.5), st.floats(0, 10))
def test_no_change_for_the_worse_within_the_tolerance_is_ever_a_regression(value, tolerance, share):
    verdict = judge(METRICS["latency"], tolerance, [value] * 10, [value * (1 + share * tolerance)] * MAX_BOOTS, QUIET)
    if share < 1:
        assert verdict.outcome is Outcome.PASS
    assert verdict.change == pytest.approx(share * tolerance, rel=1e-6, abs=1e-9)
    assert (verdict.outcome is Outcome.REGRESSION) <= (share > 1 - 1e-9)


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
    assert judge(METRICS["latency"], 0.05, [1.0] * 10, [1.07, 1.08, 1.09], loud).outcome is Outcome.PASS
    assert judge(METRICS["latency"], 0.05, [1.0] * 10, [1.12, 1.13, 1.14], loud).outcome is Outcome.INCONCLUSIVE
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
    for metric, tolerance, noise in (
        (LATENCY, 0.01, "2.0%"),
        (LATENCY, 0.5, "20.0%"),
        (METRICS["weight_memory"], 0.005, "0.2%"),
    ):
        reason = judge(metric, tolerance, [1.0], [1.0]).reason
        assert reason.endswith("noise assumed: one boot tells none")
        assert f"noise {noise}," in reason


def test_another_machine_is_no_engine():
    """Beside one to four machines nothing is called the engine's; beside five what is far beyond what they differ by is."""
    kind = PooledNoise(0.02**2, 30)
    for machines, outcome in ((1, Outcome.INCONCLUSIVE), (4, Outcome.INCONCLUSIVE), (5, Outcome.REGRESSION)):
        against = standard(LATENCY, 0.01, [1.0] * machines, kind, elsewhere=True)
        found = conclude(against, [1.3] * 5)
        assert found.outcome is outcome
        assert f"against {machines} other machine" in found.reason
        assert ("machine or engine" in found.reason) is (outcome is Outcome.INCONCLUSIVE)


def test_more_boots_of_a_machine_tell_no_more_of_what_it_adds():
    kind = PooledNoise(0.02**2, 30)
    there = standard(LATENCY, 0.01, [1.0] * 8, kind, elsewhere=True)
    here = standard(LATENCY, 0.01, [1.0] * 8, kind)
    assert conclude(there, [1.07] * 5).outcome is Outcome.INCONCLUSIVE
    assert conclude(here, [1.07] * 5).outcome is Outcome.REGRESSION
    assert conclude(there, [1.07] * 5).error == pytest.approx(conclude(there, [1.07]).error)


FAST, SLOW = 4.72, 4.91
# As a decode step of one H200 had it in ten boots of vLLM 0.33.0, in ms.
TWO_SPEEDS = [SLOW, SLOW + 0.01, SLOW, FAST, FAST, SLOW - 0.01, SLOW, SLOW, SLOW + 0.01, SLOW - 0.01]


@pytest.mark.parametrize("before", [TWO_SPEEDS, [FAST] * 3 + [SLOW] * 2, [FAST] * 8 + [SLOW] * 2])
def test_what_the_baselines_boots_have_shown_is_no_regression(before):
    """By its noise alone, which outliers are no part of, the slower speed was one in 13% of splits of real boots."""
    quiet = PooledNoise(0.002**2, 30)
    for boots in (1, 3, MAX_BOOTS):
        found = judge(METRICS["tpot_p50"], 0.01, before, [SLOW * 1.001] * boots, quiet)
        assert found.outcome in (Outcome.PASS, Outcome.IMPROVEMENT)
    worse = judge(METRICS["tpot_p50"], 0.01, before, [SLOW * 1.03] * MAX_BOOTS, quiet)
    assert worse.outcome is Outcome.REGRESSION
    assert worse.detectable >= SLOW / FAST - 1 or before is TWO_SPEEDS


def test_higher_is_better_is_shown_by_the_lowest_boots():
    before = [100.0] * 6 + [96.0] * 2
    assert judge(THROUGHPUT, 0.01, before, [96.0] * MAX_BOOTS, QUIET).outcome is Outcome.PASS
    assert judge(THROUGHPUT, 0.01, before, [90.0] * MAX_BOOTS, QUIET).outcome is Outcome.REGRESSION
    disturbed = [100.0] * 7 + [80.0]
    found = judge(THROUGHPUT, 0.01, disturbed, [90.0] * MAX_BOOTS, QUIET)
    assert found.outcome is Outcome.REGRESSION, "one boot of eight may have been disturbed"


LITTLE = PooledNoise(0.002**2, 30)
TPOT = METRICS["tpot_p50"]


def test_a_boot_at_a_faster_speed_says_nothing_beside_those_at_the_slower_one():
    """Two percent more of either speed: a mean over both would hide it."""
    night = [SLOW * 1.02, FAST * 1.02, SLOW * 1.02, FAST * 1.02, SLOW * 1.02]
    found = judge(TPOT, 0.01, TWO_SPEEDS, night, LITTLE)
    assert found.outcome is Outcome.REGRESSION
    assert found.value == pytest.approx(SLOW * 1.02)
    assert "3 boots against 10 boots, without 2 at a faster speed that it has shown" in found.reason
    assert found.error == judge(TPOT, 0.01, TWO_SPEEDS, [SLOW * 1.02] * 3, LITTLE).error
    without = judge(TPOT, 0.01, [SLOW] * 10, night, LITTLE)
    assert without.outcome is not Outcome.REGRESSION, "a baseline that has not shown it takes it as a boot like others"
    assert "faster speed" not in without.reason
    there = conclude(standard(TPOT, 0.01, TWO_SPEEDS, LITTLE, elsewhere=True), night)
    assert "faster speed" not in there.reason, "of other machines it is a faster machine"


@pytest.mark.parametrize(("fast", "shown"), [(1, False), (2, True)])
def test_one_boot_of_ten_has_shown_no_other_speed(fast, shown):
    before = [FAST] * fast + [SLOW] * (10 - fast)
    found = judge(TPOT, 0.01, before, [SLOW * 1.02, FAST * 1.02, SLOW * 1.02, SLOW * 1.02], LITTLE)
    assert ("without 1 at a faster speed" in found.reason) is shown


@given(st.lists(st.sampled_from([FAST, SLOW]), min_size=1, max_size=MAX_BOOTS))
def test_a_night_of_both_speeds_is_unchanged(night):
    found = judge(TPOT, 0.01, TWO_SPEEDS, night, LITTLE)
    most_slow = night.count(SLOW) >= night.count(FAST)
    assert found.outcome is Outcome.PASS if most_slow else found.outcome in (Outcome.PASS, Outcome.IMPROVEMENT)
    assert found.value == pytest.approx(SLOW) if most_slow else found.value < SLOW


def test_an_improvement_is_none_for_the_worse_because_of_one_boot():
    """1.6% better than the slower speed, and one boot disturbed."""
    before = [1.0] * 8 + [0.96] * 2
    found = judge(LATENCY, 0.01, before, [1.03, 0.984, 0.984, 0.984, 0.984], PooledNoise(0.005**2, 30))
    assert found.outcome in (Outcome.PASS, Outcome.IMPROVEMENT)
    assert found.change < 0


def test_what_is_faster_by_less_than_matters_is_no_other_speed():
    before = [1.0] * 8 + [0.9999] * 2
    found = judge(LATENCY, 0.01, before, [0.8, 1.2, 1.2], PooledNoise(1e-12, 30))
    assert "faster speed" not in found.reason


def test_of_what_is_better_if_higher_the_faster_speed_is_the_higher_one():
    before = [100.0, 100.2, 99.8, 100.1, 99.9, 100.0, 100.0, 100.1, 104.0, 104.0]
    night = [98.0, 102.5, 98.0, 102.5, 98.0]
    assert judge(THROUGHPUT, 0.01, before, night, LITTLE).outcome is Outcome.REGRESSION
    assert judge(THROUGHPUT, 0.01, before[:8] * 2, night, LITTLE).outcome is not Outcome.REGRESSION

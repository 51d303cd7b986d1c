"""Verdicts: direction, tolerance, evidence, every field by hand, and what counts as no verdict."""

import math

import pytest

from fixtures.gate.noise import PooledNoise
from fixtures.gate.verdict import Outcome, Verdict, judge
from fixtures.metrics import METRICS

pytestmark = pytest.mark.cpu
LATENCY, THROUGHPUT, COMPLETED = METRICS["latency"], METRICS["output_throughput"], METRICS["completed"]
BEFORE = [1.0] * 10
QUIET = PooledNoise(0.01**2, 30)
# Ten equal boots beside thirty degrees of a kind with a CV of 1%.
SIGMA = 0.01 * math.sqrt(30 / 39)
DETECTABLE = 1.12 * 0.05 + 1.2 * SIGMA * math.sqrt(1 + 1 / 10)
LIMITS = "tolerance 5.0%, noise 0.9%, detectable 6.7%, "


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
    loud = PooledNoise(0.1**2, 30)  # two standard errors of one boot: 18%
    assert judge(LATENCY, 0.05, BEFORE, [0.80], loud).outcome is Outcome.IMPROVEMENT
    assert judge(LATENCY, 0.05, BEFORE, [0.83], loud).outcome is Outcome.PASS
    assert judge(LATENCY, 0.25, BEFORE, [0.77], QUIET).outcome is Outcome.PASS


def test_evidence_grows_with_the_night_and_with_a_small_baseline():
    kind = PooledNoise(0.03**2, 30)
    assert judge(LATENCY, 0.05, BEFORE, [1.09] * 3, kind).outcome is Outcome.REGRESSION
    large = judge(LATENCY, 0.05, BEFORE, [1.09] * 3, kind, family=100_000)
    assert large.outcome is Outcome.INCONCLUSIVE
    assert large.detectable > judge(LATENCY, 0.05, BEFORE, [1.09] * 3, kind).detectable
    assert judge(LATENCY, 0.05, BEFORE[:2], [1.09] * 3, kind).outcome is Outcome.INCONCLUSIVE

"""Whether two clients agree, from rounds of known values."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.comparison.agreement import TOLERANCE, agreement, agreements
from fixtures.comparison.student import student

pytestmark = pytest.mark.cpu
SECONDS = st.floats(1e-4, 10.0)
ROUNDS = st.lists(st.tuples(SECONDS, SECONDS), min_size=2, max_size=8)


def of(pairs):
    return agreement("ttft_p50", *zip(*pairs, strict=True))


def test_three_rounds_by_hand():
    """Log ratios of 0, 1 and 2%: their mean is 1%, its standard error 0.577%, and Student's quantile of two degrees 4.30."""
    found = agreement("ttft_p50", [math.exp(x) for x in (0.0, 0.01, 0.02)], [1.0, 1.0, 1.0])
    assert found.change == pytest.approx(math.expm1(0.01))
    reach = 4.303 * 0.01 / math.sqrt(3)
    assert (found.low, found.high) == pytest.approx((math.expm1(0.01 - reach), math.expm1(0.01 + reach)), rel=1e-3)


@pytest.mark.parametrize(
    ("logs", "verdict"),
    [
        ((0.001, -0.001, 0.0), "agree"),
        ((0.018, 0.019, 0.0185), "agree"),
        ((0.03, 0.031, 0.0305), "differ"),
        ((-0.03, -0.031, -0.0305), "differ"),
        ((0.0, 0.03, -0.03), "can't tell"),
        ((0.019, 0.021, 0.02), "can't tell"),
        ((0.0,), "can't tell"),
    ],
)
def test_a_verdict_needs_the_whole_interval(logs, verdict):
    assert agreement("tpot_p50", [math.exp(x) for x in logs], [1.0] * len(logs)).verdict == verdict


@given(ROUNDS)
def test_the_interval_holds_the_change_and_the_change_lies_among_the_rounds(pairs):
    found = of(pairs)
    ratios = [one / other for one, other in pairs]
    assert found.low <= found.change <= found.high
    assert min(ratios) - 1 - 1e-9 <= found.change <= max(ratios) * (1 + 1e-9) - 1


@given(ROUNDS)
def test_exchanged_clients_change_the_other_way(pairs):
    found, exchanged = of(pairs), of([(other, one) for one, other in pairs])
    assert math.log1p(exchanged.change) == pytest.approx(-math.log1p(found.change), abs=1e-9)
    assert exchanged.verdict != "differ" or found.verdict != "agree"


@given(ROUNDS, st.floats(0.1, 10.0))
def test_a_unit_makes_no_difference(pairs, factor):
    assert of([(one * factor, other * factor) for one, other in pairs]).change == pytest.approx(
        of(pairs).change, rel=1e-6, abs=1e-9
    )


def test_the_interval_holds_the_truth_as_often_as_it_says():
    """Simulated: rounds of five with noise of 3% on either side and a true change of 1%."""
    draw = random.Random(20261126)
    held = 0
    for _ in range(2000):
        pairs = [(math.exp(0.01 + draw.gauss(0, 0.03)), math.exp(draw.gauss(0, 0.03))) for _ in range(5)]
        found = of(pairs)
        held += found.low <= math.expm1(0.01) <= found.high
    assert held / 2000 == pytest.approx(0.95, abs=0.015)


def test_clients_that_agree_are_seldom_said_to_differ():
    """At the tolerance itself either verdict is a mistake in 2.5% of cases at most."""
    draw = random.Random(20261127)
    truth = math.log1p(TOLERANCE)
    verdicts = [
        of([(math.exp(truth + draw.gauss(0, 0.002)), math.exp(draw.gauss(0, 0.002))) for _ in range(5)]).verdict
        for _ in range(2000)
    ]
    assert verdicts.count("differ") / 2000 < 0.035
    assert verdicts.count("agree") / 2000 < 0.035


def test_metrics_stay_in_the_order_of_the_first():
    first, second = {"ttft_p50": [1.0, 1.0], "tpot_p50": [2.0, 2.0]}, {"tpot_p50": [1.0, 1.0], "ttft_p50": [1.0, 1.0]}
    assert [(one.metric, one.change) for one in agreements(first, second)] == [
        ("ttft_p50", 0.0),
        ("tpot_p50", pytest.approx(1.0)),
    ]


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ([], [], "ttft_p50: no rounds"),
        ([1.0], [1.0, 2.0], "argument 2 is longer"),
        ([1.0, 0.0], [1.0, 1.0], "ttft_p50: values must be positive and finite"),
        ([1.0], [-1.0], "ttft_p50: values must be positive and finite"),
        ([math.nan], [1.0], "ttft_p50: values must be positive and finite"),
        ([1.0], [math.inf], "ttft_p50: values must be positive and finite"),
    ],
)
def test_rounds_must_be_there_the_same_and_positive(first, second, message):
    with pytest.raises(ValueError, match=message):
        agreement("ttft_p50", first, second)


@pytest.mark.parametrize(
    ("degrees", "tabulated", "short"),
    [
        (1, 12.70620, 0),
        (2, 4.302653, 0),
        (3, 3.182446, 0.0013),
        (4, 2.776445, 0.00032),
        (5, 2.570582, 0.00011),
        (10, 2.228139, 0.000004),
        (30, 2.042272, 0),
        (0, 1.959964, 0),
    ],
)
def test_student_s_quantiles_as_tabulated(degrees, tabulated, short):
    """To six digits where it is exact; the expansion is short by no more than it says."""
    assert tabulated * (1 - short) - 1e-5 < student(degrees) < tabulated + 1e-5

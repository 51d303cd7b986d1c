"""On which scale values are compared, and that spreads are judged by a test of their own."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.gate.noise import PooledNoise
from fixtures.gate.scale import Scale
from fixtures.gate.trial import Question, Trial
from fixtures.gate.verdict import Outcome, judge, standard
from fixtures.metrics import METRICS

pytestmark = pytest.mark.cpu
SPREAD = METRICS["repetition_spread"]
POSITIVE = st.floats(1e-6, 1e6)


@given(st.lists(POSITIVE, min_size=1, max_size=8))
def test_positive_values_stay_as_they_are(values):
    scale = Scale.of(values)
    assert scale.identity
    assert scale.all(values) == values
    assert scale.change(0.3) == 0.3


@given(st.lists(POSITIVE, min_size=1, max_size=8), POSITIVE)
def test_the_unit_of_a_spread_does_not_matter(values, unit):
    own, other = Scale.of(values, True), Scale.of([unit * value for value in values], True)
    assert own.all(values) == pytest.approx(other.all([unit * value for value in values]))
    assert [own.back(one) for one in own.all(values)] == pytest.approx(values)
    assert sum(own.all(values)) == pytest.approx(len(values))


def test_eight_times_a_spread_is_three_away():
    scale = Scale.of([0.02, 0.02], True)
    assert scale.all([0.02, 0.16, 0.0]) == pytest.approx([1, 4, -2])
    assert scale.change(3) == pytest.approx(7)
    assert scale.change(1e-6) == pytest.approx(1e-6, rel=1e-5)
    assert math.isnan(scale.all([-1.0])[0])


@given(st.lists(st.floats(-10, -1e-3), min_size=1, max_size=8))
def test_a_negative_value_is_as_far_as_it_is_relative_to_the_middle(values):
    scale = Scale.of(values)
    assert [scale.back(one) for one in scale.all(values)] == pytest.approx(values)
    assert scale.all([scale.middle]) == [1]


KNOWN, KIND = [0.004, 0.006, 0.003, 0.005, 0.008, 0.004, 0.007, 0.005], PooledNoise(0.2, 30)


@pytest.mark.parametrize(
    ("now", "outcome"),
    [
        ([0.004] * 3, Outcome.PASS),
        ([0.006], Outcome.PASS),
        ([0.05], Outcome.INCONCLUSIVE),
        ([0.05, 0.04, 0.06], Outcome.REGRESSION),
        ([0.0001] * 3, Outcome.IMPROVEMENT),
    ],
)
def test_a_spread_that_rose_is_a_regression_of_its_own(now, outcome):
    found = judge(SPREAD, SPREAD.tolerance, KNOWN, now, KIND)
    assert found.outcome == outcome
    assert found.baseline == pytest.approx((sum(value ** (1 / 3) for value in KNOWN) / len(KNOWN)) ** 3)
    assert found.change == pytest.approx(found.value / found.baseline - 1)
    assert min(now) * 0.999 <= found.value <= max(now) * 1.001


def test_a_trial_judges_it_alike():
    against = standard(SPREAD, SPREAD.tolerance, KNOWN, KIND)
    trial = Trial([Question(against, 0)], 1)
    for value in (0.05, 0.04, 0.06):
        trial.add([value])
    assert trial.verdict(0) == judge(SPREAD, SPREAD.tolerance, KNOWN, [0.05, 0.04, 0.06], KIND, 1)
    assert not trial.slow, "how far repetitions are apart says nothing of a boot as a whole"


@pytest.mark.parametrize("boots", [1, 3, 7])
def test_with_fewer_boots_it_is_not_judged_and_asks_for_none(boots):
    found = judge(SPREAD, SPREAD.tolerance, KNOWN[:boots], [0.5], KIND)
    assert (found.outcome, found.value, found.suspicious) == (Outcome.NO_BASELINE, 0.5, False)
    assert found.reason == f"a spread is judged from 8 boots of the baseline on: it has {boots}"
    trial = Trial([Question(standard(SPREAD, SPREAD.tolerance, KNOWN[:boots], KIND), 0)], 1)
    trial.add([0.5])
    assert trial.again() == []
    assert trial.verdict(0) == found


def test_of_one_boot_a_spread_has_the_noise_of_spreads():
    assert standard(SPREAD, SPREAD.tolerance, [0.004]).noise.sigma == pytest.approx(0.7)
    assert standard(SPREAD, SPREAD.tolerance, [0.004], PooledNoise(0.25, 30)).noise.sigma == pytest.approx(0.5)

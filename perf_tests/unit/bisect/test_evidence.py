"""Engines judged by pairs."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.bisect.evidence import MOST_PAIRS, WRONG_TURN, Side, judge, kind_of, shown, wrong_turn
from fixtures.gate.noise import Noise, PooledNoise

pytestmark = pytest.mark.cpu
# Of boots with a CV of 1%, known well.
KIND = PooledNoise(2 * 0.01**2, 30)


def side(ratios, size=0.05, higher=False, kind=KIND):
    return judge(ratios, higher, size, kind).side


def test_three_pairs_that_are_worse_are_bad_and_two_that_are_not_are_good():
    assert side([1.05, 1.06]) == side([1.05]) == Side.OPEN
    assert side([1.05, 1.06, 1.045]) == Side.BAD
    assert side([1.0]) == Side.OPEN
    assert side([1.0, 1.01]) == Side.GOOD
    assert side([0.95, 0.94, 0.955], higher=True) == Side.BAD
    assert side([1.05, 1.06, 1.045], higher=True) == Side.GOOD


def test_two_pairs_of_which_one_was_disturbed_need_a_third():
    assert side([1.05, 0.92]) == Side.OPEN
    assert side([1.05, 0.92, 1.05]) == Side.OPEN
    found = judge([1.05, 0.92, 1.05, 1.055, 1.05], False, 0.05, KIND)
    assert (found.side, found.counted, found.pairs) == (Side.BAD, 4, 5), "the one beside a slow reference is left out"


def test_what_noise_hides_is_never_called_good():
    loud = PooledNoise(2 * 0.10**2, 30)
    for pairs in range(1, MOST_PAIRS):
        assert side([1.0] * pairs, kind=loud) == Side.OPEN
    assert side([1.0] * MOST_PAIRS, kind=loud) == Side.UNKNOWN


def test_without_any_noise_known_its_own_pairs_tell_it():
    assert kind_of([[1.0], []]).degrees == 0
    assert kind_of([[1.0, 1.02], [1.0, 1.01]]).degrees == 2
    assert side([1.0, 1.001, 0.999, 1.0], kind=kind_of([[1.0, 1.001, 0.999, 1.0]])) == Side.GOOD


@given(st.lists(st.floats(0.99, 1.01), min_size=1, max_size=MOST_PAIRS), st.integers(1, 1_000))
def test_its_interval_is_no_narrower_than_with_noise_that_is_known(ratios, degrees):
    found = judge(ratios, False, 0.2, PooledNoise(1e-4, degrees))
    assert found.reach >= 1.9599 * found.error > 0


def test_four_pairs_that_alone_tell_their_noise_reach_as_far_as_four_degrees_do():
    ratios = [1.0101, 1.0106, 1.0109, 1.0139]
    found = judge(ratios, False, 0.02, kind_of([ratios]))
    assert found.side == Side.BAD
    assert found.reach == pytest.approx(2.776 * found.error, rel=1e-3)


def test_the_chance_of_a_wrong_turn_is_what_comes_out():
    noise = Noise(1.0, 2, 0.0141, degrees=30, paired=True)
    rng, wrong = np.random.default_rng(1), 0
    for _ in range(20_000):
        mean = rng.normal(0.03, 0.0141, 2).mean()
        wrong += mean < max(0.01, 1.8 * noise.error(2))
    assert wrong / 20_000 == pytest.approx(wrong_turn(0.03, noise, 2), rel=0.15)
    assert judge([1.0, 1.0], False, 0.05, KIND).wrong < WRONG_TURN


def test_a_baseline_of_two_speeds_shows_its_own_noise_and_another_its_kinds():
    kind = PooledNoise(0.005**2, 30)
    assert shown([1.0, 1.006, 0.995, 1.002, 0.998], kind) == kind
    two_speeds = [1.0, 1.04, 1.001, 0.999, 1.041]
    own = shown(two_speeds, kind)
    assert (math.sqrt(own.variance), own.degrees) == (
        pytest.approx(np.std(two_speeds, ddof=1) / np.mean(two_speeds)),
        4,
    )
    assert shown([0.0, 0.0], kind) == kind
    # Pairs of a slow boot beside a fast one are no step then, and two of a fast one beside a slow one clear nothing.
    for ratios, wrong in (([1.04, 1.041, 1.043], Side.BAD), ([1.008, 1.01], Side.GOOD)):
        assert side(ratios, kind=kind_of([ratios], kind)) == wrong
        assert side(ratios, kind=kind_of([ratios], own)) == Side.OPEN


@given(st.lists(st.floats(0.5, 2.0), min_size=2, max_size=12), st.floats(0, 0.01))
def test_what_a_baseline_shows_is_never_less_noise_than_its_kinds(boots, variance):
    assert shown(boots, PooledNoise(variance, 30)).variance >= variance

"""Boots that are slow as a whole are found, and a regression is not one."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.gate.slow_boots import slow_boots

pytestmark = pytest.mark.cpu


def test_a_boot_that_is_slow_as_a_whole_is_found_and_a_regression_is_not_one():
    random = np.random.default_rng(0)
    changes = random.normal(0, 0.01, size=(12, 4))
    sigma = [0.01] * 12
    assert not slow_boots(changes, sigma, 0.025)
    assert not slow_boots(changes + 0.10, sigma, 0.025), "every boot is worse: that is no disturbance"
    changes[:3] += 0.10
    assert not slow_boots(changes, sigma, 0.025), "some metrics are worse in every boot: neither is that"
    changes[:, 2] += 0.10
    assert slow_boots(changes, sigma, 0.025) == {2: pytest.approx(0.10, abs=0.015)}
    assert not slow_boots(changes, sigma, 0.25), "too little to make anything suspicious"
    changes[4:, 3] = math.nan
    assert list(slow_boots(changes, sigma, 0.025)) == [2], "later boots measure less"
    assert not slow_boots(changes[:2], [0.01] * 2, 0.025), "two metrics tell nothing about a boot"


# Of vLLM's 0.26.0 and 0.33.0 on one H200: two of four boots of the former at the faster of two speeds, none of the latter.
@pytest.mark.parametrize(
    ("candidate", "current", "slow"),
    [
        ([0.028, 0.023, 0.023, 0.023], [0.028, 0.0, 0.0, 0.029], {}),
        ([0.028, 0.023, 0.023], [0.028, 0.0, 0.0], {0: pytest.approx(0.023, abs=0.001)}),
        ([0.028, 0.023, 0.023], [0.028, 0.0, 0.029], {}),
        ([0.028, 0.023], [0.028, 0.0], {0: pytest.approx(0.023, abs=0.001)}),
        ([0.0, 0.0, 0.03, 0.03], [0.0, 0.0, 0.0, 0.0], {}),
        ([0.0, 0.0, 0.03, 0.0], [0.0, 0.0, 0.0, 0.0], {2: pytest.approx(0.03, abs=0.001)}),
        ([0.0, 0.0, 0.03, 0.0, 0.03], [0.0] * 5, {}),
    ],
)
def test_of_pairs_the_slower_of_two_speeds_is_no_disturbance(candidate, current, slow):
    beside = np.tile(current, (6, 1)) + 1e-6
    assert slow_boots(np.tile(candidate, (6, 1)), [0.005] * 6, 0.01, beside) == slow


def test_in_a_night_every_slow_boot_is_set_aside_and_of_pairs_those_that_were_compared_count():
    night = np.tile([0.0, 0.03, 0.0, 0.03, 0.0], (6, 1))
    assert list(slow_boots(night, [0.005] * 6, 0.01)) == [1, 3]
    pairs = np.tile([0.0, 0.0, 0.03, 0.0], (6, 1))
    pairs[2:, 3] = math.nan  # a pair with too few metrics in common with the others
    assert list(slow_boots(pairs, [0.005] * 6, 0.01, np.full((6, 4), 1e-6))) == [2]


@given(st.integers(3, 12), st.integers(1, 5), st.floats(0.001, 0.05), st.floats(0, 0.7), st.integers(0, 1000))
def test_one_boot_always_stays(metrics, boots, sigma, missing, seed):
    random = np.random.default_rng(seed)
    changes = random.normal(0, 0.1, size=(metrics, boots))
    changes[random.random(changes.shape) < missing] = math.nan
    assert len(slow_boots(changes, [sigma] * metrics, 0.0)) < boots

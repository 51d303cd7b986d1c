"""The sequential rule: what it asks for as boots and metrics grow, and what it can find."""

import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.gate import rule
from fixtures.gate.noise import Noise, PooledNoise, noise

pytestmark = pytest.mark.cpu


@given(st.floats(0.001, 0.1), st.integers(1, 20), st.floats(0.005, 0.1))
def test_what_is_detectable_shrinks_with_boots_and_noise(sigma, boots, tolerance):
    found = rule.detectable(tolerance, Noise(1.0, boots, sigma))
    assert found > tolerance
    assert rule.detectable(tolerance, Noise(1.0, boots + 1, sigma)) <= found
    assert rule.detectable(tolerance, Noise(1.0, boots, sigma * 2)) > found


def test_more_metrics_ask_for_more_evidence():
    assert [rule.evidence(n) for n in (3, 4, 5, 9)] == [4.3, 4.1, 3.6, 3.6]
    assert rule.evidence(5, 10) == 3.6
    normal = statistics.NormalDist()
    for family in (80, 200, 1000):
        assert normal.cdf(-rule.evidence(5, family)) * family == pytest.approx(normal.cdf(-3.6) * 40, rel=1e-6)


def test_boots_are_judged_together_as_they_are_alone():
    random = np.random.default_rng(3)
    changes, sigma = random.normal(0.04, 0.02, size=(50, 4)), random.uniform(0.005, 0.03, 50)
    together = rule.decide(changes, 0.025, sigma, np.full(50, 10))
    assert together.tolist() == [int(rule.decide(changes[i], 0.025, sigma[i], 10)) for i in range(50)]
    assert len(set(together.tolist())) == 3


def test_the_smallest_change_that_is_found():
    quiet, loud = noise([1.0] * 10, PooledNoise(1e-6, 30), 0.05), noise([1.0] * 10, PooledNoise(0.01, 30), 0.05)
    assert rule.detectable(0.05, quiet) == pytest.approx(1.12 * 0.05 + 1.2 * quiet.error(1))
    assert rule.detectable(0.05, loud) == pytest.approx((3.6 + 1.2) * loud.error(5))
    assert rule.detectable(0.05, loud, 3) == pytest.approx((4.3 + 1.2) * loud.error(3))

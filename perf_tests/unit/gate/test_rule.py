"""The sequential rule: what it asks for as boots and metrics grow, and what it can find."""

import math
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
    assert [rule.evidence(n) for n in (3, 4, 5, 9)] == [4.2, 4.0, 3.6, 3.6]
    assert rule.evidence(5, 10) == 3.6
    normal = statistics.NormalDist()
    for family in (80, 200, 1000):
        assert normal.cdf(-rule.evidence(5, family)) * family == pytest.approx(normal.cdf(-3.6) * 40, rel=1e-6)


def test_boots_are_judged_together_as_they_are_alone():
    random = np.random.default_rng(3)
    changes, sigma = random.normal(0.04, 0.02, size=(50, 4)), random.uniform(0.005, 0.03, 50)
    error, degrees = sigma * math.sqrt(1 / 4 + 1 / 10), random.integers(2, 40, 50)
    together = rule.decide(changes, 0.025, sigma, error, degrees)
    alone = [int(rule.decide(changes[i], 0.025, sigma[i], error[i], degrees[i])) for i in range(50)]
    assert together.tolist() == alone
    assert len(set(together.tolist())) == 3


def test_the_smallest_change_that_is_found():
    quiet, loud = noise([1.0] * 10, PooledNoise(1e-6, 30), 0.05), noise([1.0] * 10, PooledNoise(0.01, 30), 0.05)
    assert rule.detectable(0.05, quiet) == pytest.approx(0.05 + 1.2 * quiet.error(1))
    assert rule.detectable(0.0, quiet) == pytest.approx((1.8 + 1.2) * quiet.error(1))
    assert rule.detectable(0.05, loud, 3) == pytest.approx((rule.student_deviations(4.2, 39) + 1.2) * loud.error(3))
    given_noise = Noise(1.0, 10, 0.01)
    assert rule.detectable(0.0, given_noise, 3) == pytest.approx((4.2 + 1.2) * given_noise.error(3))


@given(st.floats(-6, 6).filter(lambda z: abs(z) > 0.01), st.floats(1, 1e6))
def test_students_and_normal_deviations_are_each_others_inverse(z, degrees):
    t = rule.student_deviations(abs(z), degrees)
    assert float(rule.normal_deviations(t, degrees)) == pytest.approx(abs(z), rel=1e-6, abs=1e-6)
    assert t >= abs(z) * (1 - 1e-9)


@pytest.mark.parametrize(
    ("degrees", "t", "within"), [(3, 22.204, 0.026), (9, 6.0101, 0.004), (30, 4.234, 0.004), (math.inf, 3.7190, 0.0001)]
)
def test_students_quantiles_are_those_of_tables(degrees, t, within):
    """Of a tail of one in 10,000."""
    assert float(rule.normal_deviations(t, degrees)) == pytest.approx(3.7190, rel=within)

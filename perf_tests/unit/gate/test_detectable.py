"""The smallest change that is found."""

import pytest

from fixtures.gate import sequential
from fixtures.gate.noise import PooledNoise, noise

pytestmark = pytest.mark.cpu


def test_the_smallest_change_that_is_found():
    quiet, loud = noise([1.0] * 10, PooledNoise(1e-6, 30), 0.05), noise([1.0] * 10, PooledNoise(0.01, 30), 0.05)
    assert sequential.detectable(0.05, quiet) == pytest.approx(1.12 * 0.05 + 1.2 * quiet.error(1))
    assert sequential.detectable(0.05, loud) == pytest.approx((3.6 + 1.2) * loud.error(5))
    assert sequential.detectable(0.05, loud, 3) == pytest.approx((4.3 + 1.2) * loud.error(3))

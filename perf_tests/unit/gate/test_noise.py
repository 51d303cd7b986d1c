"""Noise of metrics and kinds, by numbers worked out by hand."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.gate.noise import noise, pool

pytestmark = pytest.mark.cpu


@given(st.floats(0.002, 0.05), st.integers(0, 10_000))
@settings(max_examples=20)
def test_the_noise_of_a_kind_is_found_and_slow_boots_do_not_inflate_it(cv, seed):
    random = np.random.default_rng(seed)
    groups = random.normal(1.0, cv, size=(30, 10))
    assert math.sqrt(pool(groups.tolist()).variance) == pytest.approx(cv, rel=0.2)
    groups[:, 3] += 20 * cv
    kind = pool(groups.tolist())
    assert math.sqrt(kind.variance) == pytest.approx(cv, rel=0.25)
    found = noise(groups[0].tolist(), kind, 0.05)
    assert 7 <= found.boots <= 9
    assert found.centre == pytest.approx(1.0, abs=1.5 * cv)

"""Arrivals, as they are drawn."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.workloads import arrivals

pytestmark = pytest.mark.cpu


@given(st.floats(0.1, 1000), st.integers(1, 300), st.integers())
def test_arrivals_are_ordered_and_keep_the_rate(rate, count, seed):
    times = arrivals.poisson(rate, count, random.Random(seed))
    assert len(times) == count
    assert times[0] == 0
    assert times == sorted(times)
    assert times[-1] == pytest.approx((count - 1) / rate)


def test_arrivals_are_poisson():
    times = arrivals.poisson(10, 20_000, random.Random(3))
    gaps = [b - a for a, b in zip(times, times[1:], strict=False)]
    mean = sum(gaps) / len(gaps)
    deviation = (sum((g - mean) ** 2 for g in gaps) / len(gaps)) ** 0.5
    assert deviation / mean == pytest.approx(1, abs=0.05), "an exponential's standard deviation is its mean"

"""Arrivals, as they are drawn."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.workloads import arrivals

pytestmark = pytest.mark.cpu


@given(st.floats(0.1, 1000), st.integers(1, 300), st.integers())
def test_arrivals_are_ordered_and_keep_the_rate(rate, count, seed):
    times = arrivals.times(rate, count, random.Random(seed))
    assert len(times) == count
    assert times[0] == 0
    assert times == sorted(times)
    assert times[-1] == pytest.approx((count - 1) / rate)


def test_arrivals_are_poisson():
    times = arrivals.times(10, 20_000, random.Random(3))
    gaps = [b - a for a, b in zip(times, times[1:], strict=False)]
    mean = sum(gaps) / len(gaps)
    deviation = (sum((g - mean) ** 2 for g in gaps) / len(gaps)) ** 0.5
    assert deviation / mean == pytest.approx(1, abs=0.05), "an exponential's standard deviation is its mean"


@given(st.floats(0.1, 1000), st.integers(2, 300), st.integers(), st.floats(0.05, 20), st.floats(0.1, 1000))
def test_bursts_and_ramps_keep_order_and_mean_rate(rate, count, seed, burstiness, end_rate):
    times = arrivals.times(rate, count, random.Random(seed), burstiness, end_rate)
    assert times[0] == 0
    assert times == sorted(times)
    assert times[-1] == pytest.approx((count - 1) / ((rate + end_rate) / 2), rel=1e-6)


@pytest.mark.parametrize("burstiness", [0.25, 4])
def test_burstiness_is_the_shape_of_a_gamma_distribution(burstiness):
    times = arrivals.times(10, 20_000, random.Random(3), burstiness)
    gaps = [b - a for a, b in zip(times, times[1:], strict=False)]
    mean = sum(gaps) / len(gaps)
    deviation = (sum((g - mean) ** 2 for g in gaps) / len(gaps)) ** 0.5
    assert deviation / mean == pytest.approx(burstiness**-0.5, rel=0.1)


def test_a_rate_of_one_to_three_has_come_to_two_halfway():
    times = arrivals.times(100, 40_001, random.Random(3), end_rate=300)
    assert times[-1] == pytest.approx(200)
    by = [sum(at < until for at in times) for until in (50, 100, 150)]
    # The integral of 100 + t: 50 x 100 + 50^2 / 2, and so on.
    assert by == pytest.approx([6250, 15_000, 26_250], rel=0.03)

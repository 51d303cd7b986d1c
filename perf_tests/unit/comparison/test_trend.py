"""A line through values over time."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.comparison.trend import FEWEST, trend

pytestmark = pytest.mark.cpu

TIMES = [30.0 * i for i in range(100)]


@given(st.floats(-5, 5), st.floats(1, 1e9))
def test_an_exact_line_is_known_exactly(slope, level):
    found = trend(TIMES, [level + slope * at for at in TIMES])
    assert found.slope == pytest.approx(slope, abs=1e-9 * level)
    assert found.low == pytest.approx(found.high, abs=1e-6 * level)
    assert found.seconds == 2970


def test_what_does_not_change_does_not_grow():
    found = trend(TIMES, [5.0] * 100)
    assert (found.slope, found.low, found.high, found.grows) == (0, 0, 0, False)


@pytest.mark.parametrize("memory", [0.0, 0.5, 0.8])
def test_the_interval_holds_the_slope_although_values_resemble_those_before(memory):
    rng, inside, slope = np.random.default_rng(4), 0, 0.01
    for _ in range(400):
        noise = [0.0]
        for step in rng.normal(0, 1, 100):
            noise.append(memory * noise[-1] + step)
        values = [50 + slope * at + one for at, one in zip(TIMES, noise[1:], strict=True)]
        found = trend(TIMES, values)
        inside += found.low <= slope <= found.high
    # 95% of 400 is 380 with a standard deviation of 4; Bartlett's factor of an estimated correlation is a little short.
    assert inside >= 0.9 * 400


def test_a_leak_is_told_from_noise_and_in_proportion():
    rng = np.random.default_rng(5)
    noise = rng.normal(0, 1, 100)
    steady = trend(TIMES, list(1000 + noise))
    leaking = trend(TIMES, [1000 + 0.05 * at + one for at, one in zip(TIMES, noise, strict=True)])
    assert not steady.growth[0] > 0.01
    assert leaking.grows
    assert leaking.growth[0] == pytest.approx(0.05 * 2970 / (1000 + 0.05 * 1485), rel=0.02)


def test_what_falls_to_nothing_falls_by_no_more_than_twice_its_mean():
    rng = np.random.default_rng(6)
    found = trend(TIMES, [2970 - at + abs(one) for at, one in zip(TIMES, rng.normal(0, 500, 100), strict=True)])
    assert -2 <= found.growth[1] <= found.growth[0] <= found.growth[2] < 0
    assert found.low * found.seconds / found.mean < found.growth[0]


def test_few_values_have_no_trend():
    with pytest.raises(ValueError, match=f"7 values over time, a trend takes {FEWEST}"):
        trend(TIMES[:7], [1.0] * 7)

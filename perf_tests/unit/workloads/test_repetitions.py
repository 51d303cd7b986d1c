"""What the repetitions of a boot come to."""

import itertools
import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.workloads import repetitions
from fixtures.workloads.repetitions import of_boot, trimmed_mean

pytestmark = pytest.mark.cpu


def test_a_part_of_a_batch_is_a_trimmed_mean_all_else_a_median():
    values = [1.0, 2.0, 3.0, 10.0]
    assert of_boot("prefill_time", values) == trimmed_mean(values) != statistics.median(values)
    assert of_boot("latency", values) == statistics.median(values)


@pytest.mark.parametrize(
    ("values", "mean"),
    [
        ([1.0], 1.0),
        ([1.0, 2.0, 3.0, 10.0], 4.0),
        ([1.0, 2.0, 3.0, 4.0, 99.0], 3.0),
        ([5.0] * 17 + [0.0, 0.0, 99.0], (17 * 5 - 5 + 0.0) / 16),
        ([0.032] * 16 + [0.045] * 16, 0.0385),
    ],
)
def test_the_mean_without_the_ends(values, mean):
    assert trimmed_mean(values) == pytest.approx(mean)
    assert math.isnan(trimmed_mean([]))


TIMES = st.lists(st.floats(1e-3, 10), min_size=1, max_size=40)


@given(TIMES, st.floats(0.1, 10), st.randoms())
def test_the_trimmed_mean_lies_within_scales_and_knows_no_order(values, scale, random):
    mean, shuffled = trimmed_mean(values), random.sample(values, len(values))
    assert min(values) * (1 - 1e-9) <= mean <= max(values) * (1 + 1e-9)
    assert trimmed_mean(shuffled) == pytest.approx(mean)
    assert trimmed_mean([scale * value for value in values]) == pytest.approx(scale * mean)


@given(TIMES.filter(lambda values: len(values) >= repetitions.TRIM_FROM), st.floats(10, 1e6), st.data())
def test_one_stalled_repetition_moves_the_trimmed_mean_no_further_than_the_others_reach(values, stalled, data):
    at = data.draw(st.integers(0, len(values) - 1))
    others = values[:at] + values[at + 1 :]
    assert trimmed_mean([*others, stalled]) <= max(others) * (1 + 1e-9)


@given(st.integers(5, 40), st.floats(1e-3, 1), st.floats(1.05, 2))
def test_between_two_modes_the_trimmed_mean_moves_in_steps_where_a_median_jumps(count, low, ratio):
    means = [trimmed_mean([low] * (count - k) + [low * ratio] * k) for k in range(count + 1)]
    moves = [(b - a) / (low * (ratio - 1)) for a, b in itertools.pairwise(means)]
    assert all(move >= -1e-9 for move in moves)
    assert max(moves) <= 1 / (count - 2 * max(1, count // 10)) + 1e-9
    assert means[-1] - means[0] == pytest.approx(low * (ratio - 1))

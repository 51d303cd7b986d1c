"""Change points: dated, kept, and none where nothing changed. How often, the study says: python -m fixtures.studies.history."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.history.points import CONSTANT_NIGHTS, DATED_AROUND, DATED_NIGHTS, FEWEST_NIGHTS, change_points, spread

pytestmark = pytest.mark.cpu


def noisy(levels, seed=1, cv=0.01):
    return [float(value) for value in np.asarray(levels) * np.random.default_rng(seed).normal(1, cv, len(levels))]


def firsts(values):
    return [one.first for one in change_points(values)]


@pytest.mark.parametrize("size", [-0.5, -0.08, 0.08, 0.5, 4.0])
@pytest.mark.parametrize("since", [4, 7, 10, 30])
def test_a_step_is_dated_and_found_once(size, since):
    assert firsts(noisy([1.0] * 40 + [1 + size] * since)) == [40]


def test_two_slow_nights_are_no_change_and_one_that_was_undone_is_two():
    assert firsts(noisy([1.0] * 30 + [1.3, 1.3])) == []
    assert firsts(noisy([1.0] * 30 + [1.3, 1.3] + [1.0] * 10)) == []
    assert firsts(noisy([1.0] * 30 + [1.08] * 10 + [1.0] * 10)) == [30, 40]


def test_a_rare_slow_night_is_no_noise_and_two_speeds_are():
    rng = np.random.default_rng(5)
    for share, expected in ((0.04, 0.003), (0.3, 0.04 * math.sqrt(0.3 * 0.7)), (0.5, 0.02)):
        values = rng.normal(1, 0.003, 400) * np.where(rng.random(400) < share, 1.04, 1.0)
        assert spread(values) == pytest.approx(expected, rel=0.15)


def test_noise_is_relative_at_every_level():
    assert firsts(noisy([1.0] * 30 + [10.0] * 60)) == [30]
    assert firsts([-value for value in noisy([1.0] * 30 + [1.1] * 10)]) == [30], "values below zero as they are"


@pytest.mark.parametrize(("before", "after"), [(500_000.0, 496_500.0), (0.0, 3.0), (3.0, 0.0), (-1.0, -2.0)])
def test_what_has_no_noise_changes_on_its_first_night(before, after):
    (one,) = change_points([before] * CONSTANT_NIGHTS + [after])
    assert (one.first, one.known, one.evidence) == (CONSTANT_NIGHTS, CONSTANT_NIGHTS, math.inf)
    assert firsts([before] * 30 + [after] * 30) == [30]
    assert firsts([before] * 9 + [after] + [before] * 30) == [9, 10], "and back again"


def test_a_value_that_was_the_same_by_chance_is_not_without_noise():
    assert firsts([1.0, 1.0, 2.0, 1.0, 1.0, 2.0, 2.0, 1.0, 2.0, 2.0, 1.0]) == []


def test_changes_below_the_smallest_do_not_count():
    values = noisy([1.0] * 40 + [1.004] * 40, cv=0.0005)
    assert change_points(values) == []
    assert [one.first for one in change_points(values, 0.002)] == [40]


def test_few_nights_tell_nothing_of_noise():
    assert firsts(noisy([1.0] * 6 + [2.0] * 7)) == []
    assert firsts(noisy([1.0] * 7 + [2.0] * 9)) == [7]
    assert change_points([]) == change_points([1.0]) == []


values = st.lists(st.sampled_from([0.0, 1.0, 1.01, 0.99, 1.02, 1.1, 1.5, 3.0]), max_size=FEWEST_NIGHTS + 40)


@given(values)
@settings(max_examples=60)
def test_what_is_found_on_a_night_is_found_on_every_later_one_and_only_its_date_may_move(nights):
    whole = change_points(nights)
    for last in range(len(nights)):
        part = change_points(nights[:last])
        assert [one.known for one in part] == [one.known for one in whole if one.known < last]
        for now, later in zip(part, whole, strict=False):
            assert abs(now.first - later.first) <= 2 * DATED_AROUND
            if last > now.known + DATED_NIGHTS + DATED_AROUND:
                assert now.first == later.first


@given(st.lists(st.floats(-1e9, 1e9), max_size=80))
@settings(max_examples=60)
def test_dates_are_in_order_and_inside(nights):
    found = change_points(nights)
    assert all(0 < one.first <= one.known < len(nights) or one.first < len(nights) for one in found)
    assert [one.first for one in found] == sorted(one.first for one in found)


@given(values, st.floats(0.1, 1e6))
@settings(max_examples=40)
def test_units_do_not_matter(nights, unit):
    nights = [value or 0.5 for value in nights]
    assert firsts([value * unit for value in nights]) == firsts(nights)

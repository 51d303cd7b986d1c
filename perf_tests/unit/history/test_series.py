"""A history as series, and what clipping does to one."""

import dataclasses
import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.history.series import CLIP, NEIGHBOURS, Series, clipped, gone, series
from perf_tests.fakes.history_entries import ENTRY, FIRST, nights

pytestmark = pytest.mark.cpu


def test_series_are_in_order_of_time_and_never_mix_fingerprints():
    mixed = nights([1.0, 2.0, 3.0]) + nights([9.0], fingerprint="other") + nights([8.0], metric="tpot_p50")
    found = series([mixed[2], mixed[0], mixed[3], mixed[1], mixed[4]])
    assert [one.values for one in found] == [[1.0, 2.0, 3.0], [9.0], [8.0]]
    here = dataclasses.replace(ENTRY, time="2026-03-01T03:00:00+02:00", run="earlier, by a clock further east")
    assert series([ENTRY, here])[0].entries == (here, ENTRY)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60))
def test_clipping_moves_values_inwards_only(values):
    result = clipped(values)
    assert len(result) == len(values)
    assert min(values) <= min(result)
    assert max(result) <= max(values)


def test_slow_nights_are_clipped_and_a_step_that_lasts_is_not():
    noisy = [1.0 + 0.01 * (-1) ** i for i in range(3 * NEIGHBOURS)]
    slow = [*noisy]
    slow[7] = slow[-1] = 1.1
    assert max(clipped(slow)) < 1.01 + CLIP * 0.0211
    stepped = noisy + [1.1 * value for value in noisy]
    assert clipped(stepped) == pytest.approx(stepped, rel=1e-6)
    assert clipped([5.0] * 9 + [6.0] + [5.0] * 9) == [5.0] * 19


def test_a_series_is_gone_if_nothing_goes_on_with_its_metric():
    ended = [Series("a", "latency", tuple(nights([1.0] * 3))), Series("b", "latency", tuple(nights([1.0] * 3)))]
    running = [Series("a", "latency", tuple(nights([1.0] * 30, fingerprint="other")))]
    assert gone(ended, running, FIRST) == ended[1:]
    assert gone(ended, running, FIRST + datetime.timedelta(days=3)) == [], "it ended before"

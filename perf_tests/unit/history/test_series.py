"""A history as series."""

import dataclasses
import datetime

import pytest

from fixtures.history.series import Series, gone, series
from perf_tests.fakes.history_entries import ENTRY, FIRST, nights

pytestmark = pytest.mark.cpu


def test_series_are_in_order_of_time_and_never_mix_fingerprints():
    mixed = nights([1.0, 2.0, 3.0]) + nights([9.0], fingerprint="other") + nights([8.0], metric="tpot_p50")
    found = series([mixed[2], mixed[0], mixed[3], mixed[1], mixed[4]])
    assert [one.values for one in found] == [[1.0, 2.0, 3.0], [9.0], [8.0]]
    here = dataclasses.replace(ENTRY, time="2026-03-01T03:00:00+02:00", run="earlier, by a clock further east")
    assert series([ENTRY, here])[0].entries == (here, ENTRY)


def test_the_present_level_is_of_the_last_nights_since_the_last_change():
    (one,) = series(nights([1.0] * 20 + [2.0, 3.0, 2.0]))
    assert (one.level(), one.level(20), one.level(22)) == (1.0, 2.0, 2.0)


def test_a_series_is_gone_if_nothing_goes_on_with_its_metric():
    ended = [Series("a", "latency", tuple(nights([1.0] * 3))), Series("b", "latency", tuple(nights([1.0] * 3)))]
    running = [Series("a", "latency", tuple(nights([1.0] * 30, fingerprint="other")))]
    assert gone(ended, running, FIRST) == ended[1:]
    assert gone(ended, running, FIRST + datetime.timedelta(days=3)) == [], "it ended before"

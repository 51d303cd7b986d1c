"""The host by itself."""

import math
import os
import threading

import pytest

from fixtures.hardware import probe

pytestmark = pytest.mark.cpu


def test_it_takes_time_and_leaves_nothing_open():
    before, threads = len(os.listdir("/proc/self/fd")), threading.active_count()
    given = os.sched_getaffinity(0)
    found = [probe.wake_up_seconds(), *(probe.work_seconds(core) for core in given)]
    assert all(one is not None and 0 < one < math.inf for one in found)
    assert os.sched_getaffinity(0) == given
    assert (len(os.listdir("/proc/self/fd")), threading.active_count()) == (before, threads)


def test_a_core_that_is_not_ours_tells_nothing():
    given = os.sched_getaffinity(0)
    assert probe.work_seconds(max(given) + 4096) is None
    assert os.sched_getaffinity(0) == given

"""The host by itself."""

import math
import os
import threading

import pytest

from fixtures.hardware import probe

pytestmark = pytest.mark.cpu


def test_it_takes_time_and_leaves_nothing_open():
    before, threads = len(os.listdir("/proc/self/fd")), threading.active_count()
    found = probe.work_seconds(), probe.wake_up_seconds()
    assert all(0 < one < math.inf for one in found)
    assert (len(os.listdir("/proc/self/fd")), threading.active_count()) == (before, threads)

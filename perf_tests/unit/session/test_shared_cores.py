"""Threads of real processes, and the cores that they may run on afterwards."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from fixtures.engines.usage import usage
from fixtures.session.shared_cores import Reading, share_cores

pytestmark = pytest.mark.cpu

# A thread beside the main one that has nothing to do, or polls, and work for each line that comes in.
PROGRAM = """
import sys, threading
def poll():
    while True:
        pass
threading.Thread(target=poll if sys.argv[1:] else threading.Event().wait, daemon=True).start()
print("up", flush=True)
for line in sys.stdin:
    sum(range(int(line)))
    print("done", flush=True)
"""
WORK = 3_000_000


@contextlib.contextmanager
def servers(
    *works: tuple[int, ...], polling: int = -1
) -> Iterator[tuple[list[list[subprocess.Popen[str]]], list[Reading]]]:
    """Servers of as many processes as they have works, asked one after the other, and the readings around these.

    The one that is ``polling`` has threads that do so.
    """
    with contextlib.ExitStack() as stack:
        found: list[list[subprocess.Popen[str]]] = []
        for number, own in enumerate(works):
            found.append([])
            for _ in own:
                command = [sys.executable, "-c", PROGRAM, *(["polls"] if number == polling else [])]
                process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
                stack.enter_context(process)
                stack.callback(process.kill)
                assert process.stdout.readline() == "up\n"
                found[-1].append(process)
        readings = [reading(found)]
        for processes, own in zip(found, works, strict=True):
            for process, work in zip(processes, own, strict=True):
                process.stdin.write(f"{work}\n")
                process.stdin.flush()
                assert process.stdout.readline() == "done\n"
            time.sleep(0.01)  # the kernel counts what ran when it stops
            readings.append(reading(found))
        yield found, readings


def reading(found: list[list[subprocess.Popen[str]]]) -> Reading:
    return Reading(time.monotonic(), tuple(usage([process.pid for process in processes]) for processes in found))


def idle(process: subprocess.Popen[str]) -> int:
    """The thread that has nothing to do."""
    (found,) = [int(one) for one in os.listdir(f"/proc/{process.pid}/task") if int(one) != process.pid]
    return found


needs_two_cores = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")


@needs_two_cores
def test_the_busiest_threads_of_both_share_a_core_for_each_process():
    every = os.sched_getaffinity(0)
    with servers((WORK, WORK), (WORK, WORK)) as (found, readings):
        assert share_cores(readings) == ""
        cores = [[os.sched_getaffinity(process.pid) for process in processes] for processes in found]
        assert cores[0] == cores[1]
        assert all(len(core) == 1 for core in cores[0])
        assert cores[0][0] != cores[0][1]
        assert all(os.sched_getaffinity(idle(process)) == every for processes in found for process in processes)
        # Another cell's traffic comes to the same.
        assert share_cores(readings) == ""
        assert cores[0] == [os.sched_getaffinity(process.pid) for process in found[0]]


@needs_two_cores
def test_a_process_that_hardly_ran_does_not_count():
    with servers((WORK, 1), (WORK,)) as ((one, other), readings):
        assert share_cores(readings) == ""
        assert os.sched_getaffinity(one[0].pid) == os.sched_getaffinity(other[0].pid)
        assert os.sched_getaffinity(one[1].pid) == os.sched_getaffinity(0)


def test_servers_of_different_processes_stay_where_they_are():
    with servers((WORK, WORK), (WORK,)) as ((one, other), readings):
        assert share_cores(readings) == "they have 2 and 1 processes at work"
        assert {frozenset(os.sched_getaffinity(p.pid)) for p in (*one, *other)} == {frozenset(os.sched_getaffinity(0))}


def test_more_processes_than_cores_stay_where_they_are():
    count = len(os.sched_getaffinity(0)) + 1
    with servers((WORK,) * count, (WORK,) * count) as ((one, _), readings):
        assert share_cores(readings) == f"there are {count - 1} cores for {count} processes each"
        assert os.sched_getaffinity(one[0].pid) == os.sched_getaffinity(0)


def test_a_server_that_has_ended_is_left_alone():
    with servers((WORK,), (WORK,)) as ((one, other), readings):
        one[0].kill()
        one[0].wait()
        assert share_cores(readings) == "one has ended"
        assert os.sched_getaffinity(other[0].pid) == os.sched_getaffinity(0)


def test_beside_a_server_that_polls_both_stay_where_they_are():
    """It would take half of the other's core."""
    for polling in (0, 1):
        with servers((WORK,), (WORK,), polling=polling) as ((one, other), readings):
            assert share_cores(readings) == "one polls while the other is asked"
            assert os.sched_getaffinity(one[0].pid) == os.sched_getaffinity(other[0].pid) == os.sched_getaffinity(0)

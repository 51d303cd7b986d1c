"""Threads of real processes, and the cores that they may run on afterwards."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from fixtures.engines.usage import Usage, usage
from fixtures.session.shared_cores import share_cores

pytestmark = pytest.mark.cpu

# A thread beside the main one that has nothing to do, and work for each line that comes in.
PROGRAM = """
import sys, threading
threading.Thread(target=threading.Event().wait, daemon=True).start()
print("up", flush=True)
for line in sys.stdin:
    sum(range(int(line)))
    print("done", flush=True)
"""
WORK = 3_000_000


@contextlib.contextmanager
def servers(*works: tuple[int, ...]) -> Iterator[list[tuple[list[subprocess.Popen[str]], tuple[Usage, Usage]]]]:
    """Servers of as many processes as they have works, and the readings around these."""
    with contextlib.ExitStack() as stack:
        found = []
        for own in works:
            processes = [
                subprocess.Popen(
                    [sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
                )
                for _ in own
            ]
            for process in processes:
                stack.enter_context(process)
                stack.callback(process.kill)
                assert process.stdout.readline() == "up\n"
            before = usage([process.pid for process in processes])
            for process, work in zip(processes, own, strict=True):
                process.stdin.write(f"{work}\n")
                process.stdin.flush()
                assert process.stdout.readline() == "done\n"
            time.sleep(0.01)  # the kernel counts what ran when it stops
            found.append((processes, (before, usage([process.pid for process in processes]))))
        yield found


def idle(process: subprocess.Popen[str]) -> int:
    """The thread that has nothing to do."""
    (found,) = [int(one) for one in os.listdir(f"/proc/{process.pid}/task") if int(one) != process.pid]
    return found


needs_two_cores = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")


@needs_two_cores
def test_the_busiest_threads_of_both_share_a_core_for_each_process():
    every = os.sched_getaffinity(0)
    with servers((WORK, WORK), (WORK, WORK)) as (one, other):
        assert share_cores([one[1], other[1]])
        cores = [[os.sched_getaffinity(process.pid) for process in processes] for processes, _ in (one, other)]
        assert cores[0] == cores[1]
        assert all(len(core) == 1 for core in cores[0])
        assert cores[0][0] != cores[0][1]
        assert all(
            os.sched_getaffinity(idle(process)) == every for processes, _ in (one, other) for process in processes
        )
        # Another cell's traffic comes to the same.
        assert share_cores([one[1], other[1]])
        assert cores[0] == [os.sched_getaffinity(process.pid) for process in one[0]]


@needs_two_cores
def test_a_process_that_hardly_ran_does_not_count():
    with servers((WORK, 1), (WORK,)) as (one, other):
        assert share_cores([one[1], other[1]])
        assert os.sched_getaffinity(one[0][0].pid) == os.sched_getaffinity(other[0][0].pid)
        assert os.sched_getaffinity(one[0][1].pid) == os.sched_getaffinity(0)


def test_servers_of_different_processes_stay_where_they_are():
    with servers((WORK, WORK), (WORK,)) as (one, other):
        assert not share_cores([one[1], other[1]])
        assert {frozenset(os.sched_getaffinity(p.pid)) for p in (*one[0], *other[0])} == {
            frozenset(os.sched_getaffinity(0))
        }


def test_more_processes_than_cores_stay_where_they_are():
    count = len(os.sched_getaffinity(0)) + 1
    with servers((WORK,) * count, (WORK,) * count) as (one, other):
        assert not share_cores([one[1], other[1]])
        assert os.sched_getaffinity(one[0][0].pid) == os.sched_getaffinity(0)


def test_a_server_that_has_ended_is_left_alone():
    with servers((WORK,), (WORK,)) as (one, other):
        one[0][0].kill()
        one[0][0].wait()
        assert not share_cores([one[1], other[1]])
        assert os.sched_getaffinity(other[0][0].pid) == os.sched_getaffinity(0)

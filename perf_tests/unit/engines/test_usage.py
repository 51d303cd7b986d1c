"""What Linux accounts to a server's processes, on processes of a known appetite."""

import os
import subprocess
import sys
import time

import pytest

from fixtures.engines.usage import Usage, core, usage

pytestmark = pytest.mark.cpu

# Prints a line after so many seconds of a thread's own time on the processor, in so many threads, on one core if one is given.
BURN = """
import os, sys, threading, time
os.sched_setaffinity(0, map(int, sys.argv[3:]) if sys.argv[3:] else os.sched_getaffinity(0))
def burn():
    while time.thread_time() < float(sys.argv[1]): pass
threads = [threading.Thread(target=burn) for _ in range(int(sys.argv[2]))]
for one in threads: one.start()
for one in threads: one.join()
print(flush=True); sys.stdin.read()
"""


def burning(seconds, threads=1, on=()):
    command = [sys.executable, "-c", BURN, *map(str, (seconds, threads, *on))]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def test_a_process_that_runs_is_accounted_for_and_one_that_sleeps_is_not():
    process = burning(0)
    with process:
        process.stdout.readline()
        before, since = usage([process.pid]), time.monotonic()
        time.sleep(0.05)
        after, lasted = usage([process.pid]), time.monotonic() - since
        process.stdin.close()
    assert 0 <= after.seconds(before) < lasted / 2
    assert before.seconds(Usage({}, {})) > 0, "what it took to start"


def test_the_own_process_is_accounted_for_while_it_runs():
    before, own = usage([os.getpid()]), time.process_time()
    while time.process_time() - own < 0.2:
        pass
    after = usage([os.getpid()])
    assert after.seconds(before) == pytest.approx(0.2, rel=0.2)
    assert after.wanted(before, 1, 99)[0] >= after.seconds(before)


def test_only_the_threads_that_ran_most_of_the_processes_that_did_count_as_wanted():
    before = Usage({(1, 1): 1.0, (2, 2): 1.0, (2, 9): 5.0}, {(1, 1): 0.0, (2, 2): 0.0, (2, 9): 0.0})
    after = Usage(
        {(1, 1): 2.0, (1, 4): 1.0, (2, 2): 1.5, (3, 3): 0.1}, {(1, 1): 1.0, (1, 4): 0.5, (2, 2): 4.0, (3, 3): 9.0}
    )
    assert after.wanted(before, 1, 9) == (3.5, 13.0)
    assert after.wanted(before, 1, 1) == (2.0, 13.5), "one thread of the process that ran most"
    assert after.wanted(before, 2, 9) == (8.0, 9.0)
    assert after.seconds(before) == pytest.approx(2.6), "a thread that has ended takes nothing back"


def test_a_process_that_has_ended_counts_for_nothing():
    process = burning(0)
    with process:
        process.stdin.close()
    assert usage([process.pid]) == Usage({}, {})


def test_a_thread_that_shares_its_core_waits_for_it():
    of_both = [max(os.sched_getaffinity(0))]
    with burning(60, on=of_both) as one, burning(60, on=of_both) as other:
        while any(len(os.listdir(f"/proc/{process.pid}/task")) < 2 for process in (one, other)):
            time.sleep(0.01)
        before = usage([one.pid])
        time.sleep(0.5)
        after = usage([one.pid])
        one.kill()
        other.kill()
    thread = after.busiest(before)
    ran = after.ran[thread] - before.ran[thread]
    assert after.queued(before, thread) > ran / 3, "the other has had about half of the time"
    assert after.queued(after, thread) == 0


def test_the_busiest_thread_is_found_and_the_core_that_it_is_on():
    chosen = max(os.sched_getaffinity(0))
    with burning(60, on=[chosen]) as process:
        while len(os.listdir(f"/proc/{process.pid}/task")) < 2:
            time.sleep(0.01)
        before = usage([process.pid])
        time.sleep(0.1)
        after = usage([process.pid])
        thread = after.busiest(before)
        on = core(thread)
        process.kill()
    assert thread[0] == process.pid
    assert thread[1] != process.pid, "the main thread waits"
    assert on == chosen
    assert after.busiest(after) is None
    assert core(thread) is None, "it has ended"

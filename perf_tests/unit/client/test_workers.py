"""Several processes that send one schedule: the same records as from one, and a death among them."""

import concurrent.futures
import dataclasses
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.client import workers
from fixtures.client.load import run
from fixtures.client.metrics import summarize
from fixtures.client.request import Request
from fixtures.client.target import Target
from fixtures.client.workers import CORES_PER_WORKER, needed
from fixtures.errors import EngineError
from perf_tests.fakes.server_process import mock_server, server_log
from perf_tests.fakes.waiting import wait_until
from perf_tests.paths import ROOT

pytestmark = pytest.mark.cpu


def plan(count, every=0.005, tokens=4):
    return [Request([i + 1] * 16, tokens, i * every) for i in range(count)]


def test_workers_send_one_schedule_and_give_the_records_of_one():
    requests = plan(30)[::-1]
    with mock_server("--ttft", "0.03", "--gap", "0.005") as url:
        alone = run(Target(url, "mock"), requests, workers=1)
        shared = run(Target(url, "mock"), requests, workers=3)
        received = [entry["received"] for entry in server_log(url)[-30:]]
    assert {record.worker for record in alone} == {0}
    assert [record.worker for record in sorted(shared, key=lambda one: one.scheduled)] == [0, 1, 2] * 10, (
        "dealt by turns"
    )
    for one, other in zip(alone, shared, strict=True):
        assert (one.scheduled, one.prompt_tokens, len(one.chunks)) == (
            other.scheduled,
            other.prompt_tokens,
            len(other.chunks),
        )
        assert (one.error, other.error) == ("", "")
        assert other.scheduled <= other.sent <= other.chunks[0]
    first, *_, last = sorted(received)
    assert last - first >= requests[0].scheduled - 0.1, "one start, one clock"
    found = summarize(shared)
    assert (found.completed, found.output_tokens) == (30, 120)
    assert found.send_lag_p99 >= max(0.0, min(r.sent - r.scheduled for r in shared))


def test_slots_of_a_closed_loop_are_shared_out():
    with mock_server("--ttft", "0.02", "--gap", "0.005") as url:
        records = run(Target(url, "mock"), plan(12), concurrency=3, workers=2)
        spans = [(e["received"], e["written"][-1]) for e in server_log(url)]
    assert summarize(records).completed == 12
    assert max(sum(a <= start < b for a, b in spans) for start, _ in spans) <= 3
    assert {record.worker for record in records} == {0, 1}


def test_there_are_no_more_workers_than_requests_or_slots():
    with mock_server("--ttft", "0.01") as url:
        assert {r.worker for r in run(Target(url, "mock"), plan(2, tokens=1), workers=9)} == {0, 1}
        assert {r.worker for r in run(Target(url, "mock"), plan(4, tokens=1), concurrency=1, workers=9)} == {0}


def test_a_worker_that_dies_is_named_and_nothing_is_left_of_the_others():
    def ours():
        return [
            one for one in psutil.Process().children() if "fixtures.client.worker import" in " ".join(one.cmdline())
        ]

    with mock_server("--fault", "stall") as url, concurrent.futures.ThreadPoolExecutor(1) as thread:
        running = thread.submit(run, Target(url, "mock", timeout=60), plan(6), workers=3)
        wait_until(lambda: len(server_log(url)) > 0 and len(ours()) == 3)
        victim = max(one.pid for one in ours())
        os.kill(victim, signal.SIGKILL)
        with pytest.raises(EngineError, match=r"^load client: worker 3 of 3 died \(SIGKILL\)$"):
            running.result(30)
    assert not ours()


# Stands for ssh: what is to be run on the host runs here, with a clock that shows a quarter of an hour more.
SSH = f"""#!/bin/sh
while [ $# -gt 1 ]; do shift; done
exec unshare --time --fork --kill-child --monotonic=900 sh -c "PATH={Path(sys.executable).parent}:$PATH; $1"
"""


@pytest.fixture
def ssh(tmp_path, monkeypatch):
    """A host that ssh reaches; skipped where no process may have a clock of its own."""
    may = subprocess.run(["unshare", "--time", "--fork", "--monotonic=900", "true"], check=False, capture_output=True)
    if may.returncode:
        pytest.skip("no time namespaces here")
    (tmp_path / "ssh").write_text(SSH)
    (tmp_path / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    return f"elsewhere:{ROOT}"


def test_workers_on_other_hosts_keep_one_schedule_by_their_own_clocks(ssh):
    with mock_server("--ttft", "0.03", "--gap", "0.005") as url:
        records = run(Target(url, "mock"), plan(20, every=0.02), hosts=[ssh, ssh])
        received = {entry["prompt"]: entry["received"] for entry in server_log(url)}
    assert summarize(records).completed == 20
    assert {record.worker for record in records} == {0, 1}
    assert all(record.sent >= record.scheduled for record in records)
    assert max(received.values()) - min(received.values()) < 100, "not a quarter of an hour apart"


def test_a_host_whose_clock_nobody_knows_well_enough_is_refused(ssh, monkeypatch):
    monkeypatch.setattr(workers, "MAX_CLOCK_ERROR", 0.0)
    with (
        mock_server() as url,
        pytest.raises(EngineError, match=r"^load client: worker 1 of 1 on elsewhere: its clock is known"),
    ):
        run(Target(url, "mock"), plan(2), hosts=[ssh])


def test_a_host_that_cannot_be_reached_is_named(tmp_path, monkeypatch):
    (tmp_path / "ssh").write_text("#!/bin/sh\nexit 255\n")
    (tmp_path / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(EngineError, match=r"^load client: worker 1 of 1 on nowhere died \(exit status 255\)$"):
        run(Target("http://127.0.0.1:9", "m"), plan(2), hosts=["nowhere:/tmp"])


@pytest.mark.parametrize(
    ("requests", "concurrency", "cores", "count"),
    [
        (plan(1000, every=0.001, tokens=64), 0, 64, 2),  # 64,000 tokens per second
        (plan(1000, every=0.001, tokens=64), 0, 4, 1),
        (plan(100, every=0.0001, tokens=1000), 0, 64, 1),  # 100 streams never make so many
        (plan(2000, every=0.0), 0, 64, 5),  # all at once
        (plan(2000, every=0.001), 1000, 64, 3),
        ([dataclasses.replace(one, stream=False) for one in plan(2000, every=0.0)], 0, 64, 1),  # an answer each
    ],
)
def test_as_many_as_the_traffic_needs_and_the_machine_spares(requests, concurrency, cores, count):
    assert needed(requests, concurrency, cores) == count


@given(st.lists(st.floats(0, 100), min_size=1, max_size=50), st.integers(0, 5000), st.integers(1, 256))
def test_there_is_always_one_and_never_more_than_the_server_can_spare(times, concurrency, cores):
    found = needed([Request([1], 512, at) for at in times], concurrency, cores)
    assert 1 <= found <= max(1, cores // CORES_PER_WORKER)

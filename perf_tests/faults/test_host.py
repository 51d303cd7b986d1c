"""Runs that are interrupted or killed, disks that are full, clocks that jump."""

import json
import mmap
import os
import secrets
import shutil
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from fixtures.report import __main__ as report
from fixtures.store import accept, baseline
from fixtures.store.run import CUT_OFF
from fixtures.store.sample import SAMPLES
from perf_tests.documentation.faults import fault
from perf_tests.fakes import fake_engine
from perf_tests.fakes.deployments import BATCH_1
from perf_tests.fakes.shared_object import compiled
from perf_tests.fakes.waiting import wait_until
from perf_tests.tools import kill

EVERYTHING = "everything measured: samples, report, baselines"
HANGS = f"--fault stall --after {BATCH_1}"


def interrupted(suite, *numbers):
    """A run that meets signals while it waits for a stalled cell, two cells measured."""
    process = suite.start("--update-baselines")
    suite.await_samples(2)
    for i, number in enumerate(numbers):
        if i:
            wait_until((suite.artifacts / "report.html").exists)  # what is written last
        process.send_signal(number)
    return suite.wait(process)


def assert_kept(suite, done):
    assert done.status == 2, done.text
    assert "Traceback" not in done.text
    assert suite.samples() == ["startup", "batch-1"]
    assert set(suite.stored()) | {"batch-1"} == {"startup", "batch-1"}  # a busy machine may make batch-1 invalid
    assert "/batch-1 | latency" in (suite.artifacts / "report.md").read_text()
    assert "baseline written: " in done.text


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(signal.SIGINT, marks=fault("Host", "SIGINT (Ctrl-C)", "ends at once, status 2", EVERYTHING)),
        pytest.param(signal.SIGTERM, marks=fault("Host", "SIGTERM (a cancelled job)", "as Ctrl-C", EVERYTHING)),
    ],
)
def test_a_signal(suite, number):
    suite.boots_with(HANGS)
    assert_kept(suite, interrupted(suite, number))
    (boot,) = fake_engine.boots(suite.engine)
    assert not psutil.pid_exists(boot["pids"][0]), "pytest ends after its server"


@fault("Host", "SIGINT twice, while the server ends", "ends at once; its supervisor waits for the server", EVERYTHING)
def test_two_signals(suite):
    suite.boots_with(f"--linger 3 {HANGS}")
    assert_kept(suite, interrupted(suite, signal.SIGINT, signal.SIGINT))


@fault(
    "Host",
    "SIGKILL of pytest",
    "the server is ended by its supervisor",
    "samples.jsonl; `python -m fixtures.report RUN` makes a report of it, `... .accept RUN` baselines",
)
def test_a_kill(suite, tmp_path):
    suite.boots_with(HANGS)
    done = interrupted(suite, signal.SIGKILL)
    assert done.status == -signal.SIGKILL
    assert suite.samples() == ["startup", "batch-1"]
    assert report.main([str(suite.artifacts)]) == 0
    text = (suite.artifacts / "report.md").read_text()
    assert "**Nothing was judged.**" in text
    assert CUT_OFF in text
    assert "/batch-1 | output_throughput" in text
    assert CUT_OFF in (suite.artifacts / "report.html").read_text()
    assert accept.main([str(suite.artifacts), "--baselines", str(tmp_path / "accepted")]) == 0
    (path,) = (tmp_path / "accepted").rglob("*.json")
    kept = [json.loads(line) for line in (suite.artifacts / SAMPLES).read_text().splitlines()]
    # a busy machine may make batch-1 invalid
    assert set(baseline.read(path).cells) == {one["cell"] for one in kept if not one["invalid"]}


@fault(
    "Host",
    "SIGKILL of pytest, at random moments",
    "no process, shared memory or lock is left (with a real engine: `tox -e kill`)",
    "samples.jsonl: every cell that was measured",
)
def test_kills_at_random_moments(suite, shared_memory, capsys):
    suite.boots_with(f"--fork --shm {shared_memory[0]}")
    options = [
        f"--deployment={suite.deployment}",
        f"--engine-env=vllm={suite.engine}",
        f"--baselines={suite.baselines}",
    ]
    assert kill.main(["--times=4", "--", *options]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5
    assert lines[0].endswith(" s, 3 cells")
    assert all(line.endswith("nothing left behind, nothing lost") for line in lines[1:]), lines


@pytest.fixture
def shared_memory():
    """How names of shared memory begin that an engine leaves, and two files of that kind that another process made."""
    prefix = f"/dev/shm/moegauge-{secrets.token_hex(8)}-"
    if not Path(prefix).parent.is_dir():
        pytest.skip("there is no /dev/shm here")
    before, later = (Path(f"{prefix}{name}") for name in ("before", "later"))
    before.touch(0o600)
    before.write_bytes(bytes(mmap.PAGESIZE))
    yield prefix, before, later
    before.unlink(missing_ok=True)
    later.unlink(missing_ok=True)


LEFT = "removed once the server is gone; what was there before, and what it never maps, stays"


@pytest.mark.parametrize(
    "how",
    [
        pytest.param("end", marks=fault("Host", "an engine leaves shared memory", LEFT, "everything")),
        pytest.param(
            "kill", marks=fault("Host", "an engine leaves shared memory, SIGKILL of pytest", LEFT, "samples.jsonl")
        ),
        pytest.param("die", marks=fault("Host", "a server that is killed leaves shared memory", LEFT, "the others")),
    ],
)
def test_shared_memory(suite, shared_memory, how):
    prefix, before, later = shared_memory
    # A child would keep the memory mapped after the server's death.
    faults = {"end": "--fork", "kill": f"--fork {HANGS}", "die": HANGS}[how]
    suite.boots_with(f"--shm {prefix} {faults}", f"--shm {prefix}")
    process = suite.start("--update-baselines")
    suite.await_samples(1)
    later.write_bytes(bytes(mmap.PAGESIZE))
    (boot,) = fake_engine.boots(suite.engine)
    (own,) = map(Path, boot["shm"])
    assert own.exists()
    if how != "end":
        suite.await_samples(2)
        # Between two cells a dead server is replaced, and none fails.
        wait_until(lambda: stalls(boot["port"]))
        os.kill(process.pid if how == "kill" else boot["pids"][0], signal.SIGKILL)
    assert suite.wait(process).status == {"end": 0, "kill": -signal.SIGKILL, "die": 1}[how]
    suite.assert_nothing_left()
    assert not own.exists()
    assert before.exists()
    assert later.exists()


def stalls(port):
    """Whether somebody has waited for a port of this machine for a while."""

    def connected():
        found = psutil.net_connections("tcp")
        return {c.raddr.port for c in found if c.status == psutil.CONN_ESTABLISHED and c.laddr.port == port}

    before = connected()
    time.sleep(0.3)
    return bool(before & connected())


@pytest.fixture
def mounted(suite):
    """Has the suite run where a small file system is mounted; skips where that is not permitted."""

    def mount(place, options):
        place.mkdir(exist_ok=True)
        suite.prefix = ["unshare", "-rm", "sh", "-c", f'mount -t tmpfs -o {options} none {place} && exec "$@"', "sh"]
        if shutil.which("unshare") is None or subprocess.run([*suite.prefix, "true"], check=False).returncode:
            pytest.skip("no user may mount a file system here")

    return mount


@fault(
    "Host",
    "disk full while a baseline is written",
    "status 1, file and cause named",
    "samples and report",
)
def test_the_disk_of_the_baselines_is_full(suite, mounted):
    mounted(suite.baselines, "size=4k")
    done = suite.run("--update-baselines")
    assert done.status == 1
    assert "/llama-3.1-8b-twin.json: cannot be written: No space left on device; make room" in done.text
    assert "Traceback" not in done.text
    assert suite.samples() == ["startup", "batch-1", "batch-4"]
    assert set(suite.verdicts().values()) == {"no baseline"}


@fault(
    "Host",
    "files may not grow (RLIMIT_FSIZE)",
    "as a full disk; what is cut off is removed",
    "the old baseline, samples that fit",
)
def test_files_may_not_grow(judged):
    before = {path: path.read_bytes() for path in judged.baselines.rglob("*.json")}
    judged.prefix = ["sh", "-c", 'ulimit -f 4 && exec "$@"', "sh"]  # 2 KiB, or 4 where a block is one: dash or bash
    done = judged.run("--update-baselines")
    assert done.status == 1
    assert "llama-3.1-8b-twin.json: cannot be written: File too large; make room" in done.text
    assert "samples.jsonl: cannot be written: File too large" in done.text
    assert {path: path.read_bytes() for path in judged.baselines.rglob("*.json")} == before
    samples = judged.samples()
    assert samples[0] == "startup"
    assert len(samples) < 3


@fault("Host", "read-only baselines", "status 1, file and cause named", "samples and report")
def test_read_only_baselines(suite, mounted):
    mounted(suite.baselines, "ro")
    done = suite.run("--update-baselines")
    assert done.status == 1
    assert "/llama-3.1-8b-twin.json: cannot be written: Read-only file system; make room" in done.text
    assert "Traceback" not in done.text
    assert suite.samples() == ["startup", "batch-1", "batch-4"]


@fault("Host", "disk full where the run is kept", "cells and run fail, cause named; judged all the same", "baselines")
def test_the_disk_of_the_artifacts_is_full(suite, mounted):
    mounted(suite.artifacts, "size=12k")
    done = suite.run("--update-baselines")
    assert done.status == 1
    assert "/report.md: cannot be written: No space left on device; make room" in done.text
    assert "Traceback" not in done.text
    assert set(suite.stored().values()) == {1}


@fault("Host", "the wall clock jumps by days", "pass: what is timed is timed by the monotonic clock", "everything")
def test_the_clock_jumps(judged, tmp_path):
    judged.variables["LD_PRELOAD"] = str(compiled("clock_jump.c", tmp_path / "clock_jump.so"))
    done = judged.run()
    assert done.status == 0, done.text
    assert set(judged.verdicts().values()) == {"pass"}


@fault("Host", "few open files (`ulimit -n`)", "a cell of more connections fails, the remedy named", "the other cells")
def test_few_open_files(judged):
    text = judged.deployment.read_text()
    judged.deployment.write_text(text.replace("batch_size = 4", "batch_size = 64"))
    judged.prefix = ["sh", "-c", 'ulimit -n 48 && exec "$@"', "sh"]
    done = judged.run()
    assert done.status == 1
    assert "Too many open files: raise it with `ulimit -n`" in done.text
    assert "Traceback" not in done.text
    assert judged.verdicts()["batch-1 latency"] == "pass"

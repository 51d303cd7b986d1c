"""A whole search on fake engines: real sessions of the suite, real processes."""

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from perf_tests.fakes import fake_engine
from perf_tests.fakes.deployments import BLOCK
from perf_tests.fakes.waiting import wait_until
from perf_tests.paths import ROOT

pytestmark = pytest.mark.faults
COMMIT = ("-c", "user.name=n", "-c", "user.email=n@example.org", "commit", "-q", "--allow-empty")


def command(suite, tmp_path, engines):
    return [
        *(sys.executable, "-m", "fixtures.bisect", *engines, "--artifacts", str(tmp_path / "search")),
        *("--regression", f"{BLOCK}/batch-1 latency 1.5"),
        *(
            "--",
            f"--deployment={suite.deployment}",
            f"--baselines={suite.baselines}",
            "-k",
            "not claims and not source",
        ),
    ]


def engine(tmp_path, number, options):
    return str(fake_engine.build(tmp_path / f"v{number}", options))


def run(words):
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)


def test_the_engine_from_which_on_tokens_come_slower_is_found(suite, tmp_path):
    gaps = ["--gap 0.01", "--crash", "--gap 0.03", "--gap 0.03"]
    words = command(suite, tmp_path, [engine(tmp_path, number, gap) for number, gap in enumerate(gaps)])
    done = run(words)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "First bad: one of v1, v2; those before v2 were skipped" in done.stdout, done.stdout
    assert f"skipped: v1: {BLOCK}/batch-1: the server ended with status 1" in done.stdout
    assert len((tmp_path / "search" / "bisect.jsonl").read_text().splitlines()) > 2
    assert run(words).stdout.split("\n\n")[-2:] == done.stdout.split("\n\n")[-2:], "nothing is measured again"


def test_a_reference_that_does_not_boot_ends_the_search_and_is_named(suite, tmp_path):
    words = command(suite, tmp_path, [engine(tmp_path, number, one) for number, one in enumerate(["--crash", "", ""])])
    done = run(words)
    assert done.returncode == 2, done.stdout + done.stderr
    assert f"error: v0: the reference: {BLOCK}/batch-1: the server ended with status 1" in done.stderr, done.stderr
    assert "Engine core initialization failed: CUDA out of memory" in done.stderr
    assert "skipped" not in done.stdout


def test_a_search_that_is_told_to_end_leaves_no_server(suite, tmp_path):
    engines = [engine(tmp_path, number, "--gap 0.5") for number in range(2)]
    with subprocess.Popen(command(suite, tmp_path, engines), cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        wait_until(lambda: any(fake_engine.boots(Path(one)) for one in engines))
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 130
    assert_ended([pid for one in engines for boot in fake_engine.boots(Path(one)) for pid in boot["pids"]])


def test_a_search_that_is_told_to_end_while_it_builds_leaves_no_build(tmp_path):
    checkout, told = tmp_path / "checkout", tmp_path / "pid"
    for words in (["init", "-q", str(checkout)], *[["-C", str(checkout), *COMMIT, "-m", str(i)] for i in range(2)]):
        subprocess.run(["git", *words], check=True)
    words = [*(sys.executable, "-m", "fixtures.bisect", "--artifacts", str(tmp_path / "search"))]
    words += [
        "--regression",
        f"{BLOCK}/batch-1 latency 1.5",
        "--checkout",
        str(checkout),
        "--good=HEAD~1",
        "--bad=HEAD",
    ]
    words += ["--build", f"sleep 600 & echo $! > {told}.part; mv {told}.part {told}; wait"]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE) as process:
        wait_until(told.exists)
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 130
    assert_ended([int(told.read_text())])


def assert_ended(pids):
    assert pids
    for pid in pids:
        wait_until(lambda pid=pid: not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie")

"""A whole search on fake engines: real sessions of the suite, real processes."""

import subprocess
import sys

import pytest

from perf_tests.fakes import fake_engine
from perf_tests.fakes.deployments import BLOCK
from perf_tests.paths import ROOT

pytestmark = pytest.mark.faults


def test_the_engine_from_which_on_tokens_come_slower_is_found(suite, tmp_path):
    engines = []
    for number in range(4):
        directory = tmp_path / f"v{number}"
        options = {1: "--crash"}.get(number, "--gap 0.03" if number >= 2 else "--gap 0.01")
        engines.append(str(fake_engine.build(directory, options)))
    command = [
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
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "First bad: one of v1, v2; those before v2 were skipped" in done.stdout, done.stdout
    assert f"skipped: v1: {BLOCK}/batch-1: the server ended with status 1" in done.stdout
    assert len((tmp_path / "search" / "bisect.jsonl").read_text().splitlines()) > 2
    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    assert again.stdout.split("\n\n")[-2:] == done.stdout.split("\n\n")[-2:], "nothing is measured again"

"""What commands have in common, seen from a shell."""

import subprocess
import sys

import pytest

from perf_tests.harness.server_process import ROOT

pytestmark = pytest.mark.cpu
TABLE = [
    sys.executable,
    "-m",
    "fixtures.gate",
    "engines",
    "baselines/h200x1/vllm-tp1-random",
    "baselines/h200x1/sglang-tp1-random",
]


def test_a_reader_that_has_seen_enough_ends_a_command_quietly():
    command = subprocess.Popen(TABLE, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    command.stdout.close()
    assert command.stderr.read() == b""
    assert command.wait() == 128 + 13


def test_a_mistake_is_one_line_and_status_2():
    done = subprocess.run([*TABLE[:-1], "/nowhere"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: /nowhere: ")
    assert done.stderr.count("\n") == 1

"""What commands have in common, seen from a shell."""

import signal
import subprocess
import sys

import pytest

from perf_tests.documentation import evidence
from perf_tests.fakes.server_process import mock_server, server_log
from perf_tests.faults.suite import wait_until
from perf_tests.paths import ROOT

pytestmark = pytest.mark.cpu
TABLE = [
    sys.executable,
    "-m",
    "fixtures.comparison",
    *(str(evidence.block("h200x1", engine)) for engine in ("vllm", "sglang")),
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


def test_a_command_that_is_interrupted_says_so_in_a_line():
    with mock_server("--ttft", "60") as url:
        client = [sys.executable, "-m", "fixtures.client", "--url", url, "--model", "mock", "--num-prompts", "1"]
        command = subprocess.Popen(client, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        wait_until(lambda: server_log(url))
        command.send_signal(signal.SIGINT)
        assert command.communicate() == ("", "interrupted\n")
    assert command.returncode == 128 + signal.SIGINT

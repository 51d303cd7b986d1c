"""What commands have in common, seen from a shell."""

import importlib.util
import signal
import subprocess
import sys

import pytest

from perf_tests.documentation import evidence
from perf_tests.fakes.commands import run_module_here
from perf_tests.fakes.server_process import mock_server, server_log
from perf_tests.fakes.waiting import wait_until
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


# Commands by the name that they once had.
MOVED = {
    "fixtures.cross_check": "fixtures.studies.cross_check",
    "fixtures.report.accept": "fixtures.store.accept",
    "fixtures.report.export": "fixtures.store.export",
    "fixtures.report.figures": "perf_tests.documentation.generate",
    "fixtures.report.predictions": "fixtures.prediction",
    "fixtures.routing.collectives": "fixtures.studies.collectives.counts",
    "fixtures.routing.exchange_times": "fixtures.studies.collectives.exchange_times",
    "fixtures.routing.imbalance": "fixtures.studies.expert_kernel.imbalance",
    "fixtures.routing.train": "fixtures.studies.training.train",
}


@pytest.mark.parametrize(("old", "new"), MOVED.items())
def test_a_command_that_has_moved_names_the_new_one(old, new):
    done = run_module_here(old, "--help")
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"error: python -m {old} is python -m {new} now\n")
    assert importlib.util.find_spec(new) is not None


@pytest.mark.parametrize("name", ["engines", "power", "rivals", "trade-off"])
def test_what_the_gates_command_once_did_names_its_new_command(name):
    done = run_module_here("fixtures.gate", name)
    new = "fixtures.comparison" if name == "engines" else f"fixtures.studies.gate {name}"
    says = f"error: python -m fixtures.gate {name} is python -m {new} now\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", says)


def test_every_command_that_has_moved_is_in_the_list():
    texts = {path: path.read_text() for path in (ROOT / "fixtures").rglob("*.py")}
    stubs = {path for path, text in texts.items() if "    sys.exit(moved(" in text}
    assert {".".join(path.relative_to(ROOT).with_suffix("").parts) for path in stubs} == set(MOVED)

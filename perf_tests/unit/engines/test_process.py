"""Booting and ending real server processes: nothing may outlive whoever asked for it."""

import os
import signal
import subprocess
import sys
import time
import types

import psutil
import pytest

from fixtures.client import metrics
from fixtures.client.load import run
from fixtures.client.request import Request
from fixtures.engines import boot as boot_module
from fixtures.engines import install
from fixtures.engines.boot import boot
from fixtures.engines.engine import BootSpec, Engine, Report, words
from fixtures.engines.environment import Environment
from fixtures.engines.process import ServerProcess
from fixtures.engines.registry import ENGINES
from fixtures.errors import EngineError
from perf_tests.fakes.commands import run_here
from perf_tests.fakes.waiting import wait_until
from perf_tests.paths import ROOT

pytestmark = pytest.mark.cpu


@pytest.fixture(autouse=True)
def _looked_at_often(monkeypatch):
    """Boots take as long as the mock server does."""
    monkeypatch.setattr(boot_module, "POLL_SECONDS", 0.02)


class MockEngine(Engine):
    """The mock server behind the interface that the pool uses."""

    name = "mock"

    def __init__(self, *options, model=None):
        self.options, self.model = options, model

    def lock(self, device):
        return "mock"

    tells_compilation = True

    def phase(self, line, release=""):
        return "loading" if "mock: loading" in line else ""

    def command(self, python, spec, port):
        options = words({"--port": port, "--model": self.model or spec.served_name})
        return [sys.executable, "-m", "perf_tests.fakes.mock_server", *options, *self.options]

    def environment(self, spec):
        return {"PYTHONPATH": str(ROOT)}

    def compilation(self, line):
        return ENGINES["vllm"].compilation(line)

    def report(self, spec, log, url):
        return Report(version="1")


def start(engine, tmp_path, timeout=20.0, seen=None):
    spec = BootSpec("m", "mock", "dummy", "cpu", 1, "bfloat16", 1024, 0, ())
    progress = seen.append if seen is not None else lambda phase: None
    return boot(engine, Environment(tmp_path), spec, {}, tmp_path / "server.log", timeout, progress)


def test_a_boot_serves_under_a_name_of_its_own_and_stops_without_a_trace(tmp_path):
    seen = []
    server = start(MockEngine("--boot", "0.3"), tmp_path, seen=seen)
    assert server.target.model.startswith("mock-")
    assert server.id in server.target.model
    assert "loading" in seen
    assert server.process.resident_bytes() > 1_000_000
    below = psutil.Process(server.process._supervisor.pid).children(recursive=True)
    server.stop()
    assert not any(p.is_running() for p in below)
    assert "listening on" in (tmp_path / "server.log").read_text()


def test_a_server_that_dies_at_boot_is_reported_with_its_last_lines(tmp_path):
    with pytest.raises(EngineError, match=r"status 2 .*\n?.*(?s:.*)unrecognized arguments: --nonsense"):
        start(MockEngine("--nonsense"), tmp_path)


class Deadline(list):
    """Phases of a boot whose time stands still until it is ``loading``, however long that takes, and is over then."""

    def monotonic(self):
        return 1e6 if "loading" in self else 0.0


def test_a_server_that_never_gets_healthy_is_stopped_at_the_deadline(tmp_path, monkeypatch):
    seen = Deadline()
    monkeypatch.setattr(boot_module, "time", types.SimpleNamespace(monotonic=seen.monotonic, sleep=time.sleep))
    with pytest.raises(EngineError, match=r"not healthy within 0.5 s, last seen loading"):
        start(MockEngine("--boot", "60"), tmp_path, timeout=0.5, seen=seen)
    assert not any("mock_server" in " ".join(p.cmdline()) for p in psutil.Process().children(recursive=True))


def test_another_model_behind_the_port_is_refused(tmp_path):
    with pytest.raises(EngineError, match="serves somebody-else, not this boot's"):
        start(MockEngine(model="somebody-else"), tmp_path)


def test_a_server_that_dies_while_serving_is_noticed(tmp_path):
    server = start(MockEngine("--die", "0.3"), tmp_path)
    wait_until(lambda: server.process.exit_status() is not None)
    with pytest.raises(EngineError, match="died with status 3"):
        server.check_alive()


def test_a_server_that_ignores_signals_is_killed(tmp_path):
    command = [sys.executable, "-m", "perf_tests.fakes.mock_server", "--ignore-signals"]
    process = ServerProcess(command, dict(os.environ, PYTHONPATH=str(ROOT)), tmp_path / "log", grace=0.1)
    wait_until(lambda: "listening" in process.tail())
    process.stop()
    assert process.exit_status() == (-signal.SIGKILL) % 256


FORKS = """
import os, subprocess, sys, time
code = "import os, time; os.setsid(); print('escaped', os.getpid(), flush=True); time.sleep(60)"
subprocess.Popen([sys.executable, "-c", code])
time.sleep(0.2)
"""


def test_children_that_left_the_group_end_with_the_server(tmp_path):
    process = ServerProcess([sys.executable, "-c", FORKS], dict(os.environ), tmp_path / "log", grace=1.0)
    wait_until(lambda: "escaped" in process.tail())
    escaped = int(process.tail().split()[1])
    wait_until(lambda: process.exit_status() is not None)
    assert not psutil.pid_exists(escaped)


OWNER = """
import os, sys
from pathlib import Path
from fixtures.engines.process import ServerProcess
server = ServerProcess([sys.executable, "-c", "import os, time; print('pid', os.getpid(), flush=True); time.sleep(60)"],
                       dict(os.environ), Path(sys.argv[1]), grace=1.0)
sys.stdin.read()
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_server_ends_when_its_owner_is_killed(tmp_path, number):
    log = tmp_path / "log"
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(log)], cwd=ROOT, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    wait_until(lambda: log.exists() and "pid" in log.read_text())
    pid = int(log.read_text().split()[1])
    owner.send_signal(number)
    owner.wait()
    wait_until(lambda: not psutil.pid_exists(pid))


def test_kernels_that_a_server_compiles_while_serving_are_named_once(tmp_path):
    server = start(MockEngine("--ttft", "0.01", "--jit", "0.1"), tmp_path)
    try:
        before = server.log_size()
        first = run(server.target, [Request([5] * 24, 2)])
        assert server.compilations(before) == ["kernel_24"]
        between = server.log_size()
        again = run(server.target, [Request([5] * 24, 2)])
        assert server.compilations(between) == []
        assert metrics.ttft(first[0]) - metrics.ttft(again[0]) > 0.05
    finally:
        server.stop()


def test_vllms_own_words_for_a_compilation_are_understood():
    def kernel(text):
        return ENGINES["vllm"].compilation(f"(EngineCore pid=1) WARNING 11-24 11:30:00 [jit_monitor.py:136] {text}")

    spike = "This causes a latency spike; consider extending warmup to cover this shape/config."
    assert kernel(f"Triton kernel JIT compilation during inference: fused_moe_kernel. {spike}") == "fused_moe_kernel"
    assert kernel(f"TileLang JIT compilation during inference: a.b (sm90). {spike}") == "a.b"
    assert kernel("Kernel JIT monitor activated; monitored JIT compilations during inference will use mode=warn.") == ""


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (["--deployment=h300"], 2, "error: --deployment: unknown deployment 'h300'"),
        (["--deployment=cpu", "--engine-url=http://h:1"], 0, "a running server is measured, no engine is installed"),
        (["--deployment=cpu", "--engine-env=vllm=/mine", "-k", "batch", "--strict-verdicts"], 0, ""),
    ],
)
def test_the_installer_builds_nothing_that_is_not_needed(options, status, message):
    done = run_here(install.main, *options)
    assert done.returncode == status
    assert message in done.stdout + done.stderr
    assert "building" not in done.stdout
    assert "Traceback" not in done.stderr

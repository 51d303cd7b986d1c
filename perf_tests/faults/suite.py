"""The suite in a process of its own, on a fake engine: everything from the options to the baselines is the real thing."""

import contextlib
import dataclasses
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from perf_tests.fakes import fake_engine
from perf_tests.fakes.fake_engine import ROOT

DEPLOYMENT = """
description = "a fake engine"
hardware = "cpu"
devices = 1
engines = ["vllm"]
tensor_parallel = [1]
max_model_len = 256
boot_timeout = 5
request_timeout = 2
gated = ["weight_memory", "kv_capacity", "latency", "peak_memory", "completed", "output_tokens"]
tolerances = { latency = 0.5, peak_memory = 0.5 }

[[models]]
name = "llama-3.1-8b-twin"

[[workloads]]
name = "startup"
kind = "startup"

[[workloads]]
name = "batch-1"
kind = "batch"
batch_size = 1
input_len = 8
output_len = 8
repetitions = 3

[[workloads]]
name = "batch-4"
kind = "batch"
batch_size = 4
input_len = 8
output_len = 8
repetitions = 1
"""
# Completions that a boot has served when batch-1 is measured: a pass of warm-up and three repetitions.
BATCH_1 = 4
BLOCK = "vllm/llama-3.1-8b-twin/tp1"
ENDS_SECONDS = 60.0


@dataclasses.dataclass
class Done:
    """A run that has ended: its exit status, and all that its user saw."""

    status: int
    text: str


class Suite:
    """Runs pytest on the serving tests with a deployment, an engine, baselines and artifacts of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.deployment = directory / "fake.toml"
        self.deployment.write_text(DEPLOYMENT)
        self.engine = fake_engine.build(directory / "engine")
        self.artifacts, self.baselines, self.scratch = (directory / name for name in ("run", "baselines", "scratch"))
        self.scratch.mkdir()
        self.variables: dict[str, str] = {}
        self.prefix: list[str] = []

    def boots_with(self, *options: str) -> None:
        """Plan the faults of the first, second ... boot; the last go for all later ones."""
        fake_engine.build(self.engine, *options)

    def start(self, *options: str) -> subprocess.Popen[str]:
        """Start a run; ``wait`` gives its outcome."""
        command = [
            *self.prefix,
            sys.executable,
            "-m",
            "pytest",
            "perf_tests/serving",
            "-m",
            "serving",
            "-k",
            "not claims and not source",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:hypothesispytest",
            "-p",
            "no:anyio",
            f"--deployment={self.deployment}",
            f"--baselines={self.baselines}",
            f"--artifacts={self.artifacts}",
            f"--engine-env=vllm={self.engine}",
            *options,
        ]
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
        return subprocess.Popen(
            command,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            stdin=subprocess.DEVNULL,
            env=inherited | {"TMPDIR": str(self.scratch)} | self.variables,
        )

    def run(self, *options: str) -> Done:
        return self.wait(self.start(*options))

    def wait(self, process: subprocess.Popen[str]) -> Done:
        """The end of a run that was started."""
        try:
            text, _ = process.communicate(timeout=2 * ENDS_SECONDS)
        finally:
            process.kill()
        return Done(process.returncode, text)

    def samples(self) -> list[str]:
        """The names of the workloads measured, in order, from the run's own record: every line of it is whole."""
        path = self.artifacts / "samples.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return [json.loads(line)["cell"].rsplit("/", 1)[1] for line in lines]

    def await_samples(self, count: int) -> None:
        """Wait until so many cells have been measured."""
        path = self.artifacts / "samples.jsonl"
        wait_until(lambda: path.exists() and path.read_text().count("\n") >= count)

    def verdicts(self) -> dict[str, str]:
        """Outcomes by ``workload metric``, from the report."""
        text = (self.artifacts / "report.md").read_text()
        rows = re.findall(r"^\| \S+/(\S+) +\| (\w+) +\|.*\| ([\w ]+?) +\|$", text, re.MULTILINE)
        return {f"{cell} {metric}": outcome for cell, metric, outcome in rows if outcome != "recorded"}

    def stored(self) -> dict[str, int]:
        """Boots of each workload in the baseline, which is readable."""
        (path,) = self.baselines.rglob("*.json")
        benchmarks: list[dict[str, Any]] = json.loads(path.read_text())["benchmarks"]
        return {b["name"]: len(b["extra_info"]["boots"]) for b in benchmarks}

    def assert_nothing_left(self) -> None:
        """No process, port, shared memory or temporary file outlives a run. A supervisor takes its time to kill."""
        for boot in fake_engine.boots(self.engine):
            for pid in boot["pids"]:
                wait_until(lambda pid=pid: not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie")
            wait_until(lambda port=boot["port"]: _free(port))
            for path in boot["shm"]:
                wait_until(lambda path=path: not Path(path).exists())
        assert not list(self.scratch.iterdir()), f"temporary files: {list(self.scratch.rglob('*'))}"
        for place in (self.baselines, self.artifacts):
            assert not list(place.rglob(".*")), "half-written files"


def wait_until(condition: Callable[[], bool], seconds: float = ENDS_SECONDS) -> None:
    """Wait for something that happens soon; fail when it doesn't."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.02)


def _free(port: int) -> bool:
    with contextlib.suppress(OSError):
        socket.create_server(("127.0.0.1", port)).close()
        return True
    return False

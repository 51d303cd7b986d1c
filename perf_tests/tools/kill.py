"""Kills pytest at random moments of real runs and looks at what is left: python -m perf_tests.tools.kill

Options after `--` go to pytest, the deployment (default: cpu) among them. A first run to the end says how long one takes,
unless --seconds does; then each of --times runs gets a SIGKILL at a moment drawn from that time, and must leave

- no process: an environment variable that everything inherits tells which are the run's, wherever they went,
- no shared memory that its processes mapped when it was killed and that wasn't there before,
- no lock of its own on a card,
- every cell whose test had passed in samples.jsonl, and a report to be made of it.

`tox -e kill` does it with the engine of the cpu deployment (an hour); the fault tests rehearse it with a fake engine.
"""

import argparse
import contextlib
import fcntl
import os
import random
import re
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from fixtures.engines.process import GRACE_SECONDS
from fixtures.engines.supervise import SHARED_MEMORY
from fixtures.errors import UsageError
from fixtures.report import reports
from fixtures.store import run as run_module
from fixtures.store.sample import SAMPLES
from perf_tests.fakes.fake_engine import ROOT

MARK = "MOEGAUGE_KILL"
# SIGINT, SIGTERM and SIGKILL each wait for a grace; the kernel takes its time to free an engine's memory.
ENDS_SECONDS = 3 * GRACE_SECONDS + 15
LOCKS = "moegauge-*.lock"
# What pytest -v prints of a test that measured a cell.
MEASURED = re.compile(r"::test_(?!verdict)\w+\[(\S+/\S+/tp\S+)\] PASSED")


class Run:
    """One run of the suite in a process of its own."""

    def __init__(self, artifacts: Path, options: Sequence[str]) -> None:
        self.artifacts = artifacts
        self.token = secrets.token_hex(8)
        self._before, self._mapped = set(Path(SHARED_MEMORY).rglob("*")), set[Path]()
        self._output = artifacts.with_suffix(".txt")
        command = [
            sys.executable,
            "-u",
            "-m",
            "pytest",
            "perf_tests/serving",
            "-m",
            "serving",
            "-v",
            "-p",
            "no:cacheprovider",
            f"--artifacts={artifacts}",
            *options,
        ]
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
        with self._output.open("w", encoding="utf-8") as output:
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=inherited | {MARK: self.token},
            )

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return self._output.read_text(encoding="utf-8", errors="replace")

    def processes(self) -> list[int]:
        """All that inherited the run's mark, and pytest itself; zombies are gone already."""
        return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if self._is_own(pid)]

    def _is_own(self, pid: int) -> bool:
        with contextlib.suppress(OSError):
            return f"{MARK}={self.token}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        return False

    def kill(self) -> int:
        """SIGKILL pytest; returns how many processes the run had."""
        own = self.processes()
        for pid in own:
            with contextlib.suppress(OSError):
                maps = Path(f"/proc/{pid}/maps").read_text(errors="replace")
                self._mapped |= set(map(Path, re.findall(rf"{SHARED_MEMORY}/\S+", maps)))
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        return len(own)

    def left(self) -> list[str]:
        """What is wrong, once it has been killed; empty if nothing is."""
        _until(lambda: not self.processes())
        found = [f"process {pid}: {_command(pid)}" for pid in self.processes()]
        found += [f"shared memory {path}" for path in self._mapped - self._before if path.exists()]
        found += [f"lock {path}" for path in _locks(self.process.pid) if not _free(path)]
        measured = set(MEASURED.findall(self.output))
        try:
            kept = {one.cell for one in run_module.samples(self.artifacts)} if self._kept() else set()
            if kept:
                reports.write(self.artifacts, run_module.read(self.artifacts))
        except UsageError as error:
            return [*found, str(error)]
        return found + [f"{cell} was measured and is not in {SAMPLES}" for cell in measured - kept]

    def _kept(self) -> bool:
        return (self.artifacts / SAMPLES).exists()

    def cells(self) -> int:
        """How many cells it has measured."""
        return len({one.cell for one in run_module.samples(self.artifacts)}) if self._kept() else 0


def main(arguments: list[str]) -> int:
    """Run the command; returns its exit status: 1 if anything was left, 2 if there was no run to kill."""
    parser = argparse.ArgumentParser(
        "python -m perf_tests.tools.kill",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--times", type=int, default=10, help="how many runs are killed; default 10")
    parser.add_argument("--seconds", type=float, help="kill within so many seconds; default: what a whole run takes")
    parser.add_argument("--seed", type=int, default=0, help="of the moments; default 0")
    parser.add_argument("options", nargs="*", help="pytest's")
    args = parser.parse_args(arguments)
    options = args.options
    if not any(option.startswith("--deployment") for option in options):
        options = ["--deployment=cpu", *options]
    draw, failures = random.Random(args.seed), 0
    with tempfile.TemporaryDirectory() as directory:
        seconds = args.seconds
        if seconds is None:
            whole, since = Run(Path(directory) / "whole", options), time.monotonic()
            whole.process.wait()
            seconds = time.monotonic() - since
            if not whole.cells():
                print(f"no run to kill:\n{whole.output}", file=sys.stderr)
                return 2
            print(f"a whole run: {seconds:.0f} s, {whole.cells()} cells")
        for number in range(1, args.times + 1):
            run, moment = Run(Path(directory) / str(number), options), draw.uniform(0, seconds)
            with contextlib.suppress(subprocess.TimeoutExpired):
                run.process.wait(moment)
            alive = run.kill()
            found = run.left()
            failures += bool(found)
            print(
                f"{number}: killed after {moment:.1f} s, {alive} processes, {run.cells()} cells measured: "
                f"{'; '.join(found) or 'nothing left behind, nothing lost'}",
                flush=True,
            )
    return int(failures > 0)


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + ENDS_SECONDS
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.1)


def _command(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    return "gone meanwhile"


def _locks(pid: int) -> Iterable[Path]:
    """Files that say that a process has a card."""
    for place in {Path("/run/lock"), Path(tempfile.gettempdir())}:
        for path in place.glob(LOCKS):
            with contextlib.suppress(OSError):
                if f"process {pid}," in path.read_text(errors="replace"):
                    yield path


def _free(path: Path) -> bool:
    """Whether a card's lock can be had."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except FileNotFoundError:
        pass
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

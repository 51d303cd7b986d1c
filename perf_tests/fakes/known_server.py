"""The server of known timing that keeps up with whole nodes: known_server.c, compiled here or beforehand.

Where no compiler is, compile it elsewhere (the command is in the source) and name the folder.
"""

import contextlib
import dataclasses
import os
import subprocess
import tempfile
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SOURCE = Path(__file__).with_suffix(".c")


@dataclasses.dataclass(frozen=True)
class Served:
    """What the server did for one request, in seconds on CLOCK_MONOTONIC; ``written`` just before each token was.

    ``first_id`` is the first token id of its prompt, 0 for a text.
    """

    first_id: int
    received: float
    written: NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class KnownServer:
    url: str
    process: "subprocess.Popen[str]"

    def log(self) -> list[Served]:
        """Requests that were answered since the last call."""
        with urllib.request.urlopen(f"{self.url}/log") as response:
            numbers = np.frombuffer(response.read(), dtype=np.float64)
        found, at = [], 0
        while at < len(numbers):
            tokens = int(numbers[at + 2])
            found.append(Served(int(numbers[at]), float(numbers[at + 1]), numbers[at + 3 : at + 3 + tokens]))
            at += 3 + tokens
        return found

    def seconds(self) -> float:
        """What it has taken of the processor."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def build(directory: Path) -> Path:
    """The program in ``directory``, compiled if it isn't there. Raises FileNotFoundError without a compiler."""
    program = directory / SOURCE.stem
    if not program.exists():
        subprocess.run(["cc", "-O2", "-pthread", "-o", program, SOURCE], check=True)
    return program


@contextlib.contextmanager
def known_server(
    threads: int, ttft: float = 0.05, gap: float = 0.01, cores: Sequence[int] = (), directory: Path | None = None
) -> Iterator[KnownServer]:
    """A running server, pinned to ``cores`` if any are named; ended on the way out."""
    with contextlib.ExitStack() as stack:
        place = directory or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        command = [str(build(place)), str(threads), str(ttft), str(gap)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            port = process.stdout.readline().split()[-1]
            for task in Path(f"/proc/{process.pid}/task").iterdir() if cores else ():
                os.sched_setaffinity(int(task.name), cores)
            yield KnownServer(f"http://127.0.0.1:{port}", process)
        finally:
            process.kill()
            process.communicate()

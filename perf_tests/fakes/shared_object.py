"""What stands behind the C boundary: small libraries, compiled for the tests, and the cards that one of them shows."""

import shutil
import subprocess
import uuid
from pathlib import Path

import pytest

GIB = 2**30


def compiled(source: str, target: Path) -> Path:
    """Compile a C file of this directory into a shared object."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler here")
    command = [compiler, "-Wall", "-Werror", "-shared", "-fPIC", "-o", str(target), str(Path(__file__).parent / source)]
    subprocess.run([*command, "-ldl"], check=True)
    return target


class Cards:
    """H200s that NVML shows; ``show`` changes what it says of them from now on."""

    def __init__(self, library: Path, state: Path) -> None:
        self.variables = {"LD_LIBRARY_PATH": str(library.parent), "FAKE_NVML": str(state)}
        self._state = state
        self.id = uuid.uuid4().int % 2**60
        self._values = {"id": self.id, "count": 1, "total": 140 * GIB, "per_process": GIB // 2}
        self.show()

    def show(self, **values: int) -> None:
        """Set keys of ``fake_nvml.c``."""
        self._values |= values
        new = self._state.with_suffix(".new")
        new.write_text("".join(f"{key.replace('_of_', '.')} {value}\n" for key, value in self._values.items()))
        new.replace(self._state)

    def add_process(self, pid: int) -> None:
        """A process is on card 0 while it lives."""
        with Path(f"{self._state}.pids").open("a") as file:
            file.write(f"{pid} 0\n")

    def locks(self) -> list[Path]:
        """Lock files of these cards."""
        places = {Path("/run/lock"), *(Path(self._state).parent / name for name in ("scratch", "second/scratch"))}
        return [path for place in places for path in place.glob(f"moegauge-GPU-fake-{self.id}-*")]

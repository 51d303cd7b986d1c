"""How long pytest takes before anything is measured, beside another checkout: python -m perf_tests.tools.bench_collection OTHER

Both in turn, the order swapped each time; the first pair only warms the file cache. Times depend on the machine, ratios hardly.
"""

import statistics
import subprocess
import sys
import time
from pathlib import Path

from perf_tests.paths import ROOT

PAIRS = 5
COMMANDS = {
    "collection": ("--collect-only", "-q", "-m", "serving"),
    "help": ("--help",),
    "usage error": ("-m", "serving", "--deployment=none"),
}


def seconds(directory: Path, options: tuple[str, ...]) -> float:
    """The wall-clock time of pytest with these options."""
    since = time.perf_counter()
    subprocess.run([sys.executable, "-m", "pytest", *options], cwd=directory, capture_output=True, check=False)
    return time.perf_counter() - since


def main(other: Path) -> None:
    """Print the median and the range of each command here and there, and the ratio of the medians."""
    for name, options in COMMANDS.items():
        taken: dict[Path, list[float]] = {ROOT: [], other: []}
        for i in range(PAIRS + 1):
            for directory in list(taken)[:: -1 if i % 2 else 1]:
                taken[directory].append(seconds(directory, options))
        here, there = (values[1:] for values in taken.values())
        texts = (f"{statistics.median(v):.2f} s ({min(v):.2f} to {max(v):.2f})" for v in (here, there))
        ratio = statistics.median(here) / statistics.median(there)
        print(f"{name}: {' against '.join(texts)}, ratio {ratio:.2f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())

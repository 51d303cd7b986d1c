"""How long the cells of a GPU deployment take to measure, rehearsed on any machine: what the suite itself takes is seen.

    python -m perf_tests.tools.bench_night h200x1 [--cells GLOB] [--compare]
        [--ttft 0.015] [--ttft-beside 0.00136] [--gap 0.0048]

The suite, its client, processes and sockets are the real ones; the engine is the fake one, which boots at once and answers
after ``--ttft`` seconds, ``--ttft-beside`` more for each request that waits beside, and then every ``--gap``, whatever the
batch; cards are those of a fake library. ``--compare`` has two such engines side by side. One boot of each.
"""

import argparse
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from tabulate import tabulate

from fixtures import deployments
from perf_tests.fakes import fake_engine
from perf_tests.fakes.shared_object import Cards, compiled
from perf_tests.fakes.suite import Suite

SHIPPED = Path(deployments.__file__).parent
MEASURED = re.compile(r"^(\S+): measured \((\d+) s\); ", re.MULTILINE)


def seconds(lines: Iterable[str]) -> dict[str, int]:
    """How long each cell took, by the suite's progress."""
    return {cell: int(took) for cell, took in MEASURED.findall("\n".join(lines))}


def rehearse(directory: Path, deployment: str, pace: str, compare: bool, cells: Iterable[str]) -> Iterator[str]:
    """What a run in an empty ``directory`` prints, line by line. Tests fail in it of what a fake engine doesn't tell."""
    text = (SHIPPED / f"{deployment}.toml").read_text(encoding="utf-8")
    suite = Suite(directory, text)
    suite.boots_with(pace)
    cards = Cards(compiled("fake_nvml.c", directory / "libnvidia-ml.so.1"), directory / "nvml")
    suite.variables |= cards.variables
    other = fake_engine.build(directory / "other", pace)
    compared = [f"--compare-engine-env=vllm={other}", "--side-by-side"] if compare else []
    process = suite.start("--max-boots=1", *compared, *(f"--cells={glob}" for glob in cells))
    try:
        assert process.stdout is not None
        for line in process.stdout:
            yield line.rstrip()
    finally:
        process.kill()
        process.wait()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shipped = sorted(path.stem for path in SHIPPED.glob("*x1.toml"))
    parser.add_argument("deployment", choices=shipped, help="a shipped one, of one card")
    parser.add_argument("--cells", action="append", help="as of pytest, of vLLM; repeatable; by default all of them")
    parser.add_argument("--compare", action="store_true", help="two engines side by side")
    parser.add_argument("--ttft", type=float, default=0.015, help="default: about that of Llama-3.1-8B on an H200")
    parser.add_argument(
        "--ttft-beside", type=float, default=0.00136, help="likewise: 107 and 188 ms for 64 and 128 requests"
    )
    parser.add_argument("--gap", type=float, default=0.0048, help="likewise")
    args = parser.parse_args()
    pace = f"--ttft {args.ttft} --ttft-beside {args.ttft_beside} --gap {args.gap}"
    with tempfile.TemporaryDirectory(prefix="moegauge-") as directory:
        printed = []
        for line in rehearse(Path(directory), args.deployment, pace, args.compare, args.cells or ["vllm/*"]):
            printed.append(line)
            if MEASURED.match(line):
                print(line, file=sys.stderr, flush=True)
    found = seconds(printed)
    if not any("all are measured" in line for line in printed):
        print("\n".join(printed), file=sys.stderr)
        return 1
    print(tabulate([*found.items(), ("all", sum(found.values()))], headers=("cell", "seconds")))
    return 0


if __name__ == "__main__":
    sys.exit(main())

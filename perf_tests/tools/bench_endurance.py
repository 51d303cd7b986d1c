"""Whether the suite lasts a night: hundreds of boots in one process, on a fast server that leaves things behind.

    python -m perf_tests.tools.bench_endurance [--boots 300] [--requests 100000] [--minutes 15]

Pool and Measurer are the real ones, and so are processes and sockets; the engine is the fake one, with a child in a session
of its own and shared memory that it doesn't remove. Prints figures after each tenth, and exits with 1 unless the suite's
memory at the end is within 20% of that at the first tenth, its descriptors are as many, nothing of a boot outlived it, every
request was served, and all of it took no longer than ``--minutes``.
"""

import argparse
import dataclasses
import gc
import math
import secrets
import sys
import tempfile
import time
from pathlib import Path

import psutil

from fixtures.deployments.cell import cells
from fixtures.deployments.deployment import load
from fixtures.engines.pool import Pool
from fixtures.engines.registry import ENGINES
from fixtures.session.measurer import Measurer
from fixtures.store.sample import Sample
from perf_tests.fakes import fake_engine
from perf_tests.fakes.server_process import server_log

BATCH = 48
MEMORY_GROWTH = 0.2
DEPLOYMENT = """
description = "endurance"
hardware = "cpu"
devices = 1
engines = ["vllm"]
tensor_parallel = [1]
max_model_len = 256
boot_timeout = 30
request_timeout = 30

[[models]]
name = "llama-3.1-8b-twin"

[[workloads]]
name = "startup"
kind = "startup"

[[workloads]]
name = "batch"
kind = "batch"
batch_size = {batch}
input_len = 8
output_len = 8
repetitions = {repetitions}
"""


@dataclasses.dataclass(frozen=True)
class Figures:
    """What the suite's process holds after so many boots."""

    boots: int
    requests: int
    seconds: float
    resident: int
    descriptors: int
    orphans: int

    def __str__(self) -> str:
        return (
            f"{self.boots:6} {self.requests:9} {self.seconds:8.0f} {self.resident / 1e6:9.1f} "
            f"{self.descriptors:12} {self.orphans:8}"
        )


def broken(first: Figures, last: Figures, requests: int, minutes: float) -> list[str]:
    """What did not hold from the first tenth to the last, a line each."""
    found = []
    if abs(last.resident / first.resident - 1) > MEMORY_GROWTH:
        found.append(
            f"memory: {first.resident / 1e6:.1f} MB at the first tenth, {last.resident / 1e6:.1f} MB at the end"
        )
    if last.descriptors != first.descriptors:
        found.append(f"descriptors: {first.descriptors} at the first tenth, {last.descriptors} at the end")
    if last.orphans:
        found.append(f"{last.orphans} processes or files of shared memory outlived their boot")
    if last.requests < requests:
        found.append(f"{last.requests} requests were served, {requests} were to be")
    if last.seconds > 60 * minutes:
        found.append(f"took {last.seconds / 60:.1f} minutes, {minutes:g} were allowed")
    return found


def night(directory: Path, boots: int, requests: int) -> list[Figures]:
    """Boot and measure; figures after each tenth of the boots."""
    batches = math.ceil(requests / boots / BATCH)
    repetitions = max(1, batches - 1)  # a pass of warm-up comes before them
    (directory / "endurance.toml").write_text(DEPLOYMENT.format(batch=BATCH, repetitions=repetitions))
    prefix = f"/dev/shm/moegauge-{secrets.token_hex(8)}-"
    options = f"--ttft 0.005 --gap 0.001 --fork {f'--shm {prefix}' if Path(prefix).parent.is_dir() else ''}"
    engine = fake_engine.build(directory / "engine", options)
    deployment = load(str(directory / "endurance.toml"), ENGINES)
    pool = Pool(deployment, directory, {"vllm": engine}, [], lambda phase: None)
    measurer, process, began = Measurer(deployment, []), psutil.Process(), time.monotonic()
    kept: list[Sample] = []  # as a session keeps them
    reported: list[Figures] = []
    served = orphans = 0
    tenths = {max(1, round(boots * i / 10)) for i in range(1, 11)}
    try:
        for number in range(1, boots + 1):
            for cell in cells(deployment):
                kept.append(measurer.measure(cell, pool.server(cell.block)))
            served += len(server_log(pool.server(cell.block).target.url))
            pool.stop()
            started = fake_engine.boots(engine)[-1]
            orphans += sum(map(psutil.pid_exists, started["pids"]))
            orphans += sum(Path(path).exists() for path in started["shm"]) + len(process.children(recursive=True))
            if number in tenths:
                gc.collect()
                seconds, resident = time.monotonic() - began, process.memory_info().rss
                reported.append(Figures(number, served, seconds, resident, process.num_fds(), orphans))
                print(reported[-1], flush=True)
    finally:
        pool.stop()
    disturbed = sum(bool(sample.invalid) for sample in kept)
    print(
        f"{len(kept)} samples, {disturbed} of them invalid: this machine was busy"
        if disturbed
        else f"{len(kept)} samples"
    )
    return reported


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--boots", type=int, default=300)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--minutes", type=float, default=15)
    args = parser.parse_args()
    print(" boots  requests  seconds memory MB  descriptors  orphans")
    with tempfile.TemporaryDirectory(prefix="moegauge-") as directory:
        reported = night(Path(directory), args.boots, args.requests)
    failures = broken(reported[0], reported[-1], args.requests, args.minutes)
    print("\n".join(failures) or "held")
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())

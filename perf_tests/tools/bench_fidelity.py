"""How true the load client is on cores of its own, and how far it goes: beside a server that logs what it writes.

    python -m perf_tests.tools.bench_fidelity --cores 16 [--ceiling] [--other CHECKOUT] [--server-dir DIR] [--json FILE]

First one core: the client on the first of the cores, the server on the next two, at 4, 50, 300 and 600 requests per second
of 64 tokens and at 100,000 tokens per second; with --other the client of that checkout takes turns with this one's. Then
all cores: as many workers as cores that the server leaves, at rising token rates. Takes two and a half minutes with
sixteen cores. With two or three cores the first part alone runs.

With --ceiling the client's one core takes rising rates instead, builds in turn, each until two runs at a rate are not clean;
two that are let it go on. A run is clean if TTFT's median is within 0.5 ms and its 99th percentile within 5 ms of the server's,
and requests leave less than 5 ms late (99th percentile). Takes up to five minutes.

TTFT counts from the scheduled arrival for the client, from the receipt for the server. `event` is by how much the time of an
event since its request's first one differs from the server's, 50th and 99th percentile. `joined` is the share of reads that
held more than one event; `late` is by how much the server missed its own schedule; `bytes` is by how much the process of the
client grew for each event, at the most.
"""

import argparse
import dataclasses
import json
import os
import platform
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tabulate import tabulate

from fixtures.workloads.arrivals import times
from perf_tests.fakes.known_server import KnownServer, Served, known_server
from perf_tests.paths import ROOT

TTFT, GAP = 0.05, 0.01
# Requests per second, requests, tokens each.
ONE_CORE = ((4, 30, 64), (50, 250, 64), (300, 1500, 64), (600, 3000, 64), (100_000 / 64, 7800, 64))
NODE_TOKENS, NODE_SECONDS = 128, 4.0
NODE_RATES = (400_000, 800_000, 1_000_000)
# Of the cores, what the server has; at the lowest rate only the first.
SERVER_SHARES = (0.375, 0.5)
# No run is begun after that.
BUDGET_SECONDS = 130.0
# Tokens per second; requests have 64.
CEILING_RATES = (100_000, 130_000, 170_000, 220_000, 290_000, 380_000)
CEILING_TOKENS, CEILING_SECONDS, CEILING_RUNS = 64, 2.5, 3
# What clean means, in ms: off in the median of TTFT, in its 99th percentile, and late in sending.
CLEAN_P50, CLEAN_P99, CLEAN_LAG = 0.5, 5.0, 5.0

Floats = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Job:
    """One run: which build on which cores, and what it sends."""

    build: str
    checkout: str
    cores: list[int]
    workers: int
    rate: float
    count: int
    tokens: int


def measure(job: Job, server: KnownServer) -> dict[str, Any]:
    """Figures of one run; times in ms."""
    schedule = times(job.rate, job.count, random.Random(1))
    server.log()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "records.npz"
        told = dataclasses.asdict(job) | {"url": server.url, "schedule": schedule, "out": str(out)}
        used, began = server.seconds(), time.perf_counter()
        command = [sys.executable, str(Path(__file__).with_name("drive_client.py"))]
        done = subprocess.run(command, check=False, input=json.dumps(told), capture_output=True, text=True)
        if done.returncode:
            return _named(job) | {"error": done.stderr[-2000:]}
        said = json.loads(done.stdout.splitlines()[-1])
        if said["failures"]:
            return _named(job) | {"error": f"{said['failures']} failed: {said['failed']}"}
        with np.load(out) as records:
            found = figures(dict(records), server.log())
    return _named(job) | found | said | {"server_seconds": server.seconds() - used, "all": time.perf_counter() - began}


def _named(job: Job) -> dict[str, Any]:
    return {"build": job.build, "workers": job.workers, "cores": len(job.cores), "rate": job.rate, "tokens": job.tokens}


def figures(records: dict[str, Any], log: list[Served]) -> dict[str, Any]:
    """What the client's records say beside the server's log. Raises KeyError for a request that the server doesn't know."""
    by_id = {one.first_id: one for one in log}
    served = [by_id[int(i)] for i in records["ids"]]
    written = np.array([one.written for one in served])
    received = np.array([one.received for one in served])
    chunks, due = records["chunks"], received[:, None] + TTFT + GAP * np.arange(written.shape[1])
    ttft, truth = chunks[:, 0] - records["scheduled"], written[:, 0] - received
    lags = records["sent"] - records["scheduled"]
    # Client and server count from different starts, so from each request's first event on.
    since_first = (chunks - chunks[:, :1]) - (written - written[:, :1])
    joins = np.pad(np.diff(chunks, axis=1) <= 0, ((0, 0), (1, 1)))
    reads, several = (~joins[:, :-1]).sum(), (~joins[:, :-1] & joins[:, 1:]).sum()
    delays = records["delays"] if records["delays"].size else np.array([np.nan])
    return {
        "ttft": _percentiles(ttft),
        "server_ttft": _percentiles(truth),
        "request_error": _percentiles(ttft - truth),
        "event_error": _percentiles(np.abs(since_first[:, 1:])),
        "itl_error_p99": 1e3 * (_q(np.diff(chunks), 99) - _q(np.diff(written), 99)),
        "worst_worker_lag_p99": 1e3 * max(_q(lags[records["worker"] == one], 99) for one in set(records["worker"])),
        "joined_share": float(several / reads),
        "read_delay": _percentiles(delays),
        "stamped_share": float(records["stamped"].mean()),
        "server_late": _percentiles(written - due),
        "tokens_per_second": _steady(written),
        "events": int(chunks.size),
    }


def _q(values: Floats, q: float) -> float:
    return float(np.percentile(values, q))


def _percentiles(values: Floats) -> dict[str, float]:
    return {f"p{q}": 1e3 * _q(values, q) for q in (50, 99, 100)}


def _steady(written: Floats) -> float:
    """Tokens per second written in the middle of the run, between the first stream's end and the last one's begin."""
    begin, end = written[:, -1].min(), written[:, 0].max()
    return float(((written >= begin) & (written < end)).sum() / (end - begin)) if end > begin else float("nan")


def one_core(cores: list[int], other: Path | None, directory: Path | None) -> Iterator[dict[str, Any]]:
    """Runs of one core: at each rate this build and the other one take turns."""
    theirs = cores[1:3]
    with known_server(len(theirs), TTFT, GAP, theirs, directory) as server:
        for rate, count, tokens in ONE_CORE:
            for build, checkout in (("this", ROOT), ("other", other)):
                if checkout is not None:
                    yield measure(Job(build, str(checkout), cores[:1], 1, rate, count, tokens), server)


def node(cores: list[int], until: float, directory: Path | None) -> Iterator[dict[str, Any]]:
    """Rising token rates, at each with more or fewer of the cores for the server: what it needs depends on the machine."""
    shares = sorted({max(1, round(len(cores) * share)) for share in SERVER_SHARES})
    for rate in NODE_RATES:
        for share in shares[: None if rate > NODE_RATES[0] else 1]:
            if time.perf_counter() > until:
                yield {"error": f"no time left for {rate:,} tokens per second with {share} cores for the server"}
                continue
            with known_server(share, TTFT, GAP, cores[:share], directory) as server:
                requests, theirs = rate / NODE_TOKENS, cores[share:]
                count = int(requests * NODE_SECONDS)
                yield measure(Job("this", str(ROOT), theirs, len(theirs), requests, count, NODE_TOKENS), server)


def ceiling(cores: list[int], other: Path | None, directory: Path | None) -> Iterator[dict[str, Any]]:
    """Rising rates on one core: builds take turns, each until most of its runs at a rate are not clean."""
    theirs = cores[1:3]
    builds = {"this": ROOT} | ({"other": other} if other else {})
    with known_server(len(theirs), TTFT, GAP, theirs, directory) as server:
        for tokens in CEILING_RATES:
            rate = tokens / CEILING_TOKENS
            found: dict[str, list[bool]] = {build: [] for build in builds}
            for build in [*builds] * CEILING_RUNS:
                if not _decided(found[build]):
                    count = int(rate * CEILING_SECONDS)
                    job = Job(build, str(builds[build]), cores[:1], 1, rate, count, CEILING_TOKENS)
                    run = measure(job, server)
                    found[build].append(clean(run))
                    yield run
            builds = {
                build: checkout for build, checkout in builds.items() if 2 * sum(found[build]) > len(found[build])
            }


def _decided(found: list[bool]) -> bool:
    return 2 * max(found.count(True), found.count(False)) > CEILING_RUNS


def clean(run: dict[str, Any]) -> bool:
    """Whether the client was true to the server's log in this run, and in time."""
    if "error" in run:
        return False
    off = {q: abs(run["ttft"][q] - run["server_ttft"][q]) for q in ("p50", "p99")}
    return off["p50"] <= CLEAN_P50 and off["p99"] <= CLEAN_P99 and run["worst_worker_lag_p99"] < CLEAN_LAG


def machine(cores: list[int]) -> dict[str, Any]:
    """What the figures depend on: processor, kernel, and which of the cores are threads of one."""
    models = re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    return {
        "processor": models[0] if models else platform.machine(),
        "cpus": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "cores": cores,
        "siblings": sorted({_siblings(core) for core in cores}),
    }


HEADERS = (
    "build",
    "workers",
    "req/s",
    "tokens/s",
    "TTFT p50",
    "TTFT p99",
    "event",
    "lag p99",
    "read p99",
    "joined %",
    "late",
    "bytes",
    "clean",
)


def _row(run: dict[str, Any]) -> list[Any]:
    if "error" in run:
        return [
            run.get("build", ""),
            run.get("workers", ""),
            run.get("rate", ""),
            run["error"].strip().splitlines()[-1],
        ]
    ttft, truth = run["ttft"], run["server_ttft"]
    return [
        run["build"],
        run["workers"],
        f"{run['rate']:.0f}",
        f"{run['tokens_per_second']:,.0f}",
        *(f"{ttft[q]:.2f}, {truth[q]:.2f} ({ttft[q] - truth[q]:+.2f})" for q in ("p50", "p99")),
        f"{run['event_error']['p50']:.3f}, {run['event_error']['p99']:.3f}",
        f"{run['worst_worker_lag_p99']:.2f}",
        f"{run['read_delay']['p99']:.2f}",
        f"{100 * run['joined_share']:.2f}",
        f"{run['server_late']['p99']:.2f}",
        f"{run['kib'] * 1024 / run['events']:.0f}" if run["workers"] == 1 else "",
        "yes" if clean(run) else "no",
    ]


def _cores(text: str) -> list[int]:
    """Numbers of cores as taskset has them (0-15 or 0,2,4), or of how many: threads of one core come last then."""
    found: list[int] = []
    if text.isdecimal():
        allowed = sorted(os.sched_getaffinity(0))
        firsts = list({_siblings(core): core for core in reversed(allowed)}.values())[::-1]
        found = [*firsts, *(core for core in allowed if core not in firsts)][: int(text)]
    for part in text.split(",") if not found else ():
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    if len(found) < 2:
        raise argparse.ArgumentTypeError("expected two cores at least: one for the client, one for the server")
    return found


def _siblings(core: int) -> str:
    """The threads of a core, as the kernel lists them; by itself where it doesn't."""
    path = Path(f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list")
    return path.read_text(encoding="ascii").strip() if path.exists() else str(core)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cores", type=_cores, required=True, help="which to use, as 0-15 or 0,2,4, or how many")
    parser.add_argument(
        "--ceiling", action="store_true", help="rising rates on one core, until the client is not clean"
    )
    parser.add_argument("--other", type=Path, help="a checkout whose client runs beside this one's on one core")
    parser.add_argument("--server-dir", type=Path, help="where known_server is compiled, or compiled to")
    parser.add_argument("--json", type=Path, help="file to write all figures to")
    args = parser.parse_args()
    until, runs = time.perf_counter() + BUDGET_SECONDS, []
    parts = [(ceiling if args.ceiling else one_core)(args.cores, args.other, args.server_dir)]
    if len(args.cores) > 3 and not args.ceiling:
        parts.append(node(args.cores, until, args.server_dir))
    for part in parts:
        for run in part:
            runs.append(run)
            print(tabulate([_row(run)], tablefmt="plain"), flush=True)
            if args.json:
                found = {"machine": machine(args.cores), "runs": runs}
                args.json.write_text(json.dumps(found, indent=1), encoding="utf-8")
    print(tabulate(map(_row, runs), headers=HEADERS))


if __name__ == "__main__":
    main()

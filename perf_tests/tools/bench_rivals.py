"""The load client and others on one server that logs what it writes: what each makes of its first tokens.

    python -m perf_tests.tools.bench_rivals [--vllm PYTHON] [--vllm-rust PROGRAM] [--sglang PYTHON] [--sglang-rust PYTHON]
        [--aiperf PROGRAM] [--guidellm PROGRAM] [--rates 4 50 300]

Each runs at each rate, in turn, in streams of 64 tokens from Poisson arrivals. Printed are TTFT as the client reports it and as
the server's log has it (from the receipt of a request to its first token), the requests per second that arrived, and the share
of the cores that neither the client nor the server had meanwhile; with more than 3% a run is repeated. The other clients are
run as their users would: by their own command, in their own environment. Which are not given is said. Figures are in
docs/client.md.
"""

import argparse
import contextlib
import functools
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tabulate import tabulate

from fixtures.client.load import run
from fixtures.client.metrics import percentile, summarize
from fixtures.client.plan import plan
from fixtures.client.target import Target
from fixtures.hardware import host
from fixtures.workloads.tokenizer import words
from fixtures.workloads.workload import Workload
from perf_tests.fakes.known_server import KnownServer, known_server
from perf_tests.tools.rival_clients import AIPerf, EngineBenchmark, GuideLLM, Reported, Rival, VllmRust

VOCAB = 32_000
SECONDS, LEAST = 10, 40
# A run that other programs disturbed by more than this share of the cores is repeated, so many times at most.
MOST_OTHERS, REPEATS = 0.03, 2

Client = Callable[[str, Workload, Path], Reported]

# By the option that names the program.
RIVALS: dict[str, tuple[str, str, Callable[[str], Rival]]] = {
    "--vllm": ("vllm bench serve", "PYTHON", functools.partial(EngineBenchmark, engine="vllm")),
    "--vllm-rust": ("vllm-rs bench serve", "PROGRAM", functools.partial(VllmRust, engine="vllm")),
    "--sglang": ("sglang.benchmark.serving", "PYTHON", functools.partial(EngineBenchmark, engine="sglang")),
    "--sglang-rust": (
        "sglang.benchmark.serving --rust-client",
        "PYTHON",
        functools.partial(EngineBenchmark, engine="sglang", more=("--rust-client",)),
    ),
    "--aiperf": ("aiperf", "PROGRAM", AIPerf),
    "--guidellm": ("guidellm", "PROGRAM", GuideLLM),
}


def ours(url: str, workload: Workload, directory: Path) -> Reported:
    summary = summarize(run(Target(url, "mock"), plan(workload, VOCAB, 4096, workload.name)))
    if summary.failed:
        raise RuntimeError(summary.errors[0])
    return 1e3 * summary.ttft_p50, 1e3 * summary.ttft_p99


def row(name: str, client: Client, rate: float, server: KnownServer, directory: Path) -> list[str]:
    """One client at one rate; where other programs disturb it each time, as the last run has it."""
    for _ in range(1 + REPEATS):
        others, cells = measured(client, rate, server, directory)
        if not others > MOST_OTHERS:
            break
    return [name, f"{rate:g}", *cells]


def measured(client: Client, rate: float, server: KnownServer, directory: Path) -> tuple[float, list[str]]:
    """What other programs had of the cores during one run, and what is printed of it."""
    workload = Workload(
        "rivals", "online", rate=rate, num_prompts=max(LEAST, int(rate * SECONDS)), input_len=32, output_len=64
    )
    server.log()
    since, before = time.monotonic(), _others_seconds(server)
    try:
        reported = client(server.url, workload, directory)
    except (RuntimeError, OSError, KeyError, ValueError) as error:
        return math.nan, [" ".join(str(error).split())[-120:]]
    # The accounts differ by ticks: where nobody else ran, it may come out below 0.
    others = (_others_seconds(server) - before) / ((time.monotonic() - since) * host.cores())
    # What warms up comes before.
    log = sorted(server.log(), key=lambda one: one.received)[-workload.requests :]
    if len(log) < workload.requests:
        return others, [f"{len(log)} of {workload.requests} requests were answered"]
    truth = [1e3 * (one.written[0] - one.received) for one in log]
    came = (len(log) - 1) / (log[-1].received - log[0].received)
    pairs = [(seen, percentile(truth, q)) for seen, q in zip(reported, (50, 99), strict=True)]
    compared = [f"{seen:.2f}, {true:.2f} ({seen - true:+.2f})" for seen, true in pairs]
    return others, [*compared, f"{came:.1f}", f"{others:.1%}"]


def _others_seconds(server: KnownServer) -> float:
    """For how long the cores were busy so far with neither this process, nor children that have ended, nor the server."""
    busy = host.busy_seconds()
    return math.nan if busy is None else busy - sum(os.times()[:4]) - server.seconds()


def given(args: argparse.Namespace) -> tuple[dict[str, Client], list[str]]:
    """The clients by their names and versions, this one first, and the options of those that were not named."""
    clients, left_out = dict[str, Client](ours=ours), []
    for option, (name, _, make) in RIVALS.items():
        if program := getattr(args, option.lstrip("-").replace("-", "_")):
            rival = make(program)
            clients[f"{name} {rival.version()}"] = rival.measure
        else:
            left_out.append(f"{name} ({option})")
    return clients, left_out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option, (name, metavar, _) in RIVALS.items():
        of = "of an environment that has it" if metavar == "PYTHON" else "the command"
        parser.add_argument(option, metavar=metavar, help=f"{of}, for {name}")
    parser.add_argument("--rates", type=float, nargs="+", default=[4, 50, 300], help="requests per second")
    parser.add_argument("--server-dir", type=Path, help="where known_server is compiled, or compiled to")
    args = parser.parse_args()
    clients, left_out = given(args)
    rows = []
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for name, text in words(VOCAB).items():
            (directory / name).write_text(text, encoding="utf-8")
        server = stack.enter_context(known_server(1, directory=args.server_dir))
        for rate in args.rates:
            for name, client in clients.items():
                rows.append(row(name, client, rate, server, directory))
                print(tabulate(rows[-1:], tablefmt="plain"), file=sys.stderr, flush=True)
    headers = ("client", "req/s", "TTFT p50", "TTFT p99", "came at", "others")
    print(tabulate(rows, headers=headers, tablefmt="github", disable_numparse=True))
    if left_out:
        print(f"not measured, for their programs were not named: {', '.join(left_out)}")


if __name__ == "__main__":
    main()

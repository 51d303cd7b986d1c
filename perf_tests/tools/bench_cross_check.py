"""Client and an engine's own benchmark, in turn on a server whose times are known: what each makes of them.

    python -m perf_tests.tools.bench_cross_check [--engine vllm] [--engine-env ENGINE=DIR] [--rounds 3]

The server is the mock one, in a process of its own (first token after 50 ms, then one every 5 ms), and writes down when it
received each request and when it wrote each chunk. Two lines for each round of 32 requests at once and of 100 at 8 per second:
what a client reported, and by how much that is more than the server's log. Figures are in docs/client.md.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from fixtures.client.load import run
from fixtures.client.metrics import percentile, summarize
from fixtures.client.plan import plan
from fixtures.client.protocol import PROTOCOLS
from fixtures.client.target import Target
from fixtures.command import command
from fixtures.engines.benchmark import benchmark
from fixtures.engines.engine import Engine
from fixtures.engines.environment import Environment, add_engine_env, find
from fixtures.engines.registry import ENGINES
from fixtures.errors import EngineError
from fixtures.workloads.tokenizer import words
from fixtures.workloads.workload import Workload
from perf_tests.fakes.server_process import mock_server, server_log

TTFT, GAP = 0.05, 0.005
VOCAB = 32_000
WORKLOADS = (
    Workload("at once", "batch", batch_size=32, input_len=32, output_len=64),
    Workload("8 req/s", "online", rate=8, num_prompts=100, input_len=75, output_len=128),
)


def row(workload: Workload, client: str, served: list[dict[str, Any]], reported: dict[str, float]) -> str:
    """What a client reports, in milliseconds, and how much more than the medians of what the server logged meanwhile."""
    # The benchmarks' warm-up comes before.
    log = served[-workload.requests :]
    if len(log) < workload.requests or not all(len(entry["written"]) == workload.output_len for entry in log):
        raise EngineError(f"{client}: the server's log hasn't the {workload.requests} requests of {workload.name!r}")
    true = {
        "ttft_p50": percentile([entry["written"][0] - entry["received"] for entry in log], 50),
        "tpot_p50": percentile(
            [(entry["written"][-1] - entry["written"][0]) / (workload.output_len - 1) for entry in log], 50
        ),
        "e2e_p50": percentile([entry["written"][-1] - entry["received"] for entry in log], 50),
    }
    cells = [f"{reported[name] * 1e3:9.3f} {(reported[name] - value) * 1e3:+8.3f}" for name, value in true.items()]
    return f"{workload.name:8} {client:20} {' '.join(cells)}"


def rounds(engine: Engine, environment: Environment, count: int, directory: Path) -> None:
    for name, text in words(VOCAB).items():
        (directory / name).write_text(text, encoding="utf-8")
    with mock_server(
        "--ttft", str(TTFT), "--gap", str(GAP), "--model", "mock", "--texts", "--server-info", "{}"
    ) as url:
        target = Target(url, "mock", protocol=PROTOCOLS[engine.protocol])
        for i in range(count):
            for workload in WORKLOADS:
                server_log(url)
                summary = summarize(run(target, plan(workload, VOCAB, 4096, f"bench {i}")))
                ours = {name: getattr(summary, name) for name in engine.benchmark_medians}
                print(row(workload, "ours", server_log(url), ours), flush=True)
                theirs = benchmark(
                    engine, environment, target, str(directory), workload, i + 1, directory / "result.json"
                )
                print(row(workload, f"{engine.name}'s benchmark", server_log(url), theirs), flush=True)


@command
def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(
        "python -m perf_tests.tools.bench_cross_check",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--engine", choices=tuple(ENGINES), default="vllm")
    parser.add_argument("--rounds", type=int, default=3)
    add_engine_env(parser)
    args = parser.parse_args(arguments)
    if args.rounds < 1:
        parser.error("--rounds must be positive")
    engine = ENGINES[args.engine]
    environment = find(engine.name, engine.lock("cpu"), dict(args.engine_env))
    engine.check(environment)
    print(f"{'medians, ms':29} {'TTFT shown, too much':>18} {'TPOT shown, too much':>18} {'E2E shown, too much':>18}")
    with tempfile.TemporaryDirectory() as directory:
        rounds(engine, environment, args.rounds, Path(directory))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

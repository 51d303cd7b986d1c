"""How far the load client can be trusted: its figures beside what a server of known timing logged.

    python -m perf_tests.tools.bench_client [--tokens-per-second 36000] [--protocol sglang]

Prints, for each request rate, client minus server for TTFT and the chunk gap, the realised rate and the send lag; then
the same at a token rate that fills a core. Goals and figures are in docs/client.md.
"""

import argparse
import math
import random
import resource
import statistics
import time

from fixtures.client import metrics
from fixtures.client.load import run
from fixtures.client.metrics import percentile, summarize
from fixtures.client.protocol import PROTOCOLS, Protocol
from fixtures.client.request import Request
from fixtures.client.target import Target
from fixtures.workloads.arrivals import poisson
from perf_tests.fakes.server_process import mock_server, server_log

TOKENS, GAP = 64, 0.01


def measure(url: str, rate: float, count: int, tokens: int, protocol: Protocol) -> str:
    rng = random.Random(1)
    requests = [Request([1] * 32, tokens, at) for at in poisson(rate, count, rng)]
    server_log(url)
    before, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    records = run(Target(url, "mock", protocol=protocol), requests)
    after, ended = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    core = (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / (ended - began)
    summary, log = summarize(records), server_log(url)
    assert summary.failed == 0, summary.errors[:3]
    served = [entry["written"][0] - entry["received"] for entry in log]
    seen = [metrics.ttft(r) for r in records]
    gap = statistics.mean((e["written"][-1] - e["written"][0]) / (tokens - 1) for e in log)
    gap_seen = statistics.mean(pace for r in records if math.isfinite(pace := metrics.tpot(r)))
    sent = [r.sent for r in records]
    planned = requests[-1].scheduled - requests[0].scheduled
    realised = (count - 1) / (max(sent) - min(sent))
    return (
        f"{rate:7.1f} {count * tokens / summary.duration:9.0f} "
        f"{1e3 * (percentile(seen, 50) - percentile(served, 50)):+8.2f} "
        f"{1e3 * (percentile(seen, 99) - percentile(served, 99)):+8.2f} "
        f"{1e3 * percentile(served, 50):8.1f}/{1e3 * percentile(served, 99):5.1f} {100 * (gap_seen / gap - 1):+7.2f} "
        f"{100 * (realised * planned / (count - 1) - 1):+7.2f} {1e3 * summary.send_lag_p99:7.2f} {100 * core:6.0f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens-per-second", type=float, default=36_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--protocol", choices=tuple(PROTOCOLS), default="openai")
    args = parser.parse_args()
    protocol = PROTOCOLS[args.protocol]
    print("client minus server in ms, median of chunks; rate and gap in per cent of the truth")
    print("  req/s  tokens/s TTFT p50 TTFT p99 server p50/p99   gap %  rate % lag p99 core %")
    with mock_server("--gap", str(GAP)) as url:
        for rate, count in ((4, 60), (50, 500), (300, 3000)):
            for _ in range(args.runs):
                print(measure(url, rate, count, TOKENS, protocol), flush=True)
    tokens = 256
    with mock_server("--gap", str(GAP)) as url:
        rate = args.tokens_per_second / tokens
        for _ in range(args.runs):
            print(measure(url, rate, int(rate * 20), tokens, protocol), flush=True)


if __name__ == "__main__":
    main()

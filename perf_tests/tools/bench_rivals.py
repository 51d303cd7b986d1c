"""The load client and others on one server that logs what it writes: what each makes of its first tokens.

    python -m perf_tests.tools.bench_rivals [--vllm PYTHON] [--aiperf PROGRAM] [--guidellm PROGRAM] [--rates 4 50 300]

Each runs at each rate, in turn, in streams of 64 tokens from Poisson arrivals. Printed are TTFT as the client reports it and as
the server's log has it (from the receipt of a request to its first token), and the requests per second that arrived. The
others are run as their users would: by their own command, in their own environment. Figures are in docs/client.md.
"""

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tabulate import tabulate

from fixtures.client.load import run
from fixtures.client.metrics import percentile, summarize
from fixtures.client.plan import plan
from fixtures.client.target import Target
from fixtures.engines.registry import ENGINES
from fixtures.workloads.tokenizer import words
from fixtures.workloads.workload import Workload
from perf_tests.fakes.known_server import KnownServer, known_server

VOCAB = 32_000
SECONDS, LEAST = 10, 40
# TTFT in ms: median, and 99th percentile.
Reported = tuple[float, float]


def ours(url: str, workload: Workload, directory: Path) -> Reported:
    summary = summarize(run(Target(url, "mock"), plan(workload, VOCAB, 4096, workload.name)))
    if summary.failed:
        raise RuntimeError(summary.errors[0])
    return 1e3 * summary.ttft_p50, 1e3 * summary.ttft_p99


def vllm(python: str) -> Callable[[str, Workload, Path], Reported]:
    def measure(url: str, workload: Workload, directory: Path) -> Reported:
        result = directory / "vllm.json"
        result.unlink(missing_ok=True)
        _call(ENGINES["vllm"].benchmark(python, Target(url, "mock"), str(directory), workload, 1, result))
        found = json.loads(result.read_text(encoding="utf-8").splitlines()[-1])
        return float(found["median_ttft_ms"]), float(found["p99_ttft_ms"])

    return measure


def aiperf(program: str) -> Callable[[str, Workload, Path], Reported]:
    def measure(url: str, workload: Workload, directory: Path) -> Reported:
        options = {
            "--url": url,
            "--model": "mock",
            "--endpoint-type": "completions",
            "--tokenizer": directory,
            "--request-rate": workload.rate,
            "--arrival-pattern": "poisson",
            "--request-count": workload.requests,
            "--isl": workload.input_len,
            "--osl": workload.output_len,
            "--extra-inputs": "ignore_eos:true",
            "--artifact-dir": directory / "aiperf",
            "--ui": "none",
        }
        _call([program, "profile", *(str(word) for pair in options.items() for word in pair), "--streaming"])
        (path,) = (directory / "aiperf").rglob("profile_export_aiperf.json")
        found = json.loads(path.read_text(encoding="utf-8"))["time_to_first_token"]
        path.unlink()
        return float(found["p50"]), float(found["p99"])

    return measure


def guidellm(program: str) -> Callable[[str, Workload, Path], Reported]:
    def measure(url: str, workload: Workload, directory: Path) -> Reported:
        out = directory / "guidellm.json"
        options = {
            "--backend": f"kind=openai_http,target={url},model=mock,request_format=/v1/completions",
            "--profile": f"kind=poisson,rate={workload.rate:g}",
            "--constraint": f"kind=max_requests,count={workload.requests}",
            "--tokenizer": f"kind=huggingface_auto,model={directory}",
            "--data": f"kind=synthetic_text,prompt_tokens={workload.input_len},output_tokens={workload.output_len}",
            "--output": f"kind=json,path={out}",
        }
        _call([program, "run", *(word for pair in options.items() for word in pair), "--disable-console"])
        (found,) = json.loads(out.read_text(encoding="utf-8"))["benchmarks"]
        percentiles = found["metrics"]["time_to_first_token_ms"]["successful"]["percentiles"]
        out.unlink()
        return float(percentiles["p50"]), float(percentiles["p99"])

    return measure


def _call(command: list[str]) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{command[0]}: {done.stderr.strip()[-300:] or done.stdout.strip()[-300:]}")


def row(
    name: str, client: Callable[[str, Workload, Path], Reported], rate: float, server: KnownServer, directory: Path
) -> list[str]:
    """One client at one rate."""
    workload = Workload(
        name, "online", rate=rate, num_prompts=max(LEAST, int(rate * SECONDS)), input_len=32, output_len=64
    )
    server.log()
    try:
        reported = client(server.url, workload, directory)
    except (RuntimeError, OSError, KeyError, ValueError) as error:
        return [name, f"{rate:g}", " ".join(str(error).split())[-120:]]
    # What warms up comes before.
    log = sorted(server.log(), key=lambda one: one.received)[-workload.requests :]
    truth = [1e3 * (one.written[0] - one.received) for one in log]
    came = (len(log) - 1) / (log[-1].received - log[0].received)
    pairs = [(seen, percentile(truth, q)) for seen, q in zip(reported, (50, 99), strict=True)]
    return [name, f"{rate:g}", *(f"{seen:.2f}, {true:.2f} ({seen - true:+.2f})" for seen, true in pairs), f"{came:.1f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vllm", metavar="PYTHON", help="of an environment that has vLLM, for `vllm bench serve`")
    parser.add_argument("--aiperf", metavar="PROGRAM", help="the command aiperf")
    parser.add_argument("--guidellm", metavar="PROGRAM", help="the command guidellm")
    parser.add_argument("--rates", type=float, nargs="+", default=[4, 50, 300], help="requests per second")
    parser.add_argument("--server-dir", type=Path, help="where known_server is compiled, or compiled to")
    args = parser.parse_args()
    clients: dict[str, Callable[[str, Workload, Path], Reported]] = {"ours": ours}
    clients |= {"vllm bench serve": vllm(args.vllm)} if args.vllm else {}
    clients |= {"aiperf": aiperf(args.aiperf)} if args.aiperf else {}
    clients |= {"guidellm": guidellm(args.guidellm)} if args.guidellm else {}
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
    print(tabulate(rows, headers=("client", "req/s", "TTFT p50", "TTFT p99", "came at")))


if __name__ == "__main__":
    main()

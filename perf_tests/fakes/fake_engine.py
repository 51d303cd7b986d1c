"""An engine environment whose engine is the mock server: ``--engine-env vllm=DIR`` boots it as it would boot vLLM.

``build`` makes the directory, which serves for ``sglang=DIR`` too. Its ``bin/python`` understands the engine's command
line, writes what the suite reads in that engine's log, and becomes the mock server, with the faults that ``build`` was given
for this boot. What was started, and on which port, is in ``DIR/boots.jsonl``. The engine's own benchmark is the suite's
client in another process, which says what the options make of it.
"""

import argparse
import contextlib
import json
import math
import mmap
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from fixtures.client.load import run
from fixtures.client.metrics import summarize
from fixtures.client.plan import plan
from fixtures.client.protocol import PROTOCOLS
from fixtures.client.target import Target
from fixtures.engines.registry import ENGINES
from fixtures.workloads.workload import Workload
from perf_tests.fakes import mock_server
from perf_tests.paths import ROOT

SCRIPT = """#!/bin/sh
# What is asked of a Python is answered by one.
[ "$1" = -c ] && PYTHONPATH={directory} exec {python} "$@"
PYTHONPATH={root} exec {python} -m perf_tests.fakes.fake_engine {directory} "$@"
"""
LOG = """\
INFO 11-24 02:17:00 [utils.py:233] non-default args: {{'model': '{model}'}}
INFO 11-24 02:17:00 [core.py:93] Initializing a V1 LLM engine (v0.0.1) with config: model='{model}', \
compilation_config={{'mode': <CompilationMode.NONE: 0>, 'cudagraph_mode': <CUDAGraphMode.NONE: 0>}}
INFO 11-24 02:17:00 [gpu_model_runner.py:3259] Starting to load model {model}...
INFO 11-24 02:17:00 [gpu_model_runner.py:3336] Model loading took 0.01 GiB memory and 0.25 seconds
INFO 11-24 02:17:00 [kv_cache_utils.py:1229] GPU KV cache size: 16,384 tokens
INFO 11-24 02:17:00 [api_server.py:1346] Starting vLLM server on http://127.0.0.1:{port}
"""
# After the formats of SGLang 0.5.23; nobody has recorded one of a card as small as this.
SGLANG_LOG = """\
[2026-11-24 02:17:00] server_args={{'model_path': '{model}', 'tokenizer_path': '{model}'}}
[2026-11-24 02:17:00] Init parallel begin.
[2026-11-24 02:17:00] Load weight begin. avail mem=78.00 GB
[2026-11-24 02:17:00] Load weight end. elapsed=0.25 s, type=LlamaForCausalLM, avail mem=77.99 GB, mem usage=0.01 GB.
[2026-11-24 02:17:00] Memory pool end. avail mem=70.00 GB
[2026-11-24 02:17:00] Capture target decode CUDA graph begin. backend=full, num_tokens_per_req=1, avail mem=70.00 GB
[2026-11-24 02:17:00] Capture target decode CUDA graph end. bs=[1, 2, 4], elapsed=0.50 s, mem usage=0.10 GB, \
avail mem=69.90 GB.
[2026-11-24 02:17:00] max_total_num_tokens={tokens}, chunked_prefill_size=8192, max_prefill_tokens=16384, \
max_running_requests=64, context_len=256, available_gpu_mem=69.90 GB
[2026-11-24 02:17:00] INFO:     Uvicorn running on http://127.0.0.1:{port} (Press CTRL+C to quit)
"""
# As the environment has them: what is told by the servers differs, and is read by nobody who goes by releases.
RELEASES = {"vllm": "0.32.0", "sglang": "0.5.23"}
SGLANG_INFO = {"version": "0.0.2", "internal_states": [{"attention_backend": "fa3", "disable_radix_cache": True}]}


def build(directory: Path, *boots: str) -> Path:
    """Make the environment. ``boots`` are the options of the first, second ... boot; the last ones go for all later boots."""
    (directory / "bin").mkdir(parents=True, exist_ok=True)
    for package, release in RELEASES.items():
        (directory / package).mkdir(exist_ok=True)
        (directory / f"{package}-{release}.dist-info").mkdir(exist_ok=True)
    script = directory / "bin" / "python"
    quoted = {"root": shlex.quote(str(ROOT)), "python": sys.executable, "directory": shlex.quote(str(directory))}
    script.write_text(SCRIPT.format(**quoted))
    script.chmod(0o755)
    (directory / "options.json").write_text(json.dumps([shlex.split(options) for options in boots or ("",)]))
    (directory / "boots.jsonl").write_text("")
    return directory


def boots(directory: Path) -> list[dict[str, Any]]:
    """What was started: per boot the ``port``, the ``pids``, and the ``shm`` that it made."""
    return [json.loads(line) for line in (directory / "boots.jsonl").read_text().splitlines()]


def parse(options: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """The fake's own options, and those of the mock server."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--crash", action="store_true", help="die while loading")
    parser.add_argument("--silent", action="store_true", help="write nothing at all")
    parser.add_argument("--flood", type=int, default=0, help="bytes of log, written before it serves")
    parser.add_argument("--fork", action="store_true", help="start a child in a session of its own")
    parser.add_argument("--squat", choices=("mute", "stranger"), help="somebody takes the port first")
    parser.add_argument(
        "--shm", default="", help="map shared memory whose name begins thus: its own, and what is there"
    )
    parser.add_argument("--print-environment", action="store_true", help="write its environment variables into the log")
    parser.add_argument(
        "--compiles",
        type=int,
        help="compile, with so many tokens of KV cache less, unless a cache has what was compiled",
    )
    parser.add_argument("--another-model", action="store_true", help="serve another model behind the right name")
    parser.add_argument("--benchmark-factor", type=float, default=1, help="its benchmark tells times this much as long")
    parser.add_argument("--benchmark-lost", type=int, default=0, help="its benchmark lost so many requests")
    parser.add_argument("--benchmark-crash", action="store_true", help="its benchmark ends without a result")
    return parser.parse_known_args(options)


def benchmark(directory: Path, arguments: list[str]) -> None:
    """Measure as the engines' benchmarks do, and write what is read in their results."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    for name in ("--base-url", "--model", "--request-rate", "--result-dir", "--result-filename", "--output-file"):
        parser.add_argument(name, default="")
    for name in ("--num-prompts", "--random-input-len", "--random-output-len", "--seed"):
        parser.add_argument(name, type=int, required=True)
    asked, _ = parser.parse_known_args(arguments)
    own, _ = parse(json.loads((directory / "options.json").read_text())[-1])
    if own.benchmark_crash:
        raise RuntimeError("this benchmark has no tokenizer")
    rate = float(asked.request_rate)
    sizes = {
        "num_prompts": asked.num_prompts,
        "input_len": asked.random_input_len,
        "output_len": asked.random_output_len,
    }
    if math.isfinite(rate):
        workload = Workload(f"benchmark {asked.seed}", "online", rate=rate, **sizes)
    else:
        workload = Workload(f"benchmark {asked.seed}", "offline", **sizes)
    protocol = PROTOCOLS["sglang" if asked.output_file else "openai"]
    target = Target(asked.base_url, asked.model, protocol=protocol)
    summary = summarize(run(target, plan(workload, 32_000, 256, f"benchmark {asked.seed}")))
    times = {"ttft": summary.ttft_p50, "tpot": summary.tpot_p50, "itl": summary.itl_p50}
    times["e2e_latency" if asked.output_file else "e2el"] = summary.e2e_p50
    medians = {f"median_{name}_ms": seconds * 1e3 * own.benchmark_factor for name, seconds in times.items()}
    result = Path(asked.output_file) if asked.output_file else Path(asked.result_dir, asked.result_filename)
    tokens = {"total_input_tokens": summary.input_tokens, "total_output_tokens": summary.output_tokens}
    result.write_text(json.dumps(medians | tokens | {"completed": summary.completed - own.benchmark_lost}))


def main() -> None:
    directory = Path(sys.argv[1])
    if "sglang.benchmark.serving" in sys.argv or Path(sys.argv[2]).name == "vllm_benchmark.py":
        benchmark(directory, sys.argv[3:])
        return
    parser = argparse.ArgumentParser(allow_abbrev=False)
    sglang = "sglang.launch_server" in sys.argv
    parser.add_argument("--model-path" if sglang else "--model", dest="model", required=True)
    for name in ("--served-model-name", "--port"):
        parser.add_argument(name, required=True)
    parser.add_argument("--profiler-config", default="{}")
    parser.add_argument("--max-total-tokens", default="16384")
    engine, _ = parser.parse_known_args(sys.argv[2:])
    planned = json.loads((directory / "options.json").read_text())
    own, options = parse(planned[min(len(boots(directory)), len(planned) - 1)])
    boot = {"port": int(engine.port), "pids": [os.getpid()], "cards": os.environ.get("CUDA_VISIBLE_DEVICES", "")}
    maps = _shared_memory(own.shm) if own.shm else []
    boot["shm"] = [own.shm + str(os.getpid())] if own.shm else []
    if state := os.environ.get("FAKE_NVML"):
        with Path(f"{state}.pids").open("a") as file:
            file.write(f"{os.getpid()} {boot['cards']}\n")
    if own.fork:
        boot["pids"].append(_forked("--ignore-signals" in options))
    with (directory / "boots.jsonl").open("a") as file:
        file.write(json.dumps(boot) + "\n")
    if own.silent:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(1, 2)
    log = SGLANG_LOG if sglang else LOG
    lines = log.format(model=engine.model, port=engine.port, tokens=engine.max_total_tokens).splitlines()
    if own.compiles is not None:
        lines = _compiled("sglang" if sglang else "vllm", lines, own.compiles)
    if own.print_environment:
        print(dict(os.environ))
    if own.crash:
        print("\n".join(lines[:3]), flush=True)
        raise RuntimeError("Engine core initialization failed: CUDA out of memory")
    print("\n".join(lines), flush=True)
    _flood(own.flood)
    # Held until this process ends.
    squatter = socket.create_server(("127.0.0.1", boot["port"])) if own.squat == "mute" else None
    if own.squat == "stranger":
        _stranger(boot["port"])
    with contextlib.closing(squatter) if squatter else contextlib.nullcontext():
        root = "/models/another" if own.another_model else engine.served_model_name if sglang else engine.model
        served = ["--port", engine.port, "--model", engine.served_model_name, "--root", root]
        traces = json.loads(engine.profiler_config).get("torch_profiler_dir", "")
        # SGLang counts for those who asked for it.
        served += [] if sglang and "--enable-metrics" not in sys.argv else ["--counts", "sglang" if sglang else "vllm"]
        if sglang:
            traces = os.environ.get("SGLANG_TORCH_PROFILER_DIR", "")
            # On a real one the warm-up takes longer than the rest of the boot.
            served += ["--server-info", json.dumps(SGLANG_INFO), "--unhealthy", "0.3"]
        mock_server.main(["--ttft", "0.02", "--gap", "0.005", "--profile-directory", traces, *served, *options])
    del maps  # held until here


def _compiled(engine: str, lines: list[str], less: int) -> list[str]:
    """The log of a boot that compiles unless each cache of the engine that is named has something; then they have it."""
    places = [Path(os.environ[name], "kernel") for name in ENGINES[engine].releases.caches if name in os.environ]
    found = all(place.exists() for place in places)
    if not found:
        lines = [line.replace("16,384", f"{16_384 - less:,}").replace("elapsed=0.50", "elapsed=2.50") for line in lines]
    for place in places:
        place.touch()
    return [*lines, f"INFO 11-24 02:17:00 [monitor.py:53] torch.compile took {0.5 if found else 4.0} s in total"]


def _shared_memory(prefix: str) -> list[mmap.mmap]:
    """Mappings of a file of its own, which stays when this process ends, and of all others of that name."""
    own = Path(prefix + str(os.getpid()))
    own.touch(0o600)
    os.truncate(own, mmap.PAGESIZE)
    found = []
    for path in own.parent.glob(Path(prefix).name + "*"):
        with path.open("r+b") as file:
            found.append(mmap.mmap(file.fileno(), mmap.PAGESIZE))
    return found


def _forked(ignoring: bool) -> int:
    """The process id of a child that outlives this process unless it is ended."""
    if pid := os.fork():
        return pid
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN if ignoring else signal.SIG_DFL)
    time.sleep(600)
    os._exit(0)


def _stranger(port: int) -> None:
    command = [sys.executable, "-m", "perf_tests.fakes.mock_server", "--port", str(port), "--model", "a-strangers"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    next(line for line in process.stdout if b"listening" in line)
    time.sleep(1)


def _flood(size: int) -> None:
    block = b"DEBUG 11-24 02:17:00 [scheduler.py:93] nothing to schedule\n" * 20_000
    while size > 0:
        size -= os.write(1, block[:size])


if __name__ == "__main__":
    main()

"""Load clients that others wrote: how each is run by its own command, and what it reports of its first tokens."""

import abc
import dataclasses
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

from fixtures.client.target import Target
from fixtures.engines.engine import words
from fixtures.engines.registry import ENGINES
from fixtures.workloads.workload import Workload

# TTFT in ms: median, and 99th percentile.
Reported = tuple[float, float]
SEED = 1


@dataclasses.dataclass(frozen=True)
class Rival(abc.ABC):
    """A client. ``program`` is what runs it: a python of an environment that has it, or its own command.

    Its methods raise RuntimeError if it ends in an error, OSError if there is no such program, and KeyError or ValueError if
    its results are not of the form that is known.
    """

    program: str

    @abc.abstractmethod
    def version(self) -> str: ...

    @abc.abstractmethod
    def measure(self, url: str, workload: Workload, directory: Path) -> Reported:
        """Send an online ``workload`` of fixed lengths to the server; ``directory`` has a tokenizer, and room for results."""


@dataclasses.dataclass(frozen=True)
class EngineBenchmark(Rival):
    """The benchmark in an engine's package, run as `fixtures.engines` runs it; ``more`` are further options."""

    engine: str
    more: tuple[str, ...] = ()

    def version(self) -> str:
        distributions = ENGINES[self.engine].releases.distributions
        code = "import importlib.metadata as m, sys; print(next(d.version for d in m.distributions() if d.name in sys.argv))"
        return _call([self.program, "-c", code, *distributions]).strip()

    def measure(self, url: str, workload: Workload, directory: Path) -> Reported:
        result = directory / "result.json"
        result.unlink(missing_ok=True)
        _call(self.command(Target(url, "mock"), workload, directory, result))
        return _of_engine(result)

    def command(self, server: Target, workload: Workload, directory: Path, result: Path) -> list[str]:
        line = ENGINES[self.engine].benchmark(self.program, server, str(directory), workload, SEED, result)
        return [*line, *self.more]


@dataclasses.dataclass(frozen=True)
class VllmRust(EngineBenchmark):
    """`vllm bench serve` in Rust: the program vllm-rs in vLLM's package, which takes the same options."""

    def version(self) -> str:
        return _last_word(self.program)

    def command(self, server: Target, workload: Workload, directory: Path, result: Path) -> list[str]:
        _, _, *options = super().command(server, workload, directory, result)
        return [self.program, "bench", "serve", *options]


@dataclasses.dataclass(frozen=True)
class AIPerf(Rival):
    def version(self) -> str:
        return _last_word(self.program)

    def measure(self, url: str, workload: Workload, directory: Path) -> Reported:
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
        _call([self.program, "profile", *words(options), "--streaming"])
        (path,) = (directory / "aiperf").rglob("profile_export_aiperf.json")
        found = json.loads(path.read_text(encoding="utf-8"))["time_to_first_token"]
        path.unlink()
        return float(found["p50"]), float(found["p99"])


@dataclasses.dataclass(frozen=True)
class GuideLLM(Rival):
    def version(self) -> str:
        return _last_word(self.program)

    def measure(self, url: str, workload: Workload, directory: Path) -> Reported:
        out = directory / "guidellm.json"
        options = {
            "--backend": f"kind=openai_http,target={url},model=mock,request_format=/v1/completions",
            "--profile": f"kind=poisson,rate={workload.rate:g}",
            "--constraint": f"kind=max_requests,count={workload.requests}",
            "--tokenizer": f"kind=huggingface_auto,model={directory}",
            "--data": f"kind=synthetic_text,prompt_tokens={workload.input_len},output_tokens={workload.output_len}",
            "--output": f"kind=json,path={out}",
        }
        _call([self.program, "run", *words(options), "--disable-console"])
        (found,) = json.loads(out.read_text(encoding="utf-8"))["benchmarks"]
        percentiles = found["metrics"]["time_to_first_token_ms"]["successful"]["percentiles"]
        out.unlink()
        return float(percentiles["p50"]), float(percentiles["p99"])


def _of_engine(result: Path) -> Reported:
    found = json.loads(result.read_text(encoding="utf-8").splitlines()[-1])
    return float(found["median_ttft_ms"]), float(found["p99_ttft_ms"])


def _last_word(program: str) -> str:
    return _call([program, "--version"]).split()[-1]


def _call(command: Sequence[str]) -> str:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{command[0]}: {done.stderr.strip()[-300:] or done.stdout.strip()[-300:]}")
    return done.stdout

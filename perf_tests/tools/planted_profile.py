"""Does the difference of two profiles name what was planted? Kernels and spans, in vLLM's CPU build.

    python -m perf_tests.tools.planted_profile --engine-env vllm=DIR [--tries 10]

Two servers of the dense twin are up: in one of them each step of the worker also runs what the try plants, some 3 ms.
Each try profiles the same batch on both in turn, as often as a session does (WINDOWS). A profile during which other processes
took more than DISTURBED of a core is taken again and counted. Exit status 1 if a try's first row does not name what was
planted. Two minutes, and half a minute a try.
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psutil

from fixtures.command import command
from fixtures.deployments import cell, deployment
from fixtures.deployments.deployment import Deployment
from fixtures.engines.boot import Boot
from fixtures.engines.engine import post
from fixtures.engines.environment import ROOT, add_engine_env
from fixtures.engines.pool import Pool
from fixtures.engines.registry import ENGINES
from fixtures.errors import EngineError
from fixtures.profiles import steps
from fixtures.profiles.difference import compare, table
from fixtures.session.measurer import WINDOWS

BATCH, PROMPT, TOKENS = 8, 32, 64
# Cores that other processes may have meanwhile, and how often a profile is taken again.
DISTURBED, AGAIN = 0.2, 30
# What a plant runs in every step, and the name that must come first.
PLANTS = {
    "sort": ("torch.sort(torch.cat([NUMBERS, NUMBERS]))", "aten::sort"),
    "cumsum": ("[torch.cumsum(NUMBERS, 0) for _ in range(40)]", "aten::cumsum"),
    "span": ("with torch.profiler.record_function('planted span'):\n            spend(0.003)", "planted span"),
    "sin": ("[torch.sin(NUMBERS) for _ in range(40)]", "aten::sin"),
    "exp": ("[torch.exp(NUMBERS) for _ in range(40)]", "aten::exp"),
}
PLUGIN = """
import os, time

def register():
    import torch
    from vllm.v1.worker.cpu_worker import CPUWorker

    NUMBERS = torch.rand(30_000)

    def spend(seconds):
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            pass

    {functions}
    execute = CPUWorker.execute_model

    def planted(self, *args, **kwargs):
        with open(os.environ["MOEGAUGE_PLANT"]) as file:
            name = file.read()
        if name:
            PLANTS[name]()
        return execute(self, *args, **kwargs)

    CPUWorker.execute_model = planted
"""


@command
def main(arguments: list[str]) -> int:
    """Run the tries; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_engine_env(parser)
    parser.add_argument("--tries", type=int, default=10)
    parser.add_argument("--begin", type=int, default=0, metavar="N", help="the number of the first try")
    parser.add_argument("--artifacts", type=Path, default=ROOT / ".moegauge" / "planted", metavar="DIR")
    args = parser.parse_args(arguments)
    chosen = deployment.load("cpu", ENGINES)
    named = 0
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        _plugin(directory / "plugin")
        with ThreadPoolExecutor(2) as threads:
            sides = [
                _Server(chosen, directory, side, dict(args.engine_env), args.artifacts) for side in ("before", "now")
            ]
            try:
                list(threads.map(_Server.boot, sides))
                for number in range(args.begin, args.begin + args.tries):
                    plant = list(PLANTS)[number % len(PLANTS)]
                    named += _try(number, plant, sides, args.artifacts)
            finally:
                list(threads.map(_Server.stop, sides))
    taken = sum(side.disturbed for side in sides)
    print(f"named first in {named} of {args.tries} tries; {taken} disturbed profiles were taken again")
    return int(named < args.tries)


class _Server:
    """A server of the dense twin with the plugin, and where its traces go."""

    def __init__(self, chosen: Deployment, directory: Path, side: str, environments: dict[str, Path], artifacts: Path):
        self.plant, self.traces = directory / f"{side}.plant", directory / side
        self.plant.write_text("")
        variables = {"PYTHONPATH": str(directory / "plugin"), "MOEGAUGE_PLANT": str(self.plant)}
        chosen = replace(chosen, environment=chosen.environment | variables)
        self._block = next(one.block for one in cell.cells(chosen))
        self._pool = Pool(chosen, artifacts / side, environments, [], lambda _: None)
        self._server: Boot | None = None
        self.disturbed = 0

    def boot(self) -> None:
        self._server = self._pool.variant(self._block, profile_directory=str(self.traces))
        self._send()

    def stop(self) -> None:
        self._pool.stop()

    def profile(self, plant: str, into: Path) -> None:
        """Profile a batch with something planted on an undisturbed machine, and move the traces."""
        for _ in range(AGAIN):
            self.plant.write_text(plant)
            with self._profiled():
                others = self._send()
            self.plant.write_text("")
            traces = list(self.traces.glob("*.trace.json*"))
            if others <= DISTURBED:
                for path in traces:
                    shutil.move(path, into)
                return
            for path in traces:
                path.unlink()
            self.disturbed += 1
            time.sleep(2)
        raise EngineError(f"other processes took {others:.1f} cores each time: try it on a machine of its own")

    @contextmanager
    def _profiled(self) -> Iterator[None]:
        assert self._server
        with self._server.profiled():
            yield

    def _send(self) -> float:
        """Send the batch; returns the cores that other processes had meanwhile."""
        assert self._server
        began, busy, usage = time.monotonic(), _busy(), self._server.usage()
        prompts = [[1 + (7 * i + j) % 1000 for j in range(PROMPT)] for i in range(BATCH)]
        body = {"model": self._server.target.model, "prompt": prompts, "max_tokens": TOKENS, "ignore_eos": True}
        post(f"{self._server.target.url}/v1/completions", body)
        after = self._server.usage()
        own = after.seconds(usage) if usage and after else 0.0
        return (_busy() - busy - own) / (time.monotonic() - began)


def _busy() -> float:
    """Seconds in which any of the machine's cores did something, so far."""
    times = psutil.cpu_times()
    return sum(times) - times.idle - times.iowait - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)


def _try(number: int, plant: str, sides: list[_Server], artifacts: Path) -> bool:
    places = [artifacts / f"try-{number}" / side for side in ("before", "now")]
    for place in places:
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
    for _ in range(WINDOWS):
        for side, place, planted in zip(sides, places, ("", plant), strict=True):
            side.profile(planted, place)
    first = compare(*map(steps.read, places))[0]
    right = first.part.name == PLANTS[plant][1]
    print(
        f"try {number}: {plant}: {first.kind} {first.part.name} {1e6 * first.seconds:+,.0f} us {'' if right else 'WRONG'}",
        flush=True,
    )
    if not right or number < len(PLANTS):
        print(table(*places, shown=3), flush=True)
    return right


def _plugin(directory: Path) -> None:
    functions = [f"def {name}():\n        {code}\n" for name, (code, _) in PLANTS.items()]
    functions.append("PLANTS = {" + ", ".join(f"'{name}': {name}" for name in PLANTS) + "}")
    package, about = directory / "planted", directory / "planted-0.dist-info"
    package.mkdir(parents=True)
    about.mkdir()
    (package / "__init__.py").write_text(PLUGIN.replace("{functions}", "\n    ".join(functions)))
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: planted\nVersion: 0\n")
    (about / "entry_points.txt").write_text("[vllm.general_plugins]\nplanted = planted:register\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""How long it takes to judge a night of 200 metrics that all want five boots: baselines read, noise pooled, verdicts reached.

Run it with `tox -e bench`; the goal is under a second.
"""

import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from fixtures.deployments import deployment
from fixtures.deployments.cell import cells
from fixtures.engines.registry import ENGINES
from fixtures.gate.verdict import Outcome
from fixtures.store import baseline
from fixtures.store.baseline import Update
from fixtures.store.sample import Sample
from perf_tests.fakes.judging import judge_beside

METRICS = ("latency", "tpot_p50", "ttft_p50", "output_throughput")
CELLS, BASELINE_BOOTS, BOOTS, CV, REPETITIONS = 50, 10, 5, 0.01, 7
HEAD = """
description = "many cells"
hardware = "cpu"
devices = 1
engines = ["vllm"]
tensor_parallel = [1]
max_model_len = 256
gated = {gated}

[[models]]
name = "llama-3.1-8b-twin"
"""
WORKLOAD = """
[[workloads]]
name = "batch-{n}"
kind = "batch"
batch_size = {n}
input_len = 8
output_len = 8
repetitions = 1
"""


def sample(boot: str, by: float) -> Sample:
    """A boot's values, every metric around one, worse by ``by``."""
    values = {name: random.gauss(1, CV) * (1 - by if "throughput" in name else 1 + by) for name in METRICS}
    return Sample(boot, "host", "2026-11-24T02:17:00+00:00", values, {}, {})


def main() -> None:
    """Print the seconds that a night takes to judge, and what came out."""
    random.seed(0)
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "many.toml"
        path.write_text(HEAD.format(gated=list(METRICS)) + "".join(WORKLOAD.format(n=n) for n in range(1, CELLS + 1)))
        many = deployment.load(str(path), ENGINES)
        every = cells(many)
        judge = judge_beside(many, every, Path(temporary))
        records: list[dict[str, Any]] = [
            {
                "fullname": cell.id,
                "name": cell.workload.name,
                "extra_info": {
                    "workload": cell.workload.definition(),
                    "boots": [sample(f"before-{i}", 0.0).__dict__ for i in range(BASELINE_BOOTS)],
                },
            }
            for cell in every
        ]
        block = every[0].block
        update = Update(judge.reference.path(block), judge.reference.fingerprint(block), records, {})
        baseline.write([update], "5", append=False)
        boots = {cell: [sample(f"now-{i}", 0.08) for i in range(BOOTS)] for cell in every}
        seconds = []
        for _ in range(REPETITIONS):
            since = time.perf_counter()
            fresh = judge_beside(many, every, Path(temporary))
            fresh.read_baselines()
            fresh.reference.judged.boots.update(boots)
            trial = fresh.trial(every)
            verdicts = [fresh.verdict(cell, metric, trial) for cell in every for metric in fresh.metrics(cell)]
            seconds.append(time.perf_counter() - since)
    worse = sum(verdict.outcome is Outcome.REGRESSION for verdict in verdicts)
    print(
        f"{len(verdicts)} metrics, {BOOTS} boots against {BASELINE_BOOTS}: {statistics.median(seconds):.2f} s "
        f"(of {REPETITIONS}: {min(seconds):.2f} to {max(seconds):.2f}); {worse} regressions of 8%"
    )


if __name__ == "__main__":
    main()

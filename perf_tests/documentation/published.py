"""Latencies that others published for vLLM, against the default platform: nothing is fitted to them.

The table holds what a search found for bf16 on H100 and A100 with CUDA graphs and a vLLM of at least 0.6.0; earlier
versions spent two to three times as long on the host.
"""

import csv
import dataclasses
from pathlib import Path

from fixtures.analytical import serving
from fixtures.analytical.hardware import gpu, hardware
from fixtures.analytical.parallel import Parallel
from fixtures.analytical.precision import precision
from fixtures.analytical.step import Setup
from perf_tests.analytical.models import architecture

# The prompts of the decode steps are ShareGPT's; their context barely matters (100 tokens change a step by 0.1%).
CONTEXT = 300


@dataclasses.dataclass(frozen=True)
class Published:
    """A latency or decode step of a batch, and the model's relative error."""

    model: str
    gpu: str
    tp: int
    batch: int
    quantity: str
    error: float


def points() -> list[Published]:
    """All lines of the table."""
    rows = csv.DictReader((Path(__file__).parent / "published.csv").open())
    return [
        Published(row["model"], row["gpu"], int(row["tp"]), int(row["batch"]), row["quantity"], _error(row))
        for row in rows
    ]


def _error(row: dict[str, str]) -> float:
    setup = Setup(architecture(row["model"]), gpu(row["gpu"]), Parallel(int(row["tp"])), precision("bf16"))
    host, batch = hardware().host_term(hardware().default_platform, row["gpu"]), int(row["batch"])
    if row["quantity"] == "latency":
        predicted = serving.latency_seconds(setup, host, batch, int(row["input_len"]), int(row["output_len"]))
    else:
        predicted = serving.decode_step(setup, host, batch, CONTEXT).total
    return predicted / float(row["seconds"]) - 1

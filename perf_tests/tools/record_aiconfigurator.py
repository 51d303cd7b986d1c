"""Writes what NVIDIA's aiconfigurator predicts of cells in the evidence: CSV in, CSV out.

    python -m venv DIR && DIR/bin/pip install aiconfigurator==0.12.0
    python -m perf_tests.documentation.rival | DIR/bin/python -P perf_tests/tools/record_aiconfigurator.py > \
perf_tests/documentation/rival.csv

Runs in an environment of its own, outside of the suite: it imports nothing of it. A batch is its static mode, prefill and all
decode steps, from its measurements of vLLM 0.24.0. Of a mixture there are two predictions: with the skewed load of experts that
it assumes by itself (``power_law``), and with an even one. ``latency`` is in seconds, and empty where it has no data.
"""

import csv
import functools
import math
import sys
from importlib.metadata import version
from pathlib import Path

from aiconfigurator.sdk.inference_session import InferenceSession
from aiconfigurator_core.sdk import common, config, models, perf_database
from aiconfigurator_core.sdk.backends.factory import get_backend

BACKEND, RELEASE = "vllm", "0.24.0"
MODELS = Path(__file__).parents[2] / "fixtures" / "models"
# By the format of weights: of products, and of experts.
FORMATS = {
    "bf16": ("bfloat16", "bfloat16"),
    "fp8": ("fp8", "fp8"),
    "awq": ("int4_wo", "int4_wo"),
    "gptq": ("int4_wo", "int4_wo"),
    "mxfp4": ("bfloat16", "w4a16_mxfp4"),
}
DISTRIBUTIONS = ("power_law", "balanced")
SOURCE = f"aiconfigurator {version('aiconfigurator')}, its data of {BACKEND} {RELEASE}"


@functools.cache
def session(model: str, card: str, form: str, tp: int, dp: int, ep: int, distribution: str) -> InferenceSession:
    """Of a model of this repository, on ``tp`` cards for each of ``dp`` copies of its attention."""
    products, experts = FORMATS[form]
    spread = config.ModelConfig(
        tp_size=tp,
        attention_dp_size=dp,
        moe_tp_size=tp * dp // ep,
        moe_ep_size=ep,
        gemm_quant_mode=common.GEMMQuantMode[products],
        moe_quant_mode=common.MoEQuantMode[experts],
        kvcache_quant_mode=common.KVCacheQuantMode.bfloat16,
        fmha_quant_mode=common.FMHAQuantMode.bfloat16,
        workload_distribution=distribution,
    )
    database = perf_database.get_database(f"{card}_sxm", BACKEND, RELEASE)
    return InferenceSession(models.get_model(str(MODELS / model), spread, BACKEND), database, get_backend(BACKEND))


def seconds(row: dict[str, str], distribution: str) -> float | None:
    """The latency of a batch; None where it has no data for it."""
    tp, dp, ep, batch, into, out = (int(row[key]) for key in ("tp", "dp", "ep", "batch", "input_len", "output_len"))
    runtime = config.RuntimeConfig(batch_size=math.ceil(batch / dp), isl=into, osl=out)
    try:
        of = session(row["model"], row["card"], row["format"], tp, dp, ep, distribution)
        return of.run_static_latency_only(runtime, "static") / 1000
    except Exception as error:
        # Its errors have no base of their own.
        print(f"{row}: {type(error).__name__}: {str(error)[:200]}", file=sys.stderr)
        return None


def main() -> None:
    """From standard input to standard output."""
    rows = list(csv.DictReader(sys.stdin))
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow([*rows[0], "distribution", "latency", "source"])
    for row in rows:
        for distribution in DISTRIBUTIONS:
            found = seconds(row, distribution)
            out.writerow([*row.values(), distribution, "" if found is None else f"{found:.6g}", SOURCE])


if __name__ == "__main__":
    main()

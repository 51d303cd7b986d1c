"""The deployments of the tests: TOML of a head, models and workloads, which a test may change as text."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fixtures.deployments import deployment
from fixtures.deployments.deployment import Deployment
from fixtures.engines.registry import ENGINES

TWIN = "llama-3.1-8b-twin"


def head(models: Sequence[str] = (TWIN,), **fields: Any) -> str:
    """All but the workloads: one device without a card, vLLM, and nothing asked beside them, unless said otherwise."""
    common: dict[str, Any] = {
        "description": "a deployment of the tests",
        "hardware": "cpu",
        "devices": 1,
        "engines": ["vllm"],
        "tensor_parallel": [1],
        "outputs": False,
    }
    return _lines(common | fields) + "".join("\n[[models]]" + _lines({"name": name}) for name in models)


def workload(name: str, kind: str, **fields: Any) -> str:
    """One workload; of 8 tokens in and 8 out, where it has tokens, unless said otherwise."""
    tokens = {} if kind in ("startup", "cold-startup") else {"input_len": 8, "output_len": 8}
    return "\n[[workloads]]" + _lines({"name": name, "kind": kind} | tokens | fields)


def load(directory: Path, text: str, name: str = "test") -> Deployment:
    """The deployment of a file with this text. Raises UsageError."""
    path = directory / f"{name}.toml"
    path.write_text(text)
    return deployment.load(str(path), ENGINES)


def toml(value: Any) -> str:
    """A value as TOML; null, which TOML lacks, as an empty string."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps("" if value is None else value)


def _lines(fields: dict[str, Any]) -> str:
    return "\n" + "".join(f"{key} = {toml(value)}\n" for key, value in fields.items())


# A run of the suite that takes seconds.
FAKE = (
    head(
        max_model_len=256,
        boot_timeout=5,
        request_timeout=2,
        gated=["weight_memory", "kv_capacity", "latency", "peak_memory", "completed", "output_tokens"],
        tolerances={"latency": 0.5, "peak_memory": 0.5},
    )
    + workload("startup", "startup")
    + workload("batch-1", "batch", batch_size=1, repetitions=3, first_repetitions=0)
    + workload("batch-4", "batch", batch_size=4, repetitions=1, first_repetitions=1)
)
# Completions that a boot of FAKE has served when batch-1 is measured: a pass of warm-up and three repetitions. First tokens are
# not asked for, as each may be asked for again on a busy machine.
BATCH_1 = 4
BLOCK = f"vllm/{TWIN}/tp1"
# A model that outgrows a node.
SPREAD = head(
    ["mixtral-8x7b"],
    hardware="H200",
    devices=8,
    nodes=2,
    head_address="10.0.0.1:6379",
    engines=["vllm", "sglang"],
    tensor_parallel=[8],
    pipeline_parallel=2,
    kv_cache_gib=30,
) + workload("batch-1", "batch", batch_size=1)

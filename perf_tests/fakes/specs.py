"""What an engine is to be started with, in tests of command lines."""

from typing import Any

from fixtures.engines.engine import BootSpec

GIB = 2**30
_VALUES: dict[str, Any] = {
    "model_directory": "/models/m",
    "served_name": "m-1",
    "weights": "dummy",
    "device": "cuda",
    "tensor_parallel": 1,
    "dtype": "bfloat16",
    "max_model_len": 4096,
    "kv_cache_bytes": 30 * GIB,
    "options": (),
    "kv_cache_tokens": 245760,
    "layers": 32,
}


def spec(**changes: Any) -> BootSpec:
    """A boot on one card, changed as is wanted."""
    return BootSpec(**(_VALUES | changes))

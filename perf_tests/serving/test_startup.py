"""What an engine reports of itself once it is up: weights, KV capacity, memory, boot time."""

import pytest

pytestmark = pytest.mark.serving

GIB = 2**30


@pytest.mark.cells("startup")
def test_startup(cell, measure, night):
    values = measure(cell).metrics
    missing = [name for name in ("kv_capacity", "weight_memory", "startup_memory") if name not in values]
    assert not missing, f"the engine does not report {', '.join(missing)}: look into its log"
    assert values["kv_capacity"] >= 1
    assert values["weight_memory"] < values["startup_memory"], "weights must be part of the memory in use"
    budget = night.deployment.kv_cache_gib * GIB
    if night.deployment.needs_gpu and budget:
        # NVML's count of the card against the engine's of its weights: context, graphs and workspaces remain.
        rest = values["startup_memory"] - values["weight_memory"] - budget
        assert 0 < rest < 8 * GIB, f"{rest / GIB:.2f} GiB besides weights and KV cache"

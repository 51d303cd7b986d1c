"""What an engine reports of itself once it is up: weights, KV capacity, memory, boot time."""

import pytest

from fixtures.analytical.serving import MAX_BATCHED_TOKENS

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
        most = 8 * GIB + gathered(cell, night)
        assert 0 < rest < most, (
            f"{rest / GIB:.2f} GiB besides weights and KV cache, {most / GIB:.2f} are expected at most"
        )


def gathered(cell, night):
    """Bytes of workspace for tokens of the other copies of the attention, which each card's experts compute, too.

    A chosen expert's gate, up and down products of each, in bf16.
    """
    architecture = night.deployment.architecture(cell.block.model)
    others = cell.block.data_parallel - 1
    if others < 1 or architecture is None or not architecture.sparse_layers:
        return 0
    return max(
        others * MAX_BATCHED_TOKENS * layer.top_k * (3 * layer.expert_size + architecture.hidden_size) * 2
        for layer in architecture.sparse_layers
    )

"""What an engine reports of itself once it is up: weights, KV capacity, memory, boot time."""

import pytest

pytestmark = pytest.mark.serving


@pytest.mark.cells("startup")
def test_startup(cell, measure):
    values = measure(cell).metrics
    assert values["kv_capacity"] >= 1
    assert values["weight_memory"] < values["startup_memory"], "weights must be part of the memory in use"

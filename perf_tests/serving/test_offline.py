"""The document's throughput table: all prompts at once, the same ones for every model."""

import pytest

pytestmark = pytest.mark.serving


@pytest.mark.cells("offline")
def test_offline(cell, measure):
    values = measure(cell).metrics
    assert values["completed"] == cell.workload.num_prompts
    assert values["output_throughput"] < values["total_throughput"]

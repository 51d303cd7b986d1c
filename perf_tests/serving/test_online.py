"""The document's online table: Poisson arrivals at a rate, measured from the scheduled arrival."""

import pytest

pytestmark = pytest.mark.serving


@pytest.mark.cells("online")
def test_online(cell, measure):
    values, workload = measure(cell).metrics, cell.workload
    assert values["completed"] == workload.num_prompts
    assert values["duration"] >= (workload.num_prompts - 1) / workload.rate, "the last request is sent on schedule"

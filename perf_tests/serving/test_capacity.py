"""The largest rate at which a server keeps its limits, by a search."""

import pytest

pytestmark = pytest.mark.serving


@pytest.mark.cells("capacity")
def test_capacity(cell, measure):
    values = measure(cell).metrics
    assert values["capacity_probes"] <= cell.workload.probes

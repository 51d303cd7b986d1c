"""The document's latency table: a batch of fixed lengths sent at once."""

import pytest

pytestmark = pytest.mark.serving


@pytest.mark.cells("batch")
def test_batch(cell, measure):
    values, workload = measure(cell).metrics, cell.workload
    assert values["output_tokens"] == workload.batch_size * workload.output_len
    assert values["input_tokens"] == workload.batch_size * workload.input_len
    assert not workload.stream or values["ttft_p50"] < values["latency"]

"""What the server answers to prompts that never change: kept beside the baseline, whose verdict comes with the others."""

import pytest

from fixtures.outputs.distance import Distance, distance
from fixtures.outputs.output import Output

pytestmark = pytest.mark.serving


@pytest.mark.cells("outputs")
def test_outputs(cell, measure):
    sample, workload = measure(cell), cell.workload
    found = [Output.parse(line) for line in sample.outputs]
    assert len(found) == workload.alone_prompts + workload.long_prompts + workload.num_prompts
    assert distance(found, found) == Distance(0, 0, 0, 0)
    for output in found:
        output.check(len(output.logprobs) + 1, workload.output_len)
        assert max(output.logprobs + output.answer_logprobs) <= 0

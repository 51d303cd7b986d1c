"""Conversations of several turns: prompts that grow by what was answered, and the part of them that a prefix cache holds."""

import pytest

pytestmark = pytest.mark.serving


@pytest.mark.cells("conversations")
def test_conversations(cell, measure):
    values, workload = measure(cell).metrics, cell.workload
    assert values["completed"] == workload.num_prompts * workload.turns
    assert values["input_tokens"] > values["output_tokens"], "what is answered is asked again in each later turn"

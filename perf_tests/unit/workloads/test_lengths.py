"""Lengths that are drawn as those of ShareGPT are."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.workloads import lengths

pytestmark = pytest.mark.cpu


@given(st.integers(1, 200), st.floats(16, 200), st.floats(16, 300), st.integers())
def test_lengths_pass_the_filters_of_vllm(count, mean_input, mean_output, seed):
    pairs = lengths.sharegpt_like(count, mean_input, mean_output, random.Random(seed))
    assert len(pairs) == count
    for prompt, output in pairs:
        assert lengths.MIN_TOKENS <= prompt <= lengths.MAX_PROMPT_TOKENS
        assert output >= lengths.MIN_TOKENS
        assert prompt + output <= lengths.MAX_TOTAL_TOKENS


@given(st.integers(20, 200), st.floats(16, 160), st.floats(16, 250), st.integers())
def test_the_sample_has_the_mean_asked_for(count, mean_input, mean_output, seed):
    pairs = lengths.sharegpt_like(count, mean_input, mean_output, random.Random(seed))
    assert sum(p for p, _ in pairs) / count == pytest.approx(mean_input, abs=1)
    assert sum(o for _, o in pairs) / count == pytest.approx(mean_output, abs=1)

"""Lengths that are drawn as those of ShareGPT are."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.errors import UsageError
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


@pytest.mark.parametrize(
    ("mean_input", "mean_output", "max_total", "message"),
    [
        (8000, 500, 32768, "input_len: .* 4 to 1,024 tokens here .* a mean of 4 to 512, found 8,000; .*'fixed'"),
        (2000, 300, 8192, "input_len: .*found 2,000"),
        (100, 800, 2048, "output_len: .* a mean of 4 to 512, found 800"),
        (3, 100, 2048, "input_len: .*found 3"),
        (1e9, 1e9, 2048, "input_len: .*found 1,000,000,000"),
    ],
)
def test_lengths_that_the_filters_would_cut_are_refused(mean_input, mean_output, max_total, message):
    with pytest.raises(UsageError, match=message):
        lengths.sharegpt_like(10, mean_input, mean_output, random.Random(0), max_total)


@given(st.integers(60, 200), st.floats(4, 512), st.floats(4, 512), st.integers())
def test_whatever_is_accepted_has_its_mean(count, mean_input, mean_output, seed):
    pairs = lengths.sharegpt_like(count, mean_input, mean_output, random.Random(seed))
    assert sum(p for p, _ in pairs) / count == pytest.approx(mean_input, abs=1)
    assert sum(o for _, o in pairs) / count == pytest.approx(mean_output, abs=1)

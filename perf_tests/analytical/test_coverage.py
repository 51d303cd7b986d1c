"""Distinct experts of a batch: every possible routing counted, and the limits."""

from itertools import combinations, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.analytical.coverage import distinct_experts

pytestmark = pytest.mark.cpu


@st.composite
def sizes(draw):
    """(experts, top_k)"""
    experts = draw(st.integers(1, 256))
    return experts, draw(st.integers(1, experts))


@pytest.mark.parametrize("experts", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("tokens", [1, 2, 3])
def test_the_mean_over_every_routing(experts, tokens):
    for top_k in range(1, experts + 1):
        choices = list(combinations(range(experts), top_k))
        touched = [len(set().union(*routing)) for routing in product(choices, repeat=tokens)]
        assert distinct_experts(experts, top_k, tokens) == pytest.approx(sum(touched) / len(touched))


@given(sizes())
@settings(max_examples=50)
def test_one_token_touches_its_top_k_and_a_large_batch_all(size):
    experts, top_k = size
    assert distinct_experts(experts, top_k, 0) == 0
    assert distinct_experts(experts, top_k, 1) == pytest.approx(top_k)
    assert distinct_experts(experts, top_k, 40 * experts) == pytest.approx(experts)


@given(sizes(), st.integers(1, 500), st.floats(0, 10))
@settings(max_examples=100)
def test_more_tokens_touch_more_but_never_more_than_there_are(size, tokens, more):
    experts, top_k = size
    touched = distinct_experts(experts, top_k, tokens)
    assert top_k * (1 - 1e-9) <= touched <= min(experts, top_k * tokens) * (1 + 1e-9)
    assert distinct_experts(experts, top_k, tokens + more) >= touched
    if top_k < experts:
        assert distinct_experts(experts, top_k + 1, tokens) >= touched


def test_mixtral():
    touched = [round(distinct_experts(8, 2, tokens), 1) for tokens in (1, 2, 4, 8, 1000)]
    assert touched == [2.0, 3.5, 5.5, 7.2, 8.0]

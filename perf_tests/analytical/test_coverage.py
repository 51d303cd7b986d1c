"""Distinct experts of a batch: every possible routing counted, and the limits."""

import math
from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.analytical.coverage import busiest_choices, busiest_experts, distinct_experts, tiles

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


@pytest.mark.parametrize(("experts", "ranks"), [(2, 2), (4, 1), (4, 2), (4, 4), (6, 2), (6, 3)])
@pytest.mark.parametrize("tokens", [0, 1, 2, 3])
def test_the_mean_of_the_busiest_rank_over_every_routing(experts, ranks, tokens):
    each = experts // ranks
    for top_k in range(1, min(experts, 3) + 1):
        choices = list(combinations(range(experts), top_k))
        most = []
        for routing in product(choices, repeat=tokens):
            touched = set().union(*routing)
            most.append(max(len(touched & set(range(rank * each, (rank + 1) * each))) for rank in range(ranks)))
        assert busiest_experts(experts, top_k, tokens, ranks) == pytest.approx(sum(most) / len(most))


@given(sizes(), st.floats(0, 300), st.floats(0, 10), st.sampled_from((1, 2, 4, 8)))
@settings(max_examples=50)
def test_the_busiest_rank_has_its_share_at_least_and_all_of_its_experts_at_most(size, tokens, more, ranks):
    each, top_k = max(size[0] // 16, 1), min(size[1], max(size[0] // 16, 1))
    found = busiest_experts(each * ranks, top_k, tokens, ranks)
    assert found <= each * (1 + 1e-9)
    assert busiest_experts(each * ranks, top_k, tokens + more, ranks) >= found * (1 - 1e-9)
    whole = busiest_experts(each * ranks, top_k, round(tokens), ranks)
    assert whole >= distinct_experts(each * ranks, top_k, round(tokens)) / ranks * (1 - 1e-9)


def test_mixtral_on_two_ranks():
    assert busiest_experts(8, 2, 1, 2) == pytest.approx(10 / 7)
    busiest = [round(busiest_experts(8, 2, tokens, 2), 2) for tokens in (1, 2, 4, 8, 1000)]
    assert busiest == [1.43, 2.32, 3.26, 3.90, 4.0]
    one, two = (busiest_experts(8, 2, tokens, 2) for tokens in (1, 2))
    assert busiest_experts(8, 2, 1.25, 2) == pytest.approx(0.75 * one + 0.25 * two)


@pytest.mark.parametrize(("tokens", "ranks"), [(4, 4), (64, 2), (64, 4), (256, 8)])
def test_the_rank_with_most_choices_against_drawn_ones(tokens, ranks):
    draws = np.random.default_rng(3).random((1500, tokens, 8)).argsort(axis=2)[:, :, :2] // (8 // ranks)
    most = [np.bincount(own.ravel(), minlength=ranks).max() for own in draws]
    assert busiest_choices(8, 2, tokens, ranks) == pytest.approx(np.mean(most) * ranks / (2 * tokens), rel=0.02)


def test_of_many_tokens_every_rank_has_its_share_of_choices():
    assert busiest_choices(8, 2, 100, 1) == 1
    assert 1 < busiest_choices(8, 2, 10**6, 4) < 1.01
    assert busiest_choices(8, 2, 0.01, 4) == 4, "no more than all"


@given(st.integers(1, 600), st.floats(0.01, 1.0), st.sampled_from((16, 32, 64, 128)))
@settings(max_examples=100)
def test_tiles_are_those_of_every_number_of_tokens_by_its_probability(tokens, share, rows):
    """By the binomial distribution itself; the normal one in its place is off by little."""
    exact = sum(
        math.comb(tokens, n) * share**n * (1 - share) ** (tokens - n) * math.ceil(n / rows) for n in range(tokens + 1)
    )
    assert tiles(share, tokens, rows) == pytest.approx(exact, rel=0.01, abs=0.02)


@given(st.floats(0, 5000), st.floats(0.001, 1.0), st.sampled_from((16, 64)))
def test_tiles_hold_all_rows_and_at_most_one_of_an_expert_is_not_full(tokens, share, rows):
    found = tiles(share, tokens, rows)
    assert share * tokens / rows - 0.02 <= found <= share * tokens / rows + 1
    assert found <= tiles(share, tokens, rows // 2) + 0.02


def test_an_expert_of_32_tokens_has_a_tile_of_64_rows_and_one_of_64_one_and_a_half():
    """Mixtral's at 128 and 256 tokens: every second row is padding, and every third."""
    assert tiles(0.25, 128, 64) == pytest.approx(1, abs=1e-3)
    assert tiles(0.25, 256, 64) == pytest.approx(1.47, abs=0.01)

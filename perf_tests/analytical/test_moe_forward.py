"""The reference of the MoE forward pass against its definition, token by token."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.analytical.moe_forward import Experts, expert, forward, route, softmax

pytestmark = pytest.mark.cpu


@st.composite
def layers(draw):
    count = draw(st.integers(2, 8))
    top_k = draw(st.integers(1, count))
    tokens, hidden, inner = draw(st.integers(1, 6)), draw(st.integers(1, 6)), draw(st.integers(1, 5))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    experts = Experts(
        random.normal(size=(count, inner, hidden)),
        random.normal(size=(count, inner, hidden)),
        random.normal(size=(count, hidden, inner)),
    )
    return random.normal(size=(count, hidden)), experts, random.normal(size=(tokens, hidden)), top_k


@given(layers())
def test_each_token_selects_its_largest_logits(layer):
    router, _, tokens, top_k = layer
    logits = tokens @ router.T
    ids, weights = route(logits, top_k)
    for row in range(len(tokens)):
        assert len(set(ids[row])) == top_k
        others = np.delete(logits[row], ids[row])
        assert not len(others) or logits[row][ids[row]].min() >= others.max()
    assert weights.sum(axis=-1) == pytest.approx(1)
    assert (weights > 0).all()


@given(layers())
def test_renormalised_softmax_is_the_softmax_of_the_selected_logits(layer):
    router, _, tokens, top_k = layer
    logits = tokens @ router.T
    ids, weights = route(logits, top_k)
    assert weights == pytest.approx(softmax(np.take_along_axis(logits, ids, axis=-1)))


@given(layers())
def test_grouping_by_expert_changes_nothing(layer):
    router, experts, tokens, top_k = layer
    ids, weights = route(tokens @ router.T, top_k)
    expected = [
        sum(w * expert(experts, i, tokens[t : t + 1])[0] for i, w in zip(ids[t], weights[t], strict=True))
        for t in range(len(tokens))
    ]
    assert forward(router, experts, tokens, top_k) == pytest.approx(np.array(expected))


@given(layers())
def test_with_every_expert_selected_the_layer_is_a_dense_mixture(layer):
    router, experts, tokens, _ = layer
    mixture = softmax(tokens @ router.T)
    dense = sum(mixture[:, i, None] * expert(experts, i, tokens) for i in range(len(router)))
    assert forward(router, experts, tokens, len(router)) == pytest.approx(dense)


@given(layers(), st.floats(-20, 20))
def test_a_constant_added_to_all_logits_changes_nothing(layer, shift):
    router, _, tokens, top_k = layer
    logits = tokens @ router.T
    ids, weights = route(logits, top_k)
    shifted_ids, shifted_weights = route(logits + shift, top_k)
    assert (ids == shifted_ids).all()
    assert shifted_weights == pytest.approx(weights)


def test_equal_logits_go_to_the_first_experts():
    ids, weights = route(np.zeros((1, 8)), 2)
    assert ids.tolist() == [[0, 1]]
    assert weights.tolist() == [[0.5, 0.5]]


def test_swiglu_of_one_number():
    one = Experts(np.array([[[2.0]]]), np.array([[[3.0]]]), np.array([[[5.0]]]))
    silu = 2.0 / (1 + math.exp(-2.0))
    assert expert(one, 0, np.array([[1.0]])) == pytest.approx(np.array([[silu * 3.0 * 5.0]]))


def test_large_logits_do_not_overflow_and_equal_ones_go_to_the_lower_ids():
    assert softmax(np.array([[1000.0, 0.0], [0.0, -1000.0]])) == pytest.approx(np.array([[1.0, 0.0], [1.0, 0.0]]))
    ids, weights = route(np.zeros((1, 64)), 3)
    assert ids.tolist() == [[0, 1, 2]]
    assert weights == pytest.approx(1 / 3)

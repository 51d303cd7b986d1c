"""Whether choices are independent of each other and from layer to layer."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fixtures.errors import EngineError
from fixtures.routing.independence import BATCHES, independence
from fixtures.routing.routing import Routed, join

pytestmark = pytest.mark.cpu


def independent(random, prompts, steps, layers, experts, k, prompt=3):
    """Choices of k distinct experts each, and answers without a repetition."""
    chosen = random.random((prompts, prompt + steps, layers, experts)).argsort(axis=-1)[..., :k].astype(np.int16)
    return [Routed(one, tuple(range(steps + 1))) for one in chosen]


@given(st.integers(0, 10_000), st.integers(1, 3), st.integers(1, 3), st.integers(1, 35), st.integers(3, 9))
@settings(max_examples=40)
def test_the_same_as_counting_step_by_step(seed, steps, layers, prompts, experts):
    random = np.random.default_rng(seed)
    k = int(random.integers(1, experts))
    parts = independent(random, prompts, steps, layers, experts, k)
    every = np.sort(np.concatenate([part.chosen for part in parts]), axis=-1)
    assume(all(len(np.unique(every[:, layer], axis=0)) > 1 for layer in range(layers)))  # else it is no capture
    found = independence(join(parts, experts))
    assert list(found.distinct) == [batch for batch in BATCHES if batch <= prompts]
    for batch, value in found.distinct.items():
        counts = [
            len({e for part in parts[first : first + batch] for e in part.chosen[-steps:][step, layer]})
            for first in range(0, prompts - batch + 1, batch)
            for step in range(steps)
            for layer in range(layers)
        ]
        assert value == pytest.approx(np.mean(counts))
    sets = [[[frozenset(token[layer].tolist()) for layer in range(layers)] for token in part.chosen] for part in parts]
    same = [token[i] == token[i + 1] for part in sets for token in part for i in range(layers - 1)]
    assert math.isnan(found.same_next_layer) if layers == 1 else found.same_next_layer == pytest.approx(np.mean(same))
    assert found.repeated_tokens == 0


def test_independent_choices_touch_as_many_experts_as_theory_has_it():
    found = independence(join(independent(np.random.default_rng(1), 64, 16, 8, 8, 2), 8))
    assert found.expected == pytest.approx({1: 2, 2: 3.5, 4: 5.46875, 8: 7.19910, 16: 7.91981}, rel=1e-5)
    assert found.deviation < 0.01
    assert found.same_next_layer == pytest.approx(found.chance, abs=0.01)
    assert found.chance == pytest.approx(1 / 28)


def test_what_an_engines_dummy_weights_do_is_far_from_it():
    # All layers alike, two tokens in turn of which each has its experts, and both prompts of a step the same.
    random = np.random.default_rng(2)
    pairs = np.array([[0, 1], [4, 6]], dtype=np.int16)
    parts = []
    for _ in range(16):
        turns = (np.arange(20) + random.integers(2)) % 2
        parts.append(Routed(np.repeat(pairs[turns][:, None], 8, axis=1), tuple(turns[-17:].tolist())))
    found = independence(join(parts, 8))
    assert found.deviation > 0.4
    assert found.same_next_layer == 1
    assert found.repeated_tokens == pytest.approx(15 / 17)


@pytest.mark.parametrize("answers", [[1, 1], [3, 2]])
def test_answers_must_have_steps(answers):
    parts = [Routed(np.array([[[0, 1]], [[1, 2]], [[2, 3]]], np.int16), tuple(range(n))) for n in answers]
    with pytest.raises(EngineError, match="answers of one length, of two tokens or more"):
        independence(join(parts, 4))

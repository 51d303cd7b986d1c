"""Statistics of routing: shares, the test of balance and its false alarms, locality, and captures that hold nothing."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.errors import EngineError
from fixtures.routing import texts
from fixtures.routing.balance import balance, expert_counts, locality, p_values
from fixtures.routing.routing import Routed, Routing, join
from fixtures.studies.expert_kernel.imbalance import Timing, table
from fixtures.studies.expert_kernel.skew import SHARES, draw

pytestmark = pytest.mark.cpu


def joined(parts, experts, answered=5):
    """Prompts of which each was answered by that many tokens."""
    return join([Routed(part, tuple(range(answered))) for part in parts], experts)


def uniform(random, prompts=16, length=64, layers=2, experts=8, k=2, sticky=0.0):
    """Prompts whose tokens choose k distinct experts; with probability ``sticky`` those of the token before."""
    chosen = random.random((prompts, length, layers, experts)).argsort(axis=-1)[..., :k].astype(np.int16)
    keeps = random.random((prompts, length, layers, 1)) < sticky
    for i in range(1, length):
        chosen[:, i] = np.where(keeps[:, i], chosen[:, i - 1], chosen[:, i])
    return joined(list(chosen), experts)


def skewed(random, weights, prompts=16, length=64, k=2):
    """Every token chooses k distinct experts with these weights (Gumbel's trick)."""
    keys = np.log(weights) + random.gumbel(size=(prompts * length, 1, len(weights)))
    chosen = (-keys).argsort(axis=-1)[..., :k].astype(np.int16)
    return joined(list(chosen.reshape(prompts, length, 1, k)), len(weights))


@given(st.integers(0, 10_000), st.integers(2, 12), st.integers(1, 3), st.integers(1, 5))
@settings(max_examples=25)
def test_counts_and_shares_agree_with_counting_one_by_one(seed, experts, layers, prompts):
    random = np.random.default_rng(seed)
    k = int(random.integers(1, experts))
    routing = uniform(random, prompts, 40, layers, experts, k)
    counts = expert_counts(routing)
    for p in range(prompts):
        for layer in range(layers):
            own = routing.chosen[routing.prompt == p][:, layer].ravel().tolist()
            assert counts[p, layer].tolist() == [own.count(e) for e in range(experts)]
    found = balance(routing, permutations=19)
    assert found.shares.sum(axis=1) == pytest.approx(1)
    assert (found.load >= 1 - 1e-12).all()
    assert found.distance == pytest.approx(np.maximum(found.shares - 1 / experts, 0).sum(axis=1), abs=1e-12)


@given(st.integers(0, 10_000))
@settings(max_examples=20)
def test_the_names_of_experts_do_not_matter(seed):
    random = np.random.default_rng(seed)
    routing = uniform(random, 6, 20)
    renamed = Routing(random.permutation(8).astype(np.int16)[routing.chosen], routing.prompt, 8, routing.answers)
    before, after = balance(routing, 19), balance(renamed, 19)
    for name in ("load", "cv", "distance", "same_first", "share_any"):
        assert getattr(after, name) == pytest.approx(getattr(before, name))


def test_known_shares():
    chosen = np.array([[[0, 1]], [[0, 2]], [[0, 1]], [[3, 0]]], dtype=np.int16)
    found = balance(joined([chosen], 4), permutations=19)
    assert found.shares.tolist() == [[0.5, 0.25, 0.125, 0.125]]
    assert (found.load[0], found.distance[0], found.deviation) == (2.0, 0.25, 1.0)
    assert found.cv[0] == pytest.approx(np.std([2, 1, 0.5, 0.5]))
    assert found.p[0] == 1, "one prompt tells nothing"
    assert (found.same_first[0], found.share_any[0]) == (pytest.approx(2 / 3), 1.0)
    assert (found.chance_first, found.chance_any) == (0.25, pytest.approx(1 - 1 / 6))


def test_locality_of_independent_choices_is_chance_and_of_repeated_ones_is_not():
    random = np.random.default_rng(2)
    found = balance(uniform(random, 40, 200), permutations=19)
    assert found.same_first == pytest.approx(found.chance_first, abs=0.015)
    assert found.share_any == pytest.approx(found.chance_any, abs=0.015)
    repeated = balance(uniform(random, 40, 200, sticky=0.3), permutations=19)
    assert repeated.same_first == pytest.approx(0.3 + 0.7 / 8, abs=0.02)
    assert math.isnan(locality(uniform(random, 4, 1))[0][0]), "a token alone follows none"


def test_a_prompt_does_not_follow_the_one_before():
    one = np.array([[[0, 1]], [[2, 3]]], dtype=np.int16)
    assert locality(joined([one, one[::-1].copy()], 4))[0].tolist() == [0.0]


@pytest.mark.parametrize("sticky", [0.0, 0.9])
def test_false_alarms_of_the_balance_test_under_uniform_routing(sticky):
    """Also where the tokens of a prompt repeat each other: a test that takes them for independent fails nearly always."""
    random = np.random.default_rng(4)
    trials = 400
    p = [float(p_values(expert_counts(uniform(random, 12, 40, 1, sticky=sticky)), 499, i)[0]) for i in range(trials)]
    assert np.mean(np.array(p) <= 0.01) <= 0.01 + 2.6 * math.sqrt(0.01 * 0.99 / trials)
    assert np.mean(p) == pytest.approx(0.5, abs=0.06)


def test_imbalance_is_found_and_named_by_layer():
    random = np.random.default_rng(5)
    even, uneven = uniform(random, 24, 100, 1), skewed(random, np.array([2.0, 1, 1, 1, 1, 1, 1, 1]), 24, 100)
    both = Routing(np.concatenate([even.chosen, uneven.chosen, even.chosen], axis=1), even.prompt, 8, even.answers)
    found = balance(both)
    assert found.unbalanced() == [1]
    assert found.p[1] == 1 / 2000
    assert found.load[1] > 1.4
    assert found.deviation > 0.4


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        (np.zeros((0, 2, 2)), "no token"),
        (np.zeros((5, 2, 2)), "recorded nothing"),
        (np.full((5, 2, 2), [0, 9]), "expert numbers 0 to 9, the model has experts 0 to 7"),
        (np.array([[[0, 1]], [[3, 3]]]), "token 1 chose an expert of layer 0 twice"),
        (np.array([[[0, 1], [2, 3]], [[4, 5], [3, 2]]]), "all 2 tokens chose the same experts in layer 1"),
    ],
)
def test_a_capture_that_holds_nothing_is_refused(chosen, message):
    with pytest.raises(EngineError, match=message):
        joined([chosen.astype(np.int16)], 8)


def test_parts_of_different_shape_are_refused():
    with pytest.raises(EngineError, match="differ in layers or choices"):
        joined([np.ones((1, 2, 2), np.int16), np.ones((1, 3, 2), np.int16)], 8)


@given(st.lists(st.floats(0, 1), min_size=3, max_size=10), st.integers(1, 3), st.integers(0, 1000))
@settings(max_examples=30)
def test_drawn_choices_are_distinct_and_have_the_shares_that_were_asked_for(weights, k, seed):
    shares = np.array(weights) + 0.01
    shares /= shares.sum()
    for _ in range(50):  # what is above 1/k goes to the others
        shares = np.minimum(shares, 1 / k)
        shares[shares < 1 / k] *= (1 - (shares == 1 / k).sum() / k) / max(shares[shares < 1 / k].sum(), 1e-12)
    shares /= shares.sum()
    chosen = draw(shares, 4000, k, np.random.default_rng(seed))
    assert all(len(set(token)) == k for token in chosen[:200].tolist())
    found = np.bincount(chosen.ravel(), minlength=len(shares)) / chosen.size
    assert np.abs(found - shares).max() < 5 * math.sqrt(0.25 / len(chosen))


@pytest.mark.parametrize("name", SHARES)
def test_the_ways_of_routing_that_are_timed_can_be_drawn(name):
    shares = np.array(SHARES[name])
    assert shares.sum() == pytest.approx(1)
    assert (draw(shares, 1000, 2, np.random.default_rng(0)) < 8).all()


@pytest.mark.parametrize("shares", [[0.6, 0.4], [0.5, 0.4], [1.2, -0.2]])
def test_shares_that_no_distinct_choices_give_are_refused(shares):
    with pytest.raises(ValueError, match="add up to 1"):
        draw(np.array(shares), 10, 2, np.random.default_rng(0))


def test_timings_are_set_beside_those_of_balanced_routing_round_by_round():
    # The card slows down by half from the second round on: that is no difference between the cases.
    timings = [
        Timing("balanced", 8, 7, 1.5, (2e-4, 3e-4, 3e-4)),
        Timing("collapsed", 8, 2, 4.0, (1e-4, 1.5e-4, 1.2e-4)),
    ]
    _, _, own = table(timings).splitlines()[1:]
    assert own.split() == ["8", "collapsed", "2", "4.00", "x", "120", "us", "-50.0%", "-60.0%", "to", "-50.0%"]


def test_passages_that_are_held_out_are_never_trained_on():
    trained, held_out = texts.passages(held_out=False), texts.passages(held_out=True)
    assert len(trained) + len(held_out) == len(texts.passages())
    assert len(trained) > len(held_out) > 40
    assert not set(trained) & set(held_out)
    assert {len(text) <= texts.PASSAGE for text in trained} == {True}


def test_a_sample_of_passages_is_held_out_and_always_the_same():
    chosen = texts.sample(20)
    assert chosen == texts.sample(20) != texts.sample(20, seed=1)
    assert len(set(chosen)) == 20
    assert set(chosen) <= set(texts.passages(held_out=True))
    with pytest.raises(ValueError, match="larger than population"):
        texts.sample(10**6)

"""What GPUs exchange: counted call by call, and expected values by enumeration of every choice of experts."""

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.analytical import communication
from fixtures.analytical.parallel import Parallel
from perf_tests.analytical.models import LLAMA_8B, LLAMA_70B, MIXTRAL
from perf_tests.analytical.strategies import DENSE, SPARSE, architectures, parallels

pytestmark = pytest.mark.cpu


@given(architectures())
@settings(max_examples=50)
def test_a_single_gpu_communicates_nothing(architecture):
    assert communication.all_reduces(architecture, Parallel()) == 0
    assert communication.bytes_per_token(architecture, Parallel()) == 0


@given(architectures(), st.data())
@settings(max_examples=50)
def test_two_all_reduces_per_layer_however_many_experts_it_has(architecture, data):
    parallel = data.draw(parallels(architecture))
    calls = 0
    for layer in architecture.layers:
        combined = layer.sparse and parallel.ep > parallel.tp
        calls += 0 if parallel.tp == 1 else 1 if combined else 2
    exchanges = sum(2 for layer in architecture.layers if layer.sparse and parallel.ep > parallel.tp)
    assert communication.all_reduces(architecture, parallel) == calls
    assert communication.collectives(architecture, parallel) == calls + exchanges
    payload = calls * architecture.hidden_size * 2
    assert communication.all_reduce_bytes_per_token(architecture, parallel) == payload


@given(architectures(DENSE), st.data())
@settings(max_examples=30)
def test_a_dense_model_only_reduces(architecture, data):
    parallel = data.draw(parallels(architecture))
    assert communication.all_to_all_bytes_per_token(architecture, parallel) == 0
    assert communication.bytes_per_token(architecture, parallel) == communication.all_reduce_bytes_per_token(
        architecture, parallel
    )


def test_known_payloads():
    assert communication.bytes_per_token(MIXTRAL, Parallel(2)) == 2 * 32 * 4096 * 2 == 524288
    assert communication.bytes_per_token(LLAMA_8B, Parallel(2)) == 524288
    assert communication.bytes_per_token(LLAMA_70B, Parallel(8)) == 2 * 80 * 8192 * 2
    # Replicated attention, four experts on each of two ranks: the other one is needed unless both are at home.
    away = 1 - (4 / 8) * (3 / 7)
    assert communication.bytes_per_token(MIXTRAL, Parallel(1, 2)) == pytest.approx(32 * 2 * away * 8192)
    # Tensor-parallel attention leaves each token on both: nothing is sent but what is reduced.
    assert communication.bytes_per_token(MIXTRAL, Parallel(2, 2)) == 524288
    # Of four GPUs two have each copy of the attention: its all-reduce, and tokens that travel.
    elsewhere = communication.remote_ranks(8, 2, 4)
    assert communication.bytes_per_token(MIXTRAL, Parallel(2, 4)) == pytest.approx(32 * 8192 * (1 + 2 * elsewhere))


def rank_sets(experts, top_k, ep):
    """Of every choice of experts: the ranks, other than the first, of each chosen one."""
    for chosen in combinations(range(experts), top_k):
        yield [rank for expert in chosen if (rank := expert // (experts // ep))]


@pytest.mark.parametrize(
    ("experts", "ep"), [(4, 1), (4, 2), (4, 4), (6, 2), (6, 3), (8, 2), (8, 4), (8, 8), (12, 3), (12, 4)]
)
def test_remote_ranks_and_experts_by_enumeration(experts, ep):
    for top_k in range(1, min(experts, 6) + 1):
        choices = list(rank_sets(experts, top_k, ep))
        ranks = sum(len(set(remote)) for remote in choices) / len(choices)
        remote = sum(len(remote) for remote in choices) / len(choices)
        assert communication.remote_ranks(experts, top_k, ep) == pytest.approx(ranks)
        assert communication.remote_experts(top_k, ep) == pytest.approx(remote)


@given(architectures(SPARSE), st.data())
@settings(max_examples=50)
def test_deduplication_saves_unless_every_rank_has_one_expert(architecture, data):
    parallel = data.draw(parallels(architecture))
    once = communication.all_to_all_bytes_per_token(architecture, parallel)
    each = communication.all_to_all_bytes_per_token(architecture, parallel, deduplicated=False)
    vector = architecture.hidden_size * 2
    layers = architecture.sparse_layers
    if not parallel.dispatches:
        assert once == each == 0
        return
    assert once <= each * (1 + 1e-12)
    assert each == pytest.approx(sum(2 * layer.top_k for layer in layers) * vector * (1 - 1 / parallel.ep))
    assert once <= 2 * len(layers) * (parallel.ep - 1) * vector * (1 + 1e-12)
    if all(layer.experts == parallel.ep or layer.top_k == 1 for layer in layers):
        assert once == pytest.approx(each)


@given(st.sampled_from((8, 16, 64, 128)), st.integers(1, 8), st.sampled_from((2, 4, 8)))
@settings(max_examples=50)
def test_more_ranks_and_more_experts_travel_further(experts, top_k, ep):
    ranks = communication.remote_ranks(experts, top_k, ep)
    assert communication.remote_ranks(experts, top_k, ep // 2) < ranks <= min(top_k, ep - 1)
    if top_k > 1:
        assert communication.remote_ranks(experts, top_k - 1, ep) <= ranks

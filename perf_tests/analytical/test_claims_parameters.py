"""Claims about parameters and shapes."""

import dataclasses

import pytest

from fixtures.analytical import memory, parameters
from fixtures.analytical.layer import Layer
from fixtures.analytical.parallel import Parallel
from fixtures.analytical.precision import precision
from fixtures.models.model import Model
from perf_tests.analytical.models import LLAMA_8B, LLAMA_70B, MIXTRAL

pytestmark = pytest.mark.cpu

BF16 = precision("bf16")
LAYER = MIXTRAL.layers[0]
EXPERT_STACK = sum(parameters.expert(MIXTRAL, layer) for layer in MIXTRAL.layers)
SHARED = parameters.total(MIXTRAL) - LAYER.experts * EXPERT_STACK


def dense_twin():
    """Mixtral with a dense MLP as wide as the experts of a token together."""
    dense = Layer(mlp_size=LAYER.top_k * LAYER.expert_size)
    return dataclasses.replace(MIXTRAL, layers=(dense,) * len(MIXTRAL.layers))


@pytest.mark.parametrize(
    "count",
    [
        pytest.param(parameters.total(MIXTRAL), marks=pytest.mark.claim("mixtral-parameters")),
        pytest.param(parameters.active(MIXTRAL), marks=pytest.mark.claim("mixtral-active")),
        pytest.param(parameters.active(MIXTRAL), marks=pytest.mark.claim("mixtral-active-13b")),
        pytest.param(parameters.active(LLAMA_70B), marks=pytest.mark.claim("llama-70b-active")),
    ],
    ids=("mixtral", "mixtral-active", "mixtral-active-rounded", "llama-70b-active"),
)
def test_parameters(claim, count):
    assert claim.admits(count / 1e9)


@pytest.mark.parametrize(
    "shape",
    [
        pytest.param(len(MIXTRAL.sparse_layers), marks=pytest.mark.claim("mixtral-layers")),
        pytest.param(LAYER.experts, marks=pytest.mark.claim("mixtral-experts")),
        pytest.param(LAYER.top_k, marks=pytest.mark.claim("mixtral-top-k")),
    ],
    ids=("layers", "experts", "top-k"),
)
def test_shape(claim, shape):
    assert claim.admits(shape)
    assert set(MIXTRAL.layers) == {LAYER}, "all layers alike"


@pytest.mark.claim("total-parameter-ratio")
def test_parameter_ratio(claim):
    assert claim.admits(parameters.total(MIXTRAL) / parameters.total(LLAMA_8B))


@pytest.mark.claim("flops-like-dense-13b")
def test_flops_of_a_token(claim):
    multiplied = parameters.active_without_embedding(MIXTRAL)
    assert claim.admits(multiplied / 1e9)
    assert multiplied == pytest.approx(parameters.active_without_embedding(dense_twin()), rel=1e-4)


@pytest.mark.claim("expert-matrices")
def test_expert_matrices(claim):
    matrices = parameters.expert(MIXTRAL, LAYER) / (4096 * 14336)
    assert matrices == 3
    assert not claim.admits(matrices)
    with_two = parameters.total(MIXTRAL) - LAYER.experts * EXPERT_STACK / 3
    assert with_two / 1e9 == pytest.approx(31.7, abs=0.05), "not the 46.7 B that the document counts elsewhere"


@pytest.mark.claim("attention-dense")
def test_only_experts_are_sparse():
    idle = parameters.total(MIXTRAL) - parameters.active(MIXTRAL)
    assert idle == (LAYER.experts - LAYER.top_k) * EXPERT_STACK
    assert parameters.attention_matrices(MIXTRAL) == parameters.attention_matrices(LLAMA_8B)


@pytest.mark.claim("sliding-window")
def test_attention_has_no_window(claim):
    context = Model.load("mixtral-8x7b", "test").config["max_position_embeddings"]
    assert context == 32768
    assert not claim.admits(context)
    near, far = (memory.kv_bytes_read(MIXTRAL, BF16, Parallel(), 1, tokens) for tokens in (4096, context))
    assert far == 8 * near, "with a window of 4096 both would read the same"


@pytest.mark.claim("mixtral-47b")
def test_only_experts_are_replicated(claim):
    assert claim.admits(parameters.total(MIXTRAL) / 1e9)
    eight_models = LAYER.experts * (EXPERT_STACK + SHARED) / 1e9
    assert eight_models > 56
    assert not claim.admits(eight_models)


@pytest.mark.claim("active-derivation")
def test_an_expert_is_not_a_7b_model(claim):
    as_derived = (LAYER.top_k * 7e9 + SHARED) / 1e9
    assert not claim.admits(as_derived), "2 x 7 B and what is shared are the 13 B after all"
    assert as_derived > 15.6
    assert claim.admits((LAYER.top_k * EXPERT_STACK + SHARED) / 1e9), "the sum itself is right"
    per_expert = EXPERT_STACK / 1e9
    assert per_expert == pytest.approx(5.637, rel=1e-3)


@pytest.mark.claim("moe-compute-fraction")
def test_share_of_the_experts_that_compute(claim):
    beside = parameters.layers(MIXTRAL, False) - LAYER.experts * EXPERT_STACK
    used, held = (parameters.layers(MIXTRAL, only_active) - beside for only_active in (True, False))
    assert claim.admits(used / held)
    whole = parameters.active_without_embedding(MIXTRAL) / (parameters.total(MIXTRAL) - parameters.embedding(MIXTRAL))
    assert not claim.admits(whole)
    assert whole == pytest.approx(0.27, abs=0.005)


@pytest.mark.claim("dense-wins-on-memory")
def test_mixtral_takes_less_than_llama_70b_of_both():
    weights, compute = memory.weight_bytes, parameters.active
    assert weights(MIXTRAL, BF16) < weights(LLAMA_70B, BF16), "the trade would need more memory here"
    assert compute(MIXTRAL) < compute(LLAMA_70B)
    twin = dense_twin()
    assert weights(MIXTRAL, BF16) > 3 * weights(twin, BF16), "against as much compute there is such a trade"
    assert compute(MIXTRAL) == pytest.approx(compute(twin), rel=1e-3)

"""Claims about bytes: of weights, of the KV cache, of cards."""

import pytest

from fixtures.analytical import memory, parameters
from fixtures.analytical.hardware import gpu, hardware
from fixtures.analytical.parallel import Parallel
from fixtures.analytical.precision import precision
from fixtures.claims.ledger import ledger
from perf_tests.analytical.models import LLAMA_8B, LLAMA_70B, MIXTRAL

pytestmark = pytest.mark.cpu

BF16 = precision("bf16")
UTILIZATION = 0.9
RESERVE = hardware().reserve_bytes.value
TP2, EP2, REPLICATED_EP2 = Parallel(2), Parallel(2, 2), Parallel(1, 2)


def weights(architecture, dtype=BF16):
    return memory.weight_bytes(architecture, dtype) / 1e9


def card(name):
    return gpu(name).memory_bytes.value


def kv_tokens(architecture, parallel, name="h100", dtype=BF16):
    return memory.kv_tokens(architecture, dtype, parallel, card(name), UTILIZATION, RESERVE)


@pytest.mark.claim("mixtral-weights")
def test_mixtral_weights(claim):
    assert claim.admits(weights(MIXTRAL))
    assert weights(MIXTRAL) == pytest.approx(93.41, rel=1e-4)


@pytest.mark.parametrize(
    "gigabytes",
    [
        pytest.param(weights(MIXTRAL), marks=pytest.mark.claim("mixtral-weights-product")),
        pytest.param(weights(MIXTRAL), marks=pytest.mark.claim("mixtral-94-gb")),
        pytest.param(weights(LLAMA_8B), marks=pytest.mark.claim("llama-weights")),
        pytest.param(weights(LLAMA_70B), marks=pytest.mark.claim("llama-70b-weights")),
        pytest.param(weights(LLAMA_70B) - weights(MIXTRAL), marks=pytest.mark.claim("llama-70b-minus-mixtral")),
    ],
    ids=("mixtral", "mixtral-again", "llama-8b", "llama-70b", "llama-70b-minus-mixtral"),
)
def test_weights(claim, gigabytes):
    assert claim.admits(gigabytes)


@pytest.mark.claim("footprint-ratio")
def test_footprint_ratio(claim):
    assert claim.admits(weights(MIXTRAL) / weights(LLAMA_8B))


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("h100", marks=pytest.mark.claim("h100-memory")),
        pytest.param("h200", marks=pytest.mark.claim("h200-memory")),
    ],
)
def test_a_card_is_named_in_binary_units(claim, name):
    assert claim.admits(card(name) / 2**30)
    assert not claim.admits(card(name) / 1e9)


@pytest.mark.claim("mixtral-exceeds-h100")
def test_mixtral_needs_two_h100():
    assert memory.weight_bytes(MIXTRAL, BF16) > card("h100")
    assert kv_tokens(MIXTRAL, Parallel()) <= 0 < kv_tokens(MIXTRAL, TP2)


@pytest.mark.claim("four-bit-fits")
def test_four_bits_fit_one_card():
    for name in ("awq", "gptq"):
        assert kv_tokens(MIXTRAL, Parallel(), dtype=precision(name)) > 300_000
    assert kv_tokens(MIXTRAL, Parallel(), dtype=precision("fp8")) > 0, "8 bits would do as well"


@pytest.mark.claim("mixtral-half-weights")
def test_mixtral_weights_per_gpu(claim):
    assert claim.admits(memory.weight_bytes_per_gpu(MIXTRAL, BF16, TP2) / 1e9)


@pytest.mark.claim("mixtral-h100-memory")
def test_weights_are_not_all_that_an_engine_takes(claim):
    assert claim.admits(memory.weight_bytes_per_gpu(MIXTRAL, BF16, TP2) / 1e9)
    assert not claim.admits(UTILIZATION * card("h100") / 1e9)


@pytest.mark.claim("startup-memory-metric")
def test_an_engine_fills_the_card_whatever_the_model():
    used, held = [], []
    for architecture in (MIXTRAL, LLAMA_8B):
        held.append(memory.weight_bytes_per_gpu(architecture, BF16, TP2))
        cache = kv_tokens(architecture, TP2) * memory.kv_bytes_per_token_per_gpu(architecture, BF16, TP2)
        used.append(held[-1] + cache + RESERVE)
    assert held[0] > 5 * held[1]
    assert used[0] == pytest.approx(used[1], rel=1e-3), "the metric would tell them apart"
    assert used[0] == pytest.approx(UTILIZATION * card("h100"), rel=1e-3)


@pytest.mark.claim("llama-fits-h100")
def test_llama_fits_one_h100():
    assert weights(LLAMA_8B) * 1e9 < 0.2 * card("h100")
    assert kv_tokens(LLAMA_8B, Parallel()) == pytest.approx(454_000, rel=0.01)


@pytest.mark.claim("experts-all-in-memory")
def test_memory_holds_every_expert_that_a_token_does_not_read():
    read = memory.weight_bytes_read(MIXTRAL, BF16, Parallel(), 1)
    assert memory.weight_bytes(MIXTRAL, BF16) == 2 * parameters.total(MIXTRAL) > 3.5 * read


@pytest.mark.claim("mixtral-headroom")
def test_headroom_of_mixtral(claim):
    cache = kv_tokens(MIXTRAL, TP2) * memory.kv_bytes_per_token(MIXTRAL, BF16)
    assert claim.admits(cache / 1e9)
    assert cache / 1e9 == pytest.approx(57.7, rel=0.01)


@pytest.mark.claim("llama-70b-total")
def test_total_of_llama_70b(claim):
    kv_cache = ledger()["llama-70b-kv"].value
    assert claim.admits(weights(LLAMA_70B) + kv_cache + 2 * RESERVE / 1e9)


@pytest.mark.claim("llama-70b-fits")
def test_llama_70b_leaves_two_h100_little():
    cache = kv_tokens(LLAMA_70B, TP2) * memory.kv_bytes_per_token(LLAMA_70B, BF16) / 1e9
    assert 0 < cache < 0.07 * 2 * card("h100") / 1e9
    assert cache < ledger()["llama-70b-kv"].value


@pytest.mark.claim("ep-half-of-experts")
def test_experts_of_a_gpu(claim):
    layer = MIXTRAL.layers[0]
    expert_bytes = BF16.matrix_bytes * sum(parameters.expert(MIXTRAL, each) for each in MIXTRAL.layers)
    shared = memory.weight_bytes(MIXTRAL, BF16) - layer.experts * expert_bytes
    held = memory.weight_bytes_per_gpu(MIXTRAL, BF16, REPLICATED_EP2) - shared
    assert claim.admits(held / expert_bytes)


@pytest.mark.claim("ep-duplication")
def test_copies_under_expert_parallelism(claim):
    split, copied = (memory.weight_bytes_per_gpu(MIXTRAL, BF16, p) / 1e9 for p in (TP2, REPLICATED_EP2))
    per_gpu = copied - split
    assert per_gpu == pytest.approx(1.60, abs=0.005)
    for extra in (per_gpu, 2 * per_gpu):
        assert not claim.admits(extra)


@pytest.mark.claim("ep-duplication-dominates")
def test_copies_are_a_small_part_of_a_gpu():
    split, copied = (memory.weight_bytes_per_gpu(MIXTRAL, BF16, p) for p in (TP2, REPLICATED_EP2))
    assert copied / split - 1 == pytest.approx(0.034, abs=0.001), "far from dominating"
    assert memory.weight_bytes_per_gpu(MIXTRAL, BF16, EP2) == pytest.approx(split), "with TP attention there are none"

"""Claims about what GPUs exchange, under tensor and under expert parallelism."""

import dataclasses
import json

import numpy as np
import pytest

from fixtures.analytical import communication, step
from fixtures.analytical.architecture import from_config
from fixtures.analytical.hardware import gpu
from fixtures.analytical.moe_forward import Experts, expert
from fixtures.analytical.parallel import Parallel
from fixtures.analytical.precision import precision
from fixtures.analytical.step import Setup
from fixtures.models.model import Model
from fixtures.studies.collectives import trace
from perf_tests.analytical.models import LLAMA_8B, MIXTRAL
from perf_tests.paths import TRACES

pytestmark = pytest.mark.cpu

TP2, EP2, REPLICATED_EP2 = Parallel(2), Parallel(2, 2), Parallel(1, 2)
LAYERS, LAYER = len(MIXTRAL.layers), MIXTRAL.layers[0]
TWIN = from_config(Model.load("mixtral-8x7b-twin", "test").config, "test")


def counted(name):
    """All-reduces of a step, and bytes per token over those of the twin's hidden vector, as vLLM's trace has them."""
    path = TRACES / f"vllm-cpu-{name}.pt.trace.json"
    (found,) = {
        (step.calls("all-reduce"), step.payload("all-reduce") / step.tokens / (2 * TWIN.hidden_size))
        for step in trace.steps(json.loads(path.read_text())["traceEvents"])
    }
    return found


@pytest.mark.claim("tp-all-reduce-per-expert")
def test_all_reduces_do_not_depend_on_experts():
    assert communication.all_reduces(MIXTRAL, TP2) == communication.all_reduces(LLAMA_8B, TP2) == 2 * LAYERS
    more = dataclasses.replace(MIXTRAL, layers=(dataclasses.replace(LAYER, experts=64, top_k=8),) * LAYERS)
    assert communication.all_reduces(more, TP2) == 2 * LAYERS, "one per expert would be more"


@pytest.mark.claim("ep-all-to-all")
def test_only_expert_parallelism_sends_tokens_to_experts():
    """And that only where attention is replicated: else every GPU has each token's hidden vector anyway."""
    for parallel in (TP2, EP2):
        assert communication.all_to_all_bytes_per_token(MIXTRAL, parallel) == 0
    assert communication.all_to_all_bytes_per_token(MIXTRAL, REPLICATED_EP2) / 1024 == pytest.approx(402, abs=0.5)


@pytest.mark.claim("tp-bytes-per-token")
def test_bytes_of_a_token(claim):
    assert claim.admits(communication.bytes_per_token(MIXTRAL, TP2) / 2**10)


@pytest.mark.claim("tp-bytes-per-token")
def test_an_engine_exchanges_the_bytes_of_a_token_and_its_embedding(claim):
    calls, vectors = counted("tp2-rank0")
    assert calls == vectors == 2 * len(TWIN.layers) + 1
    vector = MIXTRAL.hidden_size * 2 / 2**10
    assert claim.admits((vectors - 1) / len(TWIN.layers) * LAYERS * vector)
    assert (2 * LAYERS + 1) * vector == 520


@pytest.mark.claim("ep-bytes-per-token")
@pytest.mark.claim("ep-half-of-tp")
@pytest.mark.claim("ep-removes-sync")
def test_an_engine_exchanges_the_same_with_expert_parallelism_beside_tensor_parallel_attention():
    assert counted("tp2-ep2-rank0") == counted("tp2-rank0")


@pytest.mark.claim("tp-bytes-per-step")
def test_bytes_of_a_step(claim):
    assert claim.admits(8 * communication.bytes_per_token(MIXTRAL, TP2) / 2**20)


@pytest.mark.claim("ep-one-all-to-all")
def test_tokens_go_and_come_back(claim):
    sent = LAYERS * communication.remote_ranks(LAYER.experts, LAYER.top_k, 2) * MIXTRAL.hidden_size * 2
    exchanges = communication.all_to_all_bytes_per_token(MIXTRAL, REPLICATED_EP2) / sent
    assert exchanges == pytest.approx(2)
    assert not claim.admits(exchanges)


@pytest.mark.claim("ep-bytes-per-token")
def test_bytes_of_a_token_under_expert_parallelism(claim):
    for deduplicated, expected in ((True, 402.3), (False, 512)):
        kib = communication.all_to_all_bytes_per_token(MIXTRAL, REPLICATED_EP2, deduplicated) / 2**10
        assert kib == pytest.approx(expected, abs=0.05)
        assert not claim.admits(kib)


@pytest.mark.claim("ep-half-of-tp")
def test_expert_parallelism_does_not_halve_the_bytes(claim):
    tensor = communication.bytes_per_token(MIXTRAL, TP2)
    for parallel, least, most in ((REPLICATED_EP2, 0.79, 1.0), (EP2, 1.0, 1.0)):
        reduced = communication.all_reduce_bytes_per_token(MIXTRAL, parallel)
        for deduplicated, expected in ((True, least), (False, most)):
            exchanged = communication.all_to_all_bytes_per_token(MIXTRAL, parallel, deduplicated)
            ratio = (reduced + exchanged) / tensor
            assert ratio == pytest.approx(expected, abs=0.006)
            assert not claim.admits(ratio)


@pytest.mark.claim("ep-removes-sync")
def test_every_layer_still_waits_twice():
    card = gpu("h200")
    card = dataclasses.replace(card, exchange_seconds=card.all_reduce_seconds)

    def waits(parallel):
        terms = step.decode(Setup(MIXTRAL, card, parallel, precision("bf16")), 1, 64)
        return int(terms.communication / card.all_reduce_seconds.value)

    assert waits(REPLICATED_EP2) == waits(EP2) == waits(TP2) == 2 * LAYERS


@pytest.mark.claim("tp-column-wise")
def test_w2_is_split_by_rows():
    random = np.random.default_rng(0)
    hidden, inner = 6, 8
    whole = Experts(*(random.normal(size=(1, *shape)) for shape in ((inner, hidden), (inner, hidden), (hidden, inner))))
    tokens = random.normal(size=(5, hidden))
    halves = [slice(0, inner // 2), slice(inner // 2, inner)]
    by_rows = [Experts(whole.gate[:, h], whole.up[:, h], whole.down[:, :, h]) for h in halves]
    expected = expert(whole, 0, tokens)
    assert sum(expert(part, 0, tokens) for part in by_rows) == pytest.approx(expected), "what one all-reduce adds up"
    # By columns a GPU has half of the outputs but needs all of the activations, of which it has half.
    halves_out = [slice(0, hidden // 2), slice(hidden // 2, hidden)]
    by_columns = [
        Experts(whole.gate[:, h], whole.up[:, h], whole.down[:, out]) for h, out in zip(halves, halves_out, strict=True)
    ]
    for part in by_columns:
        with pytest.raises(ValueError, match="mismatch"):
            expert(part, 0, tokens)

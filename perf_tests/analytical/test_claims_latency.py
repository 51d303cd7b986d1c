"""Claims about the latency of a batch."""

import dataclasses

import pytest

from fixtures.analytical import memory, parameters, step
from fixtures.analytical.hardware import gpu
from fixtures.analytical.layer import Layer
from fixtures.analytical.parallel import Parallel
from fixtures.analytical.precision import precision
from fixtures.analytical.step import Setup
from fixtures.claims.document import table
from perf_tests.analytical.models import LLAMA_8B, MIXTRAL

pytestmark = pytest.mark.cpu

BF16 = precision("bf16")
TP2 = Parallel(2)
LATENCY, PER_TOKEN, OUTPUT = "latency [s]", "per_token_latency [ms]", "output_throughput [tok/s]"
CONTEXT = 32 + 64 / 2
CARDS = ("h100", "a100-pcie", "h200")


def row(model, card, batch):
    (found,) = table("batch_latency", model=model, gpu=card, batch=batch)
    return found


def setup(architecture, card):
    return Setup(architecture, gpu(card), TP2, BF16)


def growth(card, column):
    return row("llama-3.1-8b", card, 32)[column] / row("llama-3.1-8b", card, 1)[column]


@pytest.mark.parametrize(
    ("model", "card", "batch"),
    [
        pytest.param("mixtral-8x7b", "h200", 1, marks=pytest.mark.claim("latency-mixtral-batch-1")),
        pytest.param("llama-3.1-8b", "h100", 1, marks=pytest.mark.claim("latency-h100-batch-1")),
        pytest.param("llama-3.1-8b", "h100", 8, marks=pytest.mark.claim("latency-h100-batch-8")),
        pytest.param("llama-3.1-8b", "h100", 32, marks=pytest.mark.claim("latency-h100-batch-32")),
        pytest.param("llama-3.1-8b", "a100-pcie", 1, marks=pytest.mark.claim("latency-a100-batch-1")),
        pytest.param("llama-3.1-8b", "a100-pcie", 8, marks=pytest.mark.claim("latency-a100-batch-8")),
        pytest.param("llama-3.1-8b", "a100-pcie", 32, marks=pytest.mark.claim("latency-a100-batch-32")),
        pytest.param("llama-3.1-8b", "h200", 1, marks=pytest.mark.claim("latency-h200-batch-1")),
        pytest.param("llama-3.1-8b", "h200", 8, marks=pytest.mark.claim("latency-h200-batch-8")),
        pytest.param("llama-3.1-8b", "h200", 32, marks=pytest.mark.claim("latency-h200-batch-32")),
    ],
)
def test_a_run_is_consistent(claim, model, card, batch):
    run = row(model, card, batch)
    assert claim.admits(run[LATENCY] / run["output_len [tokens]"] * 1e3)
    assert batch * run["output_len [tokens]"] / run[LATENCY] == pytest.approx(run[OUTPUT], rel=0.002)
    if model == "llama-3.1-8b":
        assert run[OUTPUT] / batch == pytest.approx(run["throughput_per_request [tok/s]"], rel=1e-4)


@pytest.mark.claim("latency-ratio-batch-1")
def test_ratio_at_batch_1(claim):
    moe, dense = (row(model, "h200", 1) for model in ("mixtral-8x7b", "llama-3.1-8b"))
    assert claim.admits(moe[PER_TOKEN] / dense[PER_TOKEN])
    assert claim.admits(dense[OUTPUT] / moe[OUTPUT])


@pytest.mark.parametrize(
    ("card", "column"),
    [
        pytest.param("h100", PER_TOKEN, marks=pytest.mark.claim("latency-growth-h100")),
        pytest.param("h200", PER_TOKEN, marks=pytest.mark.claim("latency-growth-h200")),
        pytest.param("h100", OUTPUT, marks=pytest.mark.claim("throughput-growth-h100")),
        pytest.param("h200", OUTPUT, marks=pytest.mark.claim("throughput-growth-h200")),
    ],
)
def test_growth_along_the_batch(claim, card, column):
    assert claim.admits(growth(card, column))


@pytest.mark.claim("gap-narrows-by-flops")
def test_flops_take_no_time_at_batch_1():
    card = setup(MIXTRAL, "h200")
    compute = 2 * parameters.active_without_embedding(MIXTRAL) / (2 * card.gpu.bf16_flops.value)
    assert compute < 0.01 * step.hbm_floor(card, 1, CONTEXT) < 0.01 * step.decode(card, 1, CONTEXT).total
    read = memory.weight_bytes_read(MIXTRAL, BF16, TP2, 1) / memory.weight_bytes_read(LLAMA_8B, BF16, TP2, 1)
    ratio = step.decode(card, 1, CONTEXT).total / step.decode(setup(LLAMA_8B, "h200"), 1, CONTEXT).total
    assert ratio == pytest.approx(read, rel=0.1), "the bytes say what the gap is"


@pytest.mark.claim("gap-toward-3.6")
def test_the_gap_passes_3_6_and_narrows_again(claim):
    gaps = {
        batch: step.decode(setup(MIXTRAL, "h200"), batch, CONTEXT).total
        / step.decode(setup(LLAMA_8B, "h200"), batch, CONTEXT).total
        for batch in (1, 2, 4, 8, 16, 32, 64, 128, 256)
    }
    assert gaps[8] > claim.value > gaps[4]
    assert not claim.admits(max(gaps.values()))
    assert not claim.admits(gaps[256])
    assert gaps[256] < gaps[128] < gaps[32]


@pytest.mark.claim("decode-memory-bound")
def test_reading_is_a_third_of_a_token():
    for card, share in zip(CARDS, (0.32, 0.29, 0.27), strict=True):
        seconds = row("llama-3.1-8b", card, 1)[PER_TOKEN] / 1e3
        assert step.hbm_floor(setup(LLAMA_8B, card), 1, CONTEXT) / seconds == pytest.approx(share, abs=0.006)
    faster = row("llama-3.1-8b", "h100", 1)[PER_TOKEN] / row("llama-3.1-8b", "h200", 1)[PER_TOKEN]
    bandwidth = gpu("h200").hbm_bandwidth.value / gpu("h100").hbm_bandwidth.value
    assert faster - 1 < 0.5 * (bandwidth - 1)


@pytest.mark.claim("weights-read-once")
def test_only_dense_weights_are_read_once():
    def read(architecture, batch):
        return memory.weight_bytes_read(architecture, BF16, Parallel(), batch)

    for batch in (8, 32, 256):
        assert read(LLAMA_8B, batch) == pytest.approx(read(LLAMA_8B, 1), rel=1e-3)
    assert read(MIXTRAL, 32) > 3.5 * read(MIXTRAL, 1)


@pytest.mark.claim("batching-free")
def test_batching_costs_what_the_host_adds():
    for card in CARDS:
        slow, fast = (row("llama-3.1-8b", card, batch)[PER_TOKEN] / 1e3 for batch in (32, 1))
        more, one = (step.decode(setup(LLAMA_8B, card), batch, CONTEXT).total for batch in (32, 1))
        assert growth(card, PER_TOKEN) > 1.2, "the first of its statements"
        reads = [step.hbm_floor(setup(LLAMA_8B, card), batch, CONTEXT) for batch in (1, 32)]
        assert reads[1] / reads[0] < 1.02, "what it would grow by if only reads counted"
        assert slow - fast > 4 * (more - one)


@pytest.mark.claim("ttft-active-only")
def test_short_prompts_wait_for_every_expert():
    layer = MIXTRAL.layers[0]
    dense = Layer(mlp_size=layer.top_k * layer.expert_size)
    twin = dataclasses.replace(MIXTRAL, layers=(dense,) * len(MIXTRAL.layers))
    assert parameters.active(twin) == pytest.approx(parameters.active(MIXTRAL), rel=1e-3)

    def ratio(length):
        return (
            step.prefill(setup(MIXTRAL, "h200"), 1, length).total / step.prefill(setup(twin, "h200"), 1, length).total
        )

    assert ratio(32) > 2.5, "1 if only what is activated mattered"
    assert ratio(2048) < 1.4, "long prompts are bound by compute"

"""One forward pass on the device: term by term by hand, its limits, and what makes it slower or faster."""

import dataclasses
import math

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fixtures.analytical import step
from fixtures.analytical.architecture import Architecture
from fixtures.analytical.coverage import busiest_experts
from fixtures.analytical.hardware import hardware
from fixtures.analytical.layer import Layer
from fixtures.analytical.parallel import Parallel
from fixtures.analytical.precision import PRECISIONS, precision
from fixtures.analytical.step import Setup
from perf_tests.analytical.models import LLAMA_8B, LLAMA_70B, MIXTRAL
from perf_tests.analytical.strategies import DENSE, EFFICIENCIES, GPUS, faster, figure, plain_gpu, setups

pytestmark = pytest.mark.cpu

BF16 = precision("bf16")
MORE = 1 + 1e-9
# Where weights are unpacked more tokens may take so much less time at most: larger tiles are fewer, and each unpacks all.
FEWER_TILES = 1 / 0.85
RATES = ("hbm_bandwidth", "bf16_flops", "fp8_flops", "fp32_flops", "link_bandwidth")
OVERHEADS = (
    "kernel_seconds",
    "quantise_seconds",
    "moe_seconds",
    "moe_column_seconds",
    "moe_unpack_seconds",
    "moe_unpack_weight_seconds",
    "moe_unpack_scale_seconds",
    "moe_whole_seconds",
    "attention_seconds",
    "attention_sequence_seconds",
    "latent_seconds",
    "all_reduce_seconds",
    "exchange_seconds",
)

batches = st.integers(1, 300)
contexts = st.integers(1, 20_000)

# Two heads, one KV head of 8; a dense layer, and a sparse one with a shared expert. Small enough to count by hand.
TINY = Architecture("qwen2_moe", 16, 2, 1, 8, 100, (Layer(24), Layer(40, 4, 2, 32)), False, shared_gate=True)
# Quantities per GPU of TINY, and a card on which each of its figures counts.
CARD = plain_gpu(
    hbm_bandwidth=1000.0,
    bf16_flops=4000.0,
    fp8_flops=9000.0,
    link_bandwidth=50.0,
    kernel_seconds=0.125,
    quantise_seconds=0.03,
    gemm_bandwidth=0.5,
    gemm_compute=0.25,
    moe_seconds=0.75,
    moe_bandwidth=0.4,
    moe_column_seconds=0.002,
    moe_compute=0.2,
    moe_unpack_seconds=0.05,
    moe_unpack_weight_seconds=1e-4,
    moe_unpack_scale_seconds=2e-3,
    moe_unpack_compute=0.15,
    moe_whole_seconds=0.4,
    moe_whole_compute=0.25,
    attention_seconds=0.3,
    attention_sequence_seconds=0.01,
    attention_bandwidth=0.8,
    attention_compute=0.1,
    all_reduce_seconds=0.2,
    exchange_seconds=0.7,
    all_reduce_bandwidth=0.6,
    large_all_reduce_bandwidth=0.9,
)


def product(weights, rows, weight_bytes=2, flops=4000.0):
    """A matrix product on CARD."""
    return 0.125 + math.hypot(weights * weight_bytes / 500, 2 * rows * weights / (flops * 0.25))


def between(rows, tp=1):
    """Norms, rotation and SwiGLU of TINY's two layers on CARD: two norms each, whose inputs, residuals and results are 16 wide;
    two heads and a KV head of 8, in and out; gate, up and their product of 24 and 40.
    """
    values = sum(2 * 4 * 16 + 2 * (16 / tp + 8) + 3 * size / tp for size in (24, 40))
    return rows * values * 2 / 500


def read(touched, size=32, hidden=16, weight_bytes=2):
    """Reading experts on CARD: their three matrices, and a start for each of their columns."""
    return touched * (3 * hidden * size * weight_bytes / 400 + 0.002 * (2 * size + hidden))


def more(setup):
    """What a step may take more than one of more tokens."""
    return FEWER_TILES if setup.unpacks else MORE


def test_a_decode_step_by_hand():
    terms = step.decode(Setup(TINY, CARD, Parallel(), BF16), 3, 50)
    rows = 4  # three sequences are padded to four
    sizes = [16 * 32, 16 * 16, 2 * 16 * 24, 16 * 24, 16 * 32, 16 * 16, 2 * 16 * 40, 16 * 40, 16 * 4 + 16, 16 * 100]
    assert terms.dense == pytest.approx(sum(product(size, rows) for size in sizes) + between(rows))
    expert, touched = 3 * 16 * 32, 4 * (1 - 0.5**rows)
    assert terms.experts == pytest.approx(0.75 + math.hypot(read(touched), 2 * rows * 2 * expert / (4000 * 0.2)))
    keys_and_values = 3 * 50 * 2 * 2 * 8 * 2
    assert terms.attention == pytest.approx(2 * (0.3 + 0.01 * 3) + keys_and_values / 800)
    assert terms.communication == terms.host == 0
    assert terms.total == terms.device == terms.dense + terms.experts + terms.attention


def test_padding_that_is_not_routed_chooses_no_experts():
    """Of five sequences in a graph for eight: products have eight rows, and five tokens choose experts."""
    setup = Setup(TINY, CARD, Parallel(), BF16)
    routed, masked = (step.decode(setup, 5, 50, routes_padding=routes) for routes in (True, False))
    expert = 3 * 16 * 32
    for terms, tokens in ((routed, 8), (masked, 5)):
        computed = 2 * tokens * 2 * expert / (4000 * 0.2)
        assert terms.experts == pytest.approx(0.75 + math.hypot(read(4 * (1 - 0.5**tokens)), computed))
    assert dataclasses.replace(masked, experts=routed.experts) == routed
    # On two copies of the attention three and two sequences are padded to four each.
    both = Setup(TINY, CARD, Parallel(1, 2, 2), BF16)
    assert step.decode(both, 5, 50, routes_padding=False).experts < step.decode(both, 5, 50).experts
    assert step.decode(both, 5, 50).experts == step.decode(both, 8, 50).experts


def test_a_prefill_by_hand():
    terms = step.prefill(Setup(TINY, CARD, Parallel(), BF16), 2, 10)
    layers = [16 * 32, 16 * 16, 2 * 16 * 24, 16 * 24, 16 * 32, 16 * 16, 2 * 16 * 40, 16 * 40, 16 * 4 + 16]
    head = product(16 * 100, 2)  # only the last token of each prompt
    assert terms.dense == pytest.approx(sum(product(size, 20) for size in layers) + head + between(20))
    computed = 2 * 20 * 2 * 1536 / (4000 * 0.2)
    assert terms.experts == pytest.approx(0.75 + math.hypot(read(4 * (1 - 0.5**20)), computed))
    # Queries times keys and scores times values, 2 heads of 8, half of 10 x 10 positions, two prompts.
    flops = 2 * 2 * 2 * 8 * (10 * 10 / 2) * 2
    assert terms.attention == pytest.approx(2 * (0.3 + flops / (4000 * 0.1)))


def test_tensor_parallelism_by_hand():
    terms = step.decode(Setup(TINY, CARD, Parallel(2), BF16), 1, 50)
    # The one KV head is on both GPUs, the router too; everything else is halved.
    sizes = [16 * 24, 16 * 8, 16 * 24, 8 * 24, 16 * 24, 16 * 8, 16 * 40, 8 * 40, 16 * 4 + 16, 8 * 100]
    assert terms.dense == pytest.approx(sum(product(size, 1) for size in sizes) + between(1, 2))
    # Of each expert's gate and up a card has half the columns, of what brings them back all.
    assert terms.experts == pytest.approx(0.75 + math.hypot(read(2, 16), 2 * 2 * 768 / 800))
    assert terms.attention == pytest.approx(2 * (0.3 + 0.01) + 50 * 2 * 2 * 8 * 2 / 800)
    # Four all-reduces of 16 bf16 values; a ring of two moves each once per GPU.
    assert terms.communication == pytest.approx(4 * 0.2 + 4 * 32 * 2 * 0.5 / (50 * 0.6))
    four = step.decode(Setup(dataclasses.replace(TINY, heads=4), CARD, Parallel(4), BF16), 1, 50)
    assert four.communication == pytest.approx(4 * 0.2 + 4 * 32 * 2 * 0.75 / 30)


def test_expert_parallelism_by_hand():
    terms = step.decode(Setup(TINY, CARD, Parallel(1, 2), BF16), 8, 50)
    # Each GPU has its own four sequences, and half of the experts for all eight.
    sizes = [16 * 32, 16 * 16, 2 * 16 * 24, 16 * 24, 16 * 32, 16 * 16, 2 * 16 * 40, 16 * 40, 16 * 4 + 16, 16 * 100]
    assert terms.dense == pytest.approx(sum(product(size, 4) for size in sizes) + between(4))
    # The busiest GPU reads a little more than half of those that are touched.
    touched = busiest_experts(4, 2, 8, 2)
    assert 4 * (1 - 0.5**8) / 2 < touched < 2
    # And multiplies a tile of 16 rows for each of its two, of which their eight choices fill half: by kernels that are not made
    # for whole experts. CARD has one multiprocessor; of four the other two have nothing to do.
    rows = 2 * 16
    assert terms.experts == pytest.approx(0.75 + 0.4 + math.hypot(read(touched), 2 * rows * 1536 / 1000))
    idle = Setup(TINY, dataclasses.replace(CARD, multiprocessors=figure(4.0)), Parallel(1, 2), BF16)
    assert step.decode(idle, 8, 50).experts == pytest.approx(
        1.15 + math.hypot(read(touched), 2 * 2 * rows * 1536 / 1000)
    )
    assert terms.attention == pytest.approx(2 * (0.3 + 0.01 * 4) + 4 * 50 * 2 * 2 * 8 * 2 / 800)
    # A dispatch and a combine, of 4 vectors of 32 bytes, to the other rank unless both experts are at home (1 of 6).
    assert terms.communication == pytest.approx(2 * 0.7 + 4 * 2 * 32 * (5 / 6) / 30)
    assert step.decode(Setup(TINY, CARD, Parallel(1, 2, 2), BF16), 8, 50) == terms
    # Of seven sequences one copy has four, and the other waits for it.
    assert step.decode(Setup(TINY, CARD, Parallel(1, 2, 2), BF16), 7, 50) == terms
    both = step.decode(Setup(TINY, CARD, Parallel(2, 2), BF16), 8, 50)
    # Attention is split: both have all tokens, and reduce as without expert parallelism.
    assert both.communication == pytest.approx(4 * 0.2 + 8 * 4 * 32 / 30)


def test_precisions_by_hand():
    fp8 = step.decode(Setup(TINY, CARD, Parallel(), precision("fp8")), 1, 50)
    matrices = [16 * 32, 16 * 16, 2 * 16 * 24, 16 * 24, 16 * 32, 16 * 16, 2 * 16 * 40, 16 * 40]
    rest = [16 * 4 + 16, 16 * 100]
    quick = sum(product(size, 1, 1, 9000.0) + 0.03 for size in matrices)
    assert fp8.dense == pytest.approx(quick + sum(product(size, 1) for size in rest) + between(1))
    assert fp8.experts == pytest.approx(
        0.75 + 2 * 0.03 + math.hypot(read(2, weight_bytes=1), 2 * 2 * 1536 / (9000 * 0.2))
    )
    awq = step.decode(Setup(TINY, CARD, Parallel(), precision("awq")), 1, 50)
    packed = sum(product(size, 1, 4.15625 / 8) for size in matrices)
    assert awq.dense == pytest.approx(packed + sum(product(size, 1) for size in rest) + between(1))
    assert awq.attention == fp8.attention


@pytest.mark.parametrize(
    ("tokens", "rows", "tiles"),
    # Every other token chooses an expert: 14 of 28 leave a tenth of 16 rows, 15 of 30 don't, and 64 rows are the most.
    [(1, 8, 1.0), (28, 16, 1.1725), (30, 32, 1.0), (400, 64, 3.7734)],
)
def test_weights_are_unpacked_by_every_tile(tokens, rows, tiles):
    """Sizes are rounded up to 256 and 128; two bytes in four are read meanwhile, which takes less time here."""
    setup, touched = Setup(TINY, CARD, Parallel(), precision("awq")), 4 * (1 - 0.5**tokens)
    weights, columns = 3 * 256 * 128, 2 * 128 + 256
    each = 1e-4 + 2e-3 / 128 + 2 * rows / (4000 * 0.15)
    expected = 0.75 + 0.05 + touched * tiles * (columns * 0.002 + weights * each)
    assert step.expert_kernel(setup, TINY.layers[1], tokens, touched) == pytest.approx(expected, rel=3e-3)


def test_as_many_tokens_for_each_expert_fill_as_few_tiles_as_they_can():
    setup = Setup(TINY, CARD, Parallel(), precision("awq"))
    even, drawn = (step.expert_kernel(setup, TINY.layers[1], 28, 4.0, even=even) for even in (True, False))
    assert even < drawn


def test_reading_takes_as_long_as_it_does_where_unpacking_is_quicker():
    quick = dataclasses.replace(CARD, **{f"moe_unpack_{n}_seconds": figure(0.0) for n in ("weight", "scale")})
    quick = dataclasses.replace(quick, bf16_flops=figure(1e12))
    setup = Setup(TINY, quick, Parallel(), precision("awq"))
    bytes_ = 2 * 3 * 256 * 128 * 4.15625 / 8
    expected = 0.8 + 2 * (2 * 128 + 256) * 0.002 + bytes_ / 400
    assert step.expert_kernel(setup, TINY.layers[1], 1, 2.0) == pytest.approx(expected)


def test_long_products_keep_less_of_their_rate():
    """All of it up to 2,048 rows, half of what they lose at 4,096, and no less than that of 8,192 beyond."""
    held_back = dataclasses.replace(CARD, sustained_compute=figure(0.6))
    for rows, kept in ((2047, 1.0), (2048, 1.0), (4096, 0.8), (8192, 0.6), (16384, 0.6)):
        plain, held = (step.prefill(Setup(TINY, card, Parallel(), BF16), 1, rows) for card in (CARD, held_back))
        sizes = [16 * 32, 16 * 16, 2 * 16 * 24, 16 * 24, 16 * 32, 16 * 16, 2 * 16 * 40, 16 * 40, 16 * 4 + 16]
        products = sum(product(size, rows, flops=4000.0 * kept) for size in sizes)
        assert held.dense == pytest.approx(products + product(16 * 100, 1) + between(rows))
        assert held.experts == pytest.approx(0.75 + math.hypot(read(4), 2 * rows * 2 * 1536 / (4000 * 0.2 * kept)))
        assert (held.attention, held.communication) == (plain.attention, plain.communication)
        assert (held == plain) == (kept == 1)


def test_an_all_reduce_beyond_8_mib_is_another_kernels():
    """262,144 tokens of 32 bytes are 8 MiB."""
    setup = Setup(TINY, CARD, Parallel(2), BF16)
    for tokens, share in ((2**18, 0.6), (2**18 + 1, 0.9)):
        communicated = step.prefill(setup, 1, tokens).communication
        assert communicated == pytest.approx(4 * 0.2 + 4 * 32 * tokens * 2 * 0.5 / (50 * share))


@pytest.mark.parametrize(
    ("sequences", "rows"), [(1, 1), (2, 2), (3, 4), (4, 4), (5, 8), (8, 8), (9, 16), (16, 16), (17, 24), (249, 256)]
)
def test_batches_are_padded_to_cuda_graphs(sequences, rows):
    assert step.padded(sequences) == rows


@given(setups(), batches, st.integers(1, 5000))
@settings(max_examples=50)
def test_padding_costs_as_much_as_the_sequences_it_stands_for_but_for_their_attention(setup, sequences, context):
    assume(sequences >= setup.parallel.replicas)  # the padding of a copy without a sequence chooses no experts
    short = step.decode(setup, sequences, context)
    full = step.decode(setup, step.padded(sequences), context)
    assert (short.dense, short.experts, short.communication) == (full.dense, full.experts, full.communication)
    assert short.attention <= full.attention


@given(setups(), batches, contexts)
@settings(max_examples=50)
def test_padding_that_is_not_routed_costs_no_more_than_if_it_were(setup, sequences, context):
    """As much in a full graph, else less by what it would have read; never less than a smaller batch."""
    routed, masked = (step.decode(setup, sequences, context, routes) for routes in (True, False))
    assert (masked.dense, masked.attention, masked.communication) == (
        routed.dense,
        routed.attention,
        routed.communication,
    )
    assert masked.experts <= routed.experts * more(setup)
    if sequences == setup.parallel.replicas * step.padded(math.ceil(sequences / setup.parallel.replicas)):
        assert masked == routed
    assert step.decode(setup, sequences + 1, context, False).total * more(setup) >= masked.total
    assert step.hbm_floor(setup, sequences, context) <= masked.device * MORE


@given(setups(), batches, st.integers(0, 50), contexts, st.integers(0, 5000))
@settings(max_examples=60)
def test_a_step_never_gets_faster_with_more_sequences_or_context(setup, sequences, others, context, longer):
    before = step.decode(setup, sequences, context).total
    assert step.decode(setup, sequences + others, context).total * more(setup) >= before
    assert step.decode(setup, sequences, context + longer).total * MORE >= before
    for windowed in (0, 1000):
        layers = tuple(dataclasses.replace(layer, window=windowed) for layer in setup.architecture.layers)
        case = dataclasses.replace(setup, architecture=dataclasses.replace(setup.architecture, layers=layers))
        assert (
            step.decode(case, sequences, context + longer).total * MORE >= step.decode(case, sequences, context).total
        )
        assert step.prefill(case, 2, context + longer).total * more(setup) >= step.prefill(case, 1, context).total


@given(setups(), batches, contexts, st.sampled_from(RATES + EFFICIENCIES), st.floats(1, 100))
@settings(max_examples=60)
def test_a_faster_card_is_never_slower(setup, sequences, context, name, factor):
    better = dataclasses.replace(setup, gpu=faster(setup.gpu, factor, name))
    for run in (step.decode, step.prefill):
        assert run(better, sequences, context).total <= run(setup, sequences, context).total * MORE


@given(setups(), batches, contexts, st.sampled_from(OVERHEADS), st.floats(1, 100))
@settings(max_examples=50)
def test_a_larger_overhead_is_never_faster(setup, sequences, context, name, factor):
    worse = dataclasses.replace(setup, gpu=faster(setup.gpu, factor, name))
    assert step.decode(worse, sequences, context).total * MORE >= step.decode(setup, sequences, context).total


@given(setups(), batches, contexts, st.floats(0.1, 10))
@settings(max_examples=50)
def test_time_scales_with_the_clock(setup, sequences, context, factor):
    rates = [*RATES, *["fp4_flops"] * (setup.gpu.fp4_flops is not None)]
    quick = faster(faster(setup.gpu, factor, *rates), 1 / factor, *OVERHEADS)
    scaled = dataclasses.replace(setup, gpu=quick)
    for run in (step.decode, step.prefill, lambda s, n, c: step.Terms(step.hbm_floor(s, n, c), 0, 0, 0)):
        assert run(scaled, sequences, context).total * factor == pytest.approx(run(setup, sequences, context).total)


@given(setups(), batches, contexts)
@settings(max_examples=100)
def test_no_step_is_below_the_memory_floor(setup, sequences, context):
    assert 0 < step.hbm_floor(setup, sequences, context) <= step.decode(setup, sequences, context).device


@pytest.mark.parametrize("card", GPUS)
@pytest.mark.parametrize("architecture", [MIXTRAL, LLAMA_8B, LLAMA_70B], ids=["mixtral", "8b", "70b"])
def test_no_step_of_a_shipped_model_is_below_the_memory_floor(architecture, card):
    spreads = [Parallel(tp) for tp in (1, 2, 4, 8)]
    spreads += [Parallel(1, 8), Parallel(2, 4), Parallel(8, 8)] if architecture.sparse_layers else []
    for dtype in PRECISIONS.values():
        for parallel in spreads:
            setup = Setup(architecture, hardware().gpu[card], parallel, dtype)
            for sequences in (1, 2, 3, 8, 13, 64, 256):
                floor = step.hbm_floor(setup, sequences, 2000)
                assert floor <= step.decode(setup, sequences, 2000).device


def test_the_floor_is_what_must_be_read_over_the_bandwidth():
    card = plain_gpu(hbm_bandwidth=2e12)
    floor = step.hbm_floor(Setup(MIXTRAL, card, Parallel(), BF16), 1, 64)
    assert floor == pytest.approx((2 * (12_748_853_248 + 4096) + 64 * 131072) / 2e12)


@given(setups(), batches, contexts)
@settings(max_examples=50)
def test_terms_that_do_not_apply_are_zero(setup, sequences, context):
    for terms in (step.decode(setup, sequences, context), step.prefill(setup, sequences, context)):
        assert terms.host == 0
        assert terms.total == terms.device
        assert (terms.communication > 0) == (
            setup.parallel.tp > 1 or (setup.parallel.ep > 1 and len(setup.architecture.sparse_layers) > 0)
        )
        assert (terms.experts > 0) == (len(setup.architecture.sparse_layers) > 0)
        assert min(terms.dense, terms.attention) > 0


@given(setups(families=DENSE), contexts)
@settings(max_examples=30)
def test_more_gpus_never_make_a_dense_model_slower_but_for_what_they_exchange(setup, context):
    alone = dataclasses.replace(setup, parallel=Parallel())
    together, apart = step.decode(setup, 8, context), step.decode(alone, 8, context)
    assert together.total - together.communication <= apart.total * MORE


@pytest.mark.parametrize("sequences", [5, 8, 13])
def test_an_average_batch_is_not_padded(sequences):
    setup = Setup(MIXTRAL, hardware().gpu["h200"], Parallel(2), BF16)
    batch, average = step.decode(setup, sequences, 100).total, step.decode(setup, float(sequences), 100).total
    assert (average < batch) == (sequences != step.padded(sequences))
    assert step.decode(setup, sequences - 0.1, 100).total < average < step.decode(setup, sequences + 0.1, 100).total


def test_a_windowed_prefill_scores_every_position_within_the_window():
    layers = (dataclasses.replace(TINY.layers[0], window=100),)
    setup = Setup(dataclasses.replace(TINY, layers=layers), plain_gpu(), Parallel(), precision("bf16"))
    pairs = sum(min(i + 0.5, 100) for i in range(1000))
    assert step.prefill(setup, 1, 1000).attention == pytest.approx(4 * 2 * 8 * pairs, rel=1e-2)


def test_fp32_multiplies_everything_in_fp32():
    slow = plain_gpu(fp32_flops=1e-3, hbm_bandwidth=1e9)
    fast = plain_gpu(fp32_flops=1e-3, hbm_bandwidth=1e9, bf16_flops=1e6)
    a, b = (step.decode(Setup(TINY, g, Parallel(), precision("fp32")), 8, 10) for g in (slow, fast))
    assert a.total == pytest.approx(b.total)


def test_a_shared_prefill_adds_its_tokens_their_scores_and_a_row_of_logits():
    """On a device that memory costs nothing, time is FLOPs: those of the prompt, as in a prefill of its own."""
    setup = Setup(TINY, plain_gpu(hbm_bandwidth=1e30), Parallel(), precision("bf16"))
    alone = step.prefill(setup, 1, 100).device
    assert step.added_by_prefill(setup, 7.0, 50, 100) == pytest.approx(alone, rel=1e-6)

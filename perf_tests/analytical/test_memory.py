"""Bytes of weights and KV cache, of the whole model and of each GPU, against a count of tensor by tensor."""

import dataclasses

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fixtures.analytical import memory, parameters
from fixtures.analytical.architecture import from_config
from fixtures.analytical.coverage import busiest_experts
from fixtures.analytical.families import FAMILIES as KNOWN
from fixtures.analytical.hardware import hardware
from fixtures.analytical.parallel import Parallel
from fixtures.analytical.precision import PRECISIONS, precision
from fixtures.errors import UsageError
from perf_tests.analytical.models import LLAMA_8B, LLAMA_70B, MIXTRAL
from perf_tests.analytical.strategies import SIZES, SPARSE, architectures, configs, even, parallels, share, tensors

pytestmark = pytest.mark.cpu

BF16 = precision("bf16")
EXACT = 1e-12
precisions = st.sampled_from([even(each) for each in PRECISIONS.values()])


@st.composite
def spread(draw, families=None):
    """(config, architecture, parallel)"""
    config = draw(configs(families) if families else configs())
    architecture = from_config(config, "random")
    return config, architecture, draw(parallels(architecture))


@given(configs())
@settings(max_examples=50)
def test_bytes_per_parameter(config):
    architecture, every = from_config(config, "x"), tensors(config)
    wide, beside = sum(one.count for one in every if one.wide), sum(one.buffer for one in every)
    twice = sum((one.copies - 1) * one.count for one in every)
    for name, each in (("bf16", 2), ("fp16", 2), ("fp32", 4)):
        expected = each * (parameters.total(architecture) - wide + twice) + 4 * (wide + beside)
        assert memory.weight_bytes(architecture, precision(name)) == expected


@given(configs(), precisions)
@settings(max_examples=60)
def test_quantisation_leaves_embeddings_router_norms_and_biases_alone(config, dtype):
    expected = sum(tensor.bytes(dtype) for tensor in tensors(config))
    assert memory.weight_bytes(from_config(config, "random"), dtype) == pytest.approx(expected, rel=EXACT)


@pytest.mark.parametrize(("name", "ratio"), [("fp8", 0.5), ("awq", 0.26), ("gptq", 0.26)])
def test_a_large_model_shrinks_almost_to_the_ratio_of_the_formats(name, ratio):
    for architecture, tolerance in ((MIXTRAL, 0.02), (LLAMA_70B, 0.09)):
        shrunk = memory.weight_bytes(architecture, precision(name)) / memory.weight_bytes(architecture, BF16)
        assert ratio < shrunk == pytest.approx(ratio, rel=tolerance)


def test_four_bits_and_their_scales_and_zeros():
    assert precision("awq").matrix_bytes == precision("gptq").matrix_bytes == pytest.approx(4.15625 / 8)
    assert {name: p.tensor_core for name, p in PRECISIONS.items()} == {
        "bf16": "bf16",
        "fp16": "bf16",
        "fp32": "fp32",
        "fp8": "fp8",
        "fp8-block": "fp8",
        "int8": "int8",
        "awq": "bf16",
        "gptq": "bf16",
        "w4a16": "bf16",
        "mxfp4": "bf16",
        "nvfp4": "fp4",
    }


def test_an_unknown_precision_is_refused_in_one_line():
    with pytest.raises(UsageError, match="^--dtype: expected one of bf16, fp16, .*, mxfp4, nvfp4, found 'int4'$"):
        precision("int4")


@given(spread(), precisions)
@settings(max_examples=60)
def test_what_each_gpu_holds(case, dtype):
    config, architecture, parallel = case
    expected = sum(tensor.bytes(dtype) * share(tensor, architecture, parallel) for tensor in tensors(config))
    held = memory.weight_bytes_per_gpu(architecture, dtype, parallel)
    assert held == pytest.approx(expected, rel=EXACT)
    assert held <= memory.weight_bytes(architecture, dtype) * (1 + EXACT)


@given(spread(), precisions)
@settings(max_examples=60)
def test_all_gpus_hold_the_model_once_and_the_copies(case, dtype):
    config, architecture, parallel = case
    copies = sum(t.bytes(dtype) * (parallel.gpus * share(t, architecture, parallel) - 1) for t in tensors(config))
    total = parallel.gpus * memory.weight_bytes_per_gpu(architecture, dtype, parallel)
    assert copies >= -EXACT * total
    assert total - memory.weight_bytes(architecture, dtype) == pytest.approx(copies, abs=EXACT * total)


@given(architectures(), precisions)
@settings(max_examples=50)
def test_one_gpu_holds_everything(architecture, dtype):
    assert memory.weight_bytes_per_gpu(architecture, dtype, Parallel()) == pytest.approx(
        memory.weight_bytes(architecture, dtype), rel=EXACT
    )
    assert memory.kv_bytes_per_token_per_gpu(architecture, dtype, Parallel()) == memory.kv_bytes_per_token(
        architecture, dtype
    )


@given(configs(SPARSE), st.sampled_from(SIZES[1:]))
@settings(max_examples=50)
def test_whole_experts_take_as_much_as_split_ones_but_for_a_bias_that_is_never_split(config, tp):
    architecture = from_config(config, "random")
    split, whole = (memory.weight_bytes_per_gpu(architecture, BF16, each) for each in (Parallel(tp), Parallel(tp, tp)))
    biases = sum(2 * tensor.count for tensor in tensors(config) if tensor.spread == "whole experts")
    assert split - whole == pytest.approx(biases * (1 - 1 / tp), abs=1e-6)


def test_known_weights():
    assert memory.weight_bytes(MIXTRAL, BF16) == 93_405_585_408
    assert memory.weight_bytes_per_gpu(LLAMA_8B, BF16, Parallel()) == 16_060_522_496
    # 65 norm vectors are copied, and in Mixtral 32 routers.
    assert 2 * memory.weight_bytes_per_gpu(LLAMA_8B, BF16, Parallel(2)) == 16_060_522_496 + 65 * 4096 * 2
    copied = (65 + 32 * 8) * 4096 * 2
    assert 2 * memory.weight_bytes_per_gpu(MIXTRAL, BF16, Parallel(2)) == 93_405_585_408 + copied


@pytest.mark.parametrize(
    ("architecture", "kib"), [(MIXTRAL, 128), (LLAMA_8B, 128), (LLAMA_70B, 320)], ids=lambda v: getattr(v, "family", v)
)
def test_kv_cache_of_a_token(architecture, kib):
    assert memory.kv_bytes_per_token(architecture, BF16) == kib * 1024
    assert memory.kv_bytes_per_token(architecture, precision("fp8")) == kib * 1024
    assert memory.kv_bytes_per_token(architecture, precision("fp32")) == 2 * kib * 1024


@pytest.mark.parametrize(("tp", "shares"), [(1, 8), (2, 4), (4, 2), (8, 1), (16, 1), (32, 1)])
def test_kv_heads_are_split_until_each_gpu_has_one_and_copied_from_there(tp, shares):
    held = memory.kv_bytes_per_token_per_gpu(LLAMA_8B, BF16, Parallel(tp))
    assert held == 131072 * shares / 8


@given(spread(), st.floats(0.05, 1.0), st.floats(0, 2e9), st.sampled_from(list(hardware().gpu.values())))
@settings(max_examples=60)
def test_the_kv_cache_fills_what_is_left_to_within_a_token(case, utilization, reserve, card):
    _, architecture, parallel = case
    size = card.memory_bytes.value
    tokens = memory.kv_tokens(architecture, BF16, parallel, size, utilization, reserve)
    assert tokens % parallel.replicas == 0
    each = memory.kv_bytes_per_token_per_gpu(architecture, BF16, parallel)
    used = memory.weight_bytes_per_gpu(architecture, BF16, parallel) + reserve + tokens // parallel.replicas * each
    left = utilization * size - used
    assert -1e-6 * size <= left < each + 1e-6 * size


@given(spread(), st.floats(0.1, 0.9), st.floats(0, 0.1))
@settings(max_examples=50)
def test_more_memory_never_holds_fewer_tokens(case, utilization, more):
    _, architecture, parallel = case

    def tokens(utilization=utilization, size=80e9, reserve=1e9, dtype=BF16):
        return memory.kv_tokens(architecture, dtype, parallel, size, utilization, reserve)

    assert tokens(utilization=utilization + more) >= tokens()
    assert tokens(size=80e9 * (1 + more)) >= tokens()
    assert tokens(reserve=1e9 * (1 + more)) <= tokens()
    assert tokens(dtype=precision("fp8")) >= tokens()
    assert tokens(dtype=precision("fp32")) <= max(tokens(), 0)


def test_weights_that_do_not_fit_leave_no_room():
    assert memory.kv_tokens(MIXTRAL, BF16, Parallel(), 85.5e9, 0.9, 0) <= 0
    assert memory.kv_tokens(MIXTRAL, BF16, Parallel(2), 85.5e9, 0.9, 0) > 0


@given(configs(), st.integers(1, 300), st.data())
@settings(max_examples=60)
def test_a_step_reads_the_dense_weights_once_and_only_the_experts_it_touches(config, tokens, data):
    architecture = from_config(config, "random")
    parallel, dtype = data.draw(parallels(architecture)), data.draw(precisions)
    row = architecture.hidden_size + len(architecture.layers) * config.get("hidden_size_per_layer_input", 0)
    expected = tokens * row * dtype.other_bytes / parallel.gpus
    for tensor in tensors(config):
        if tensor.looked_up:
            continue
        touched = 1 - (1 - tensor.top_k / tensor.experts) ** tokens if tensor.experts else 1
        if tensor.experts and (ranks := parallel.ep) > 1:  # what the busiest of them touches of its own
            touched = ranks * busiest_experts(tensor.experts, tensor.top_k, tokens, ranks) / tensor.experts
        expected += touched * tensor.bytes(dtype) * share(tensor, architecture, parallel)
    read = memory.weight_bytes_read(architecture, dtype, parallel, tokens)
    assert read == pytest.approx(expected, rel=EXACT)


@given(architectures(tuple(family for family in SPARSE if not KNOWN[family].corrects)), precisions)
@settings(max_examples=50)
def test_one_token_reads_the_active_parameters(architecture, dtype):
    row = architecture.hidden_size * dtype.other_bytes
    active = dataclasses.replace(
        architecture,
        layers=tuple(dataclasses.replace(layer, experts=layer.top_k) for layer in architecture.layers),
    )
    unread = sum(
        parameters.router(architecture, a) - parameters.router(active, b)
        for a, b in zip(architecture.layers, active.layers, strict=True)
    )
    table = 0 if architecture.tied_embeddings else parameters.embedding(architecture)
    expected = memory.weight_bytes(active, dtype) + (unread - table) * dtype.other_bytes + row
    assert memory.weight_bytes_read(architecture, dtype, Parallel(), 1) == pytest.approx(expected, rel=EXACT)


def test_one_token_of_mixtral_reads_as_many_bytes_as_its_active_parameters():
    read = memory.weight_bytes_read(MIXTRAL, BF16, Parallel(), 1)
    assert read == 2 * (12_748_853_248 + 4096)


def test_a_large_batch_reads_every_expert():
    read = memory.weight_bytes_read(MIXTRAL, BF16, Parallel(), 1000)
    assert read == pytest.approx(2 * (46_702_792_704 - 32000 * 4096 + 1000 * 4096), rel=1e-9)


@given(spread(), st.integers(1, 64), st.integers(1, 10_000), st.integers(1, 8_000))
@settings(max_examples=50)
def test_a_step_reads_the_kv_cache_up_to_each_layers_window(case, sequences, context, window):
    _, architecture, parallel = case
    assume(not (architecture.index or architecture.compressed))
    assume(len({(layer.head_dim, layer.borrows) for layer in architecture.layers}) == 1)
    layers = tuple(
        dataclasses.replace(layer, window=window if i % 2 else 0) for i, layer in enumerate(architecture.layers)
    )
    windowed = dataclasses.replace(architecture, layers=layers)
    visible = sum(min(context, window) if i % 2 else context for i in range(len(layers)))
    held = memory.kv_bytes_per_token_per_gpu(windowed, BF16, parallel) / len(layers)
    assert memory.kv_bytes_read(windowed, BF16, parallel, sequences, context) == pytest.approx(
        sequences / parallel.replicas * visible * held, rel=EXACT
    )

"""Bytes of a quantised matrix: those of the libraries that write and load it, and worked out by hand."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.analytical import memory
from fixtures.analytical.architecture import from_config
from fixtures.analytical.parallel import Parallel
from fixtures.analytical.precision import MXFP4, NVFP4, PER_BLOCK, PRECISIONS, Storage, precision
from fixtures.analytical.quantization import precision_of_file
from fixtures.analytical.tensors import of_layer
from fixtures.errors import UsageError
from perf_tests.analytical.models import LLAMA_8B

pytestmark = pytest.mark.cpu

HERE = Path(__file__).parent
# Written by perf_tests/tools/record_formats.py and record_models.py.
FORMATS = json.loads((HERE / "formats.json").read_text())["formats"]
PUBLISHED = json.loads((HERE / "published.json").read_text())["models"]


def ident(entry):
    return f"{entry['library']}: {entry['format']} of {entry['shape']}"


@pytest.mark.parametrize("entry", [each for each in FORMATS if each["shape"]], ids=ident)
def test_bytes_are_those_of_the_library(entry):
    found = precision_of_file({"quantization_config": entry["config"]}, LLAMA_8B, "x")
    assert found.bytes("mlp", *entry["shape"]) == entry["bytes"]


def test_bytes_of_gpt_oss_experts_are_those_of_vllm():
    (entry,) = (each for each in FORMATS if not each["shape"])
    config = PUBLISHED["gpt-oss-20b"]["config"]
    architecture = from_config(config, "x")
    found = precision_of_file(config, architecture, "x")
    experts = [tensor for tensor in of_layer(architecture, architecture.layers[0]) if tensor.experts]
    sizes = [32 * found.bytes(each.part, *each.shard(Parallel())) for each in experts]
    assert sum(sizes) == entry["bytes"]
    assert (found.name, found.tensor_core) == ("mxfp4", "bf16")
    # 24 layers of them, and the rest in 16 bits.
    rest = PUBLISHED["gpt-oss-20b"]["total"] - 24 * sum(each.count for each in experts)
    assert memory.weight_bytes(architecture, found) == 24 * entry["bytes"] + 2 * rest


def test_the_quantised_file_of_deepseek_by_hand():
    """Scales of blocks, those of the latents' 576 outputs in five rows of them."""
    config = PUBLISHED["DeepSeek-V3"]["config"]
    architecture = from_config(config, "x")
    found = precision_of_file(config, architecture, "x")
    assert (found.name, found.storage, found.plain) == ("fp8-block", PER_BLOCK, frozenset())
    assert found.bytes("attention", 576, 7168) == 576 * 7168 + 5 * 56 * 4
    layer = architecture.layers[-1]
    matrices = [tensor for tensor in of_layer(architecture, layer) if tensor.part]
    expected = sum(
        max(each.experts, 1) * (each.rows * each.columns + -(-each.rows // 128) * -(-each.columns // 128) * 4)
        for each in matrices
    )
    held = sum(max(each.experts, 1) * found.bytes(each.part, each.rows, each.columns) for each in matrices)
    assert held == expected


def test_experts_in_a_format_of_their_own_by_hand():
    """DeepSeek V4 Flash as published: experts in mxfp4, a byte of scale for 32 weights, beside blocks of fp8."""
    config = PUBLISHED["DeepSeek-V4-Flash"]["config"]
    architecture = from_config(config, "x")
    found = precision_of_file(config, architecture, "x")
    assert (found.name, found.storage, found.experts) == ("fp8-block, experts in mxfp4", PER_BLOCK, MXFP4)
    experts = 43 * 256 * 3 * 2048 * 4096
    in_fp8 = precision_of_file(config | {"expert_dtype": "fp8"}, architecture, "x")
    less = memory.weight_bytes(architecture, in_fp8) - memory.weight_bytes(architecture, found)
    assert less == experts * (1 + 4 / 128**2) - experts * 17 / 32
    assert (found.of("experts").tensor_core, found.of("mlp").tensor_core) == ("bf16", "fp8")
    with pytest.raises(UsageError, match="^x: expert_dtype: expected fp4 or fp8 beside blocks of fp8, found 'int4'; "):
        precision_of_file(config | {"expert_dtype": "int4"}, architecture, "x")


@pytest.mark.parametrize(
    ("storage", "rows", "columns", "expected"),
    [
        (Storage(16), 3, 5, 30),
        (Storage(8, (0, 0), 32), 3, 5, 15 + 4),
        (Storage(8, (1, 0), 16), 3, 5, 15 + 3 * 2),
        (Storage(4, (1, 4), 16, 4), 2, 8, 8 + 4 * 20 / 8),
        (Storage(4, (1, 4), 16, 4, matrix_bytes=16), 2, 8, 8 + 10 + 16),
        # Blocks at an edge are smaller and have a scale all the same.
        (Storage(8, (2, 4), 32), 3, 5, 15 + 4 * 4),
        (MXFP4, 1, 64, 32 + 2),
        (NVFP4, 1, 64, 32 + 4 + 8),
    ],
)
def test_a_matrix_by_hand(storage, rows, columns, expected):
    assert storage.bytes(rows, columns) == expected


@given(st.sampled_from(list(PRECISIONS.values())), st.integers(1, 40), st.integers(1, 40))
def test_a_large_matrix_takes_what_its_weights_take(form, rows, columns):
    """But for what stands beside the matrix and its outputs: less than a thousandth of 128 x 4096 weights and more."""
    rows, columns = 128 * rows, 4096 * columns
    even = rows * columns * form.matrix_bytes
    assert even <= form.storage.bytes(rows, columns) <= even * 1.001


def test_shards_keep_the_scales_of_what_they_hold():
    """Of a split along the inputs each card has a scale of every output, as engines load it."""
    one, two = (memory.weight_bytes_per_gpu(LLAMA_8B, precision("int8"), Parallel(tp)) for tp in (1, 2))
    split = sum(4096 * 2 for _ in LLAMA_8B.layers for _ in ("output", "down"))
    norms = 65 * 4096 * 2
    assert 2 * two - one == pytest.approx(split + norms)

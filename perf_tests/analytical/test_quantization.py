"""What a file says of its weights' format: each method's bytes, what is left out, and what is refused by its key.

``pytest perf_tests/analytical/test_quantization.py --hypothesis-profile=thorough`` tries 20,000 files of each kind.
"""

import copy
import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.analytical import memory, parameters, step
from fixtures.analytical.architecture import from_config
from fixtures.analytical.hardware import gpu
from fixtures.analytical.parallel import Parallel
from fixtures.analytical.precision import PRECISIONS
from fixtures.analytical.quantization import MOST_MODULES, REMEDY, kv_bytes_of_file, precision_of_file
from fixtures.analytical.step import Setup
from fixtures.errors import UsageError
from fixtures.models.model import Model
from perf_tests.analytical.strategies import configs, even, tensors
from perf_tests.fakes.mutations import assert_one_line, misfilled

pytestmark = pytest.mark.cpu

LLAMA = Model.load("llama-3.1-8b", "test").config
MIXTRAL = Model.load("mixtral-8x7b", "test").config
QWEN7 = {
    "model_type": "qwen2",
    "hidden_size": 3584,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "num_hidden_layers": 28,
    "intermediate_size": 18944,
    "vocab_size": 152064,
    "tie_word_embeddings": False,
}
GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False, "sym": True, "lm_head": False}
AWQ = {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True, "version": "gemm"}
FP8 = {"quant_method": "fp8", "activation_scheme": "dynamic"}
MODELOPT = {"quant_method": "modelopt", "quant_algo": "FP8", "ignore": ["lm_head"]}
LEGACY_MODELOPT = {
    "producer": {"name": "modelopt", "version": "0.29.0"},
    "quantization": {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8", "exclude_modules": ["lm_head"]},
}


def compressed(weights, activations=None, **changes):
    group = {"targets": ["Linear"], "weights": weights, "input_activations": activations}
    return {
        "quant_method": "compressed-tensors",
        "format": "pack-quantized",
        "ignore": ["lm_head"],
        "config_groups": {"group_0": group},
    } | changes


FLOAT8 = {"num_bits": 8, "type": "float", "strategy": "channel", "symmetric": True, "dynamic": False}
INT4 = {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 128, "symmetric": True}
DYNAMIC8 = {"num_bits": 8, "type": "float", "strategy": "token", "dynamic": True}
ATTENTION = ("attention", "output")
W8A8 = compressed(FLOAT8, DYNAMIC8)
W4A16 = compressed(INT4)
KINDS = {
    "gptq": GPTQ,
    "awq": AWQ,
    "fp8": FP8,
    "modelopt": MODELOPT,
    "legacy": LEGACY_MODELOPT,
    "w8a8": W8A8,
    "w4a16": W4A16,
}


def read(quantization, config=LLAMA, key="quantization_config"):
    whole = config | {key: quantization}
    return precision_of_file(whole, from_config(config, "file"), "file")


@pytest.mark.parametrize(
    ("quantization", "bits", "core"),
    [
        (GPTQ, 4 + 20 / 128, "bf16"),
        (GPTQ | {"bits": 8}, 8 + 24 / 128, "bf16"),
        (GPTQ | {"bits": 3}, 3 + 19 / 128, "bf16"),
        (GPTQ | {"group_size": 32}, 4 + 20 / 32, "bf16"),
        (GPTQ | {"group_size": -1}, 4, "bf16"),
        (AWQ, 4 + 20 / 128, "bf16"),
        ({"quant_method": "awq", "w_bit": 4, "q_group_size": 64}, 4 + 20 / 64, "bf16"),
        (FP8, 8, "fp8"),
        ({"quant_method": "FP8"}, 8, "fp8"),
        (FP8 | {"weight_block_size": [128, 128]}, 8 + 32 / 128**2, "fp8"),
        ({"quant_method": "fbgemm_fp8", "modules_to_not_convert": ["lm_head"]}, 8, "fp8"),
        (W8A8, 8, "fp8"),
        (W8A8 | {"quant_method": "compressed_tensors"}, 8, "fp8"),
        (compressed(FLOAT8), 8, "bf16"),
        (compressed(FLOAT8 | {"strategy": "block", "block_structure": [128, 128]}, DYNAMIC8), 8 + 16 / 128**2, "fp8"),
        (compressed(FLOAT8 | {"type": "int"}, DYNAMIC8 | {"type": "int"}), 8, "int8"),
        (W4A16, 4 + 16 / 128, "bf16"),
        (compressed(INT4 | {"symmetric": False}), 4 + 20 / 128, "bf16"),
        (compressed(INT4 | {"strategy": None}), 4 + 16 / 128, "bf16"),
        (compressed({"num_bits": 4, "type": "float", "strategy": "tensor_group", "group_size": 16}), 4.5, "bf16"),
        (compressed({"num_bits": 4, "type": "float", "strategy": "group", "group_size": 32}), 4.25, "bf16"),
        (MODELOPT, 8, "fp8"),
        (LEGACY_MODELOPT, 8, "fp8"),
        (MODELOPT | {"quant_algo": "NVFP4", "group_size": 16}, 4.5, "fp4"),
        (MODELOPT | {"quant_method": "modelopt_fp4", "quant_algo": "nvfp4"}, 4.5, "fp4"),
        (MODELOPT | {"quant_algo": "W4A16_NVFP4"}, 4.5, "bf16"),
    ],
)
def test_bits_of_a_weight(quantization, bits, core):
    found = read(quantization)
    assert found.matrix_bytes == pytest.approx(bits / 8, rel=1e-12)
    assert (found.other_bytes, found.tensor_core, found.plain) == (2.0, core, frozenset())


@pytest.mark.parametrize(
    ("bits", "group", "gigabytes"), [(8, 128, 8.859), (4, 128, 5.571), (3, 128, 4.749), (4, 32, 5.953)]
)
def test_published_gptq_checkpoints_of_qwen(bits, group, gigabytes):
    found = read(GPTQ | {"bits": bits, "group_size": group}, QWEN7)
    assert memory.weight_bytes(from_config(QWEN7, "x"), found) / 1e9 == pytest.approx(gigabytes, abs=5e-4)


def test_llama_70b_by_llm_compressor():
    """67.72 GiB in vLLM's log of RedHatAI/Llama-3.3-70B-Instruct-FP8-dynamic."""
    config = Model.load("llama-3.1-70b", "test").config
    weights = memory.weight_bytes(from_config(config, "x"), read(W8A8, config))
    assert weights / 2**30 == pytest.approx(67.72, rel=1e-3)


def test_without_quantisation_the_file_says_nothing():
    assert read(None) is None
    assert kv_bytes_of_file(LLAMA, "file") is None


def test_what_is_known_by_name_keeps_it():
    assert [read(each) for each in (AWQ, GPTQ, FP8)] == [PRECISIONS[name] for name in ("awq", "gptq", "fp8")]
    assert read(GPTQ | {"bits": 8}).name == "gptq 8.188 bit"


def test_the_former_key_counts_too():
    assert read(W8A8, key="compression_config") == read(W8A8)


def test_what_only_the_decoder_says_counts_for_the_model():
    """As in Kimi K2.5's file, whose decoder is quantised and whose tower is not."""
    published = json.loads((Path(__file__).parent / "published.json").read_text())["models"]["Kimi-K2.5"]["config"]
    architecture = from_config(published, "file")
    found = precision_of_file(published, architecture, "file")
    assert (found.matrix_bytes, found.plain) == (4.5 / 8, {"attention", "output", "mlp"})
    scheme = published["text_config"]["quantization_config"]
    outside = published | {"quantization_config": scheme}
    assert precision_of_file(outside, architecture, "file") == found
    eight = {"num_bits": 8, "type": "float"}
    inner = published["text_config"] | {"quantization_config": scheme | {"kv_cache_scheme": eight}}
    assert kv_bytes_of_file(published | {"text_config": inner}, "file") == 1.0
    wrong = published["text_config"] | {"quantization_config": scheme | {"quant_method": "exl2"}}
    with pytest.raises(UsageError, match=r"^file: text_config: quantization_config.quant_method: expected one of"):
        precision_of_file(published | {"text_config": wrong}, architecture, "file")


def test_the_output_projection_may_be_quantised_alone():
    """As in DeepSeek-V3.1's file in NVFP4, which leaves the projections into the attention as they are."""
    published = json.loads((Path(__file__).parent / "published.json").read_text())["models"]["DeepSeek-V3"]["config"]
    plain = ("kv_a_proj_with_mqa", "kv_b_proj", "q_a_proj", "q_b_proj")
    names = [f"model.layers.{i}.self_attn.{name}" for i in range(61) for name in plain]
    found = read(MODELOPT | {"quant_algo": "NVFP4", "ignore": ["lm_head", *names]}, published)
    assert found.plain == {"attention"}


def test_a_published_list_leaves_experts_out_that_are_quantised():
    """As in Mixtral's GPTQ checkpoint: engines fuse experts and don't look for them in the list."""
    attention = [["self_attn.k_proj", "self_attn.v_proj", "self_attn.q_proj"], ["self_attn.o_proj"]]
    assert read(GPTQ | {"modules_in_block_to_quantize": attention}, MIXTRAL) == PRECISIONS["gptq"]


@pytest.mark.parametrize(
    ("quantization", "config", "plain"),
    [
        (AWQ | {"modules_to_not_convert": ["gate"]}, MIXTRAL, ()),
        (AWQ | {"modules_to_not_convert": ["self_attn"]}, MIXTRAL, ATTENTION),
        (GPTQ | {"dynamic": {"-:.*self_attn.*": {}}}, LLAMA, ATTENTION),
        (
            GPTQ | {"modules_in_block_to_quantize": [["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]]},
            LLAMA,
            ATTENTION,
        ),
        (FP8 | {"ignored_layers": ["lm_head"]}, LLAMA, ()),
        (FP8 | {"modules_to_not_convert": ["self_attn"]}, LLAMA, ATTENTION),
        (W8A8 | {"ignore": ["lm_head", "re:.*self_attn.*"]}, LLAMA, ATTENTION),
        (W8A8 | {"ignore": ["lm_head", r"re:.*block_sparse_moe\.gate$"]}, MIXTRAL, ()),
        (W8A8 | {"ignore": [r"re:.*experts\.\d+\.w.*"]}, MIXTRAL, ("experts",)),
        (MODELOPT | {"ignore": ["lm_head", "model.layers.*.self_attn*"]}, LLAMA, ATTENTION),
        (MODELOPT | {"ignore": [f"model.layers.{i}.block_sparse_moe.gate" for i in range(32)]}, MIXTRAL, ()),
    ],
)
def test_ignored_modules(quantization, config, plain):
    found = read(quantization, config)
    assert found.plain == set(plain)
    assert found.of("mlp").matrix_bytes < 2
    assert [found.of(part).matrix_bytes for part in plain] == [2.0] * len(plain)


@pytest.mark.parametrize("part", ["attention", "experts"])
def test_a_part_that_is_left_out_takes_its_16_bits(part):
    """Counted anew: what is left out has two bytes a parameter, on one card and on two."""
    name = {"attention": "self_attn", "experts": "experts"}[part]
    architecture = from_config(MIXTRAL, "x")
    whole, partly = read(FP8, MIXTRAL), read(FP8 | {"ignored_layers": [name]}, MIXTRAL)
    layer = architecture.layers[0]
    of_part = {
        "attention": parameters.attention_matrices(architecture),
        "experts": layer.experts * parameters.expert(architecture, layer),
    }[part]
    scales = {"attention": 4, "experts": 3 * layer.experts}[part] * 4
    more = 32 * (of_part - scales)
    assert memory.weight_bytes(architecture, partly) - memory.weight_bytes(architecture, whole) == more
    two = [memory.weight_bytes_per_gpu(architecture, each, Parallel(2)) for each in (whole, partly)]
    assert two[1] - two[0] == pytest.approx(32 * (of_part / 2 - scales))
    slower = [step.decode(Setup(architecture, gpu("h100"), Parallel(), each), 8, 100) for each in (whole, partly)]
    term = {"attention": "dense", "experts": "experts"}[part]
    assert getattr(slower[1], term) > getattr(slower[0], term)


@pytest.mark.parametrize(
    ("quantization", "message"),
    [
        ({}, "quantization_config.quant_method: it is missing"),
        ("fp8", "quantization_config: expected a table, found 'fp8'"),
        ({"quant_method": "exl2"}, "quantization_config.quant_method: expected one of awq, .*, found 'exl2'"),
        ({"quant_method": ["fp8"]}, r"quantization_config.quant_method: expected a text, found \['fp8'\]"),
        ({"load_in_8bit": True, "load_in_4bit": False}, "quantization_config.load_in_8bit: bitsandbytes"),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "quant_method: expected one of .*'bitsandbytes'"),
        (GPTQ | {"bits": 5}, "quantization_config.bits: expected 2, 3, 4 or 8, found 5"),
        (GPTQ | {"bits": "4"}, "quantization_config.bits: expected an integer, found '4'"),
        (
            GPTQ | {"group_size": 0},
            "quantization_config.group_size: expected a positive number of weights or -1, found 0",
        ),
        (GPTQ | {"group_size": None}, "quantization_config.group_size: expected an integer, found None"),
        (GPTQ | {"lm_head": True}, "quantization_config.lm_head: a quantised output head"),
        (GPTQ | {"dynamic": {"+:.*down.*": {"bits": 8}}}, "quantization_config.dynamic: other bits for some modules"),
        (GPTQ | {"dynamic": {"-:[": {}}}, r"quantization_config.dynamic: '\[' is no pattern"),
        (
            GPTQ | {"modules_in_block_to_quantize": ["q_proj"]},
            "modules_in_block_to_quantize: of the attention .*q_proj is quantised and .*k_proj is not",
        ),
        (AWQ | {"bits": 3}, "quantization_config.bits: expected 4 or 8, found 3"),
        (AWQ | {"modules_to_not_convert": ["gate"]}, "modules_to_not_convert: it may or may not mean .*gate_proj"),
        (AWQ | {"modules_to_not_convert": "gate"}, "modules_to_not_convert: expected a list of names"),
        (
            FP8 | {"ignored_layers": ["model.layers.0.mlp"]},
            "ignored_layers: of the mlp .*1.mlp.* is quantised and .*0.mlp",
        ),
        (
            FP8 | {"modules_to_not_convert": ["model.layers.0.mlp"]},
            "quantization_config.modules_to_not_convert: of the mlp",
        ),
        (
            W8A8 | {"ignore": ["re:.*layers.1.*"]},
            "quantization_config.ignore: of the attention .*0.* is quantised and .*1",
        ),
        (FP8 | {"ignored_layers": ["self_attn", "mlp"]}, "quantization_config.ignored_layers: it leaves every module"),
        (FP8 | {"weight_block_size": [128]}, "quantization_config.weight_block_size: expected two positive numbers"),
        (FP8 | {"store_dtype": "int4"}, "quantization_config.store_dtype: "),
        (W8A8 | {"config_groups": None}, "quantization_config.config_groups: it is missing"),
        (W8A8 | {"config_groups": {"a": {"targets": ["Linear"]}}}, "config_groups.a.weights: it is missing"),
        (W8A8 | {"format": "marlin-24"}, "quantization_config.format: 'marlin-24' is not known"),
        (W8A8 | {"sparsity_config": {"format": "sparse-24-bitmask"}}, "quantization_config.sparsity_config: not known"),
        (W8A8 | {"transform_config": {"config_groups": {}}}, "quantization_config.transform_config: not known"),
        (compressed(FLOAT8 | {"num_bits": 6}), "config_groups.group_0.weights.num_bits: expected 4 or 8 bits"),
        (compressed(FLOAT8 | {"strategy": "rows"}), "config_groups.group_0.weights.strategy: expected group"),
        (
            compressed(INT4, DYNAMIC8),
            "config_groups.group_0.input_activations: not known here beside weights of 4 bits",
        ),
        (
            W8A8 | {"config_groups": W8A8["config_groups"] | {"b": {"targets": ["Linear"], "weights": INT4}}},
            "quantization_config.config_groups: groups of different formats",
        ),
        (MODELOPT | {"quant_algo": "W4A8_AWQ"}, "quantization_config.quant_algo: expected one of FP8, .*'W4A8_AWQ'"),
        (MODELOPT | {"quant_algo": None}, "quantization_config.quant_algo: expected one of FP8"),
        (
            W8A8 | {"kv_cache_scheme": {"num_bits": 4, "type": "float"}},
            "kv_cache_scheme: expected floating-point numbers",
        ),
        (W8A8 | {"kv_cache_scheme": "static"}, "quantization_config.kv_cache_scheme: expected a table, found 'static'"),
    ],
)
def test_what_is_not_understood_is_refused_by_its_key(quantization, message):
    with pytest.raises(UsageError, match=message) as caught:
        read(quantization)
    assert str(caught.value).startswith("file: quantization_config")
    assert str(caught.value).endswith(f"; {REMEDY}")
    assert "\n" not in str(caught.value)


def test_names_of_more_modules_than_any_model_has_are_not_looked_up():
    config = MIXTRAL | {"num_local_experts": MOST_MODULES}
    assert read(FP8, config) == PRECISIONS["fp8"]
    with pytest.raises(UsageError, match="more modules than any model has"):
        read(FP8 | {"ignored_layers": ["lm_head"]}, config)


@pytest.mark.parametrize(
    ("quantization", "expected"),
    [
        (W8A8, None),
        (W8A8 | {"kv_cache_scheme": {"num_bits": 8, "type": "float", "strategy": "tensor"}}, 1.0),
        (MODELOPT, None),
        (MODELOPT | {"kv_cache_scheme": {"num_bits": 8, "type": "float"}}, 1.0),
        (MODELOPT | {"kv_cache_quant_algo": None}, None),
        (LEGACY_MODELOPT, 1.0),
    ],
)
def test_the_kv_cache(quantization, expected):
    assert kv_bytes_of_file({"quantization_config": quantization}, "file") == expected
    assert read(quantization).kv_bytes == (expected or 2.0)


KEYS = sorted(
    {key for each in KINDS.values() for key in each} | {"w_bit", "weight_block_size", "dynamic", "ignored_layers"}
)


def check(quantization, config):
    """A file of one line's error, or a format between 2 and 16 bits by which the weights weigh accordingly."""
    architecture = from_config(config, "file")
    try:
        found = precision_of_file(config | {"quantization_config": quantization}, architecture, "file")
    except UsageError as error:
        assert_one_line(error, "file: quantization_config")
        return
    if found is None:
        assert quantization is None
        return
    # A group of one weight has a scale and a zero for each.
    assert 2 / 8 <= found.matrix_bytes <= (8 + 32) / 8
    assert found.kv_bytes in (1.0, 2.0)
    expected = sum(tensor.bytes(even(found)) for tensor in tensors(config))
    assert memory.weight_bytes(architecture, even(found)) == pytest.approx(expected)
    assert memory.weight_bytes(architecture, found) >= expected * (1 - 1e-9)
    seconds = step.decode(Setup(architecture, gpu("h100"), Parallel(), found), 1, 10).total
    assert math.isfinite(seconds)
    assert seconds > 0


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_misfilled_files(kind, data):
    """Values replaced, removed or under other keys, of every kind and family."""
    config = data.draw(configs())
    document = {"q": copy.deepcopy(KINDS[kind])}
    check(data.draw(misfilled(document)).get("q"), config)


@given(
    st.dictionaries(st.sampled_from(KEYS), st.sampled_from([v for each in KINDS.values() for v in each.values()])),
    configs(),
)
def test_files_of_the_parts_of_others(quantization, config):
    check(json.loads(json.dumps(quantization)), config)

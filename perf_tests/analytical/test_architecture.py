"""What a config.json says, what it may leave out, and what is refused."""

import pytest
from hypothesis import given, settings

from fixtures.analytical.architecture import from_config
from fixtures.analytical.parallel import Parallel
from fixtures.errors import UsageError
from perf_tests.analytical.models import LLAMA_8B, LLAMA_70B, MIXTRAL
from perf_tests.analytical.strategies import FAMILIES, SHARED, SPARSE, configs, is_sparse

pytestmark = pytest.mark.cpu

MINIMAL = {
    "hidden_size": 4096,
    "num_attention_heads": 64,
    "num_hidden_layers": 30,
    "vocab_size": 1000,
    "intermediate_size": 128,
}
MIXTRAL_LIKE = MINIMAL | {"model_type": "mixtral"}
QWEN_MOE = MINIMAL | {
    "model_type": "qwen2_moe",
    "num_experts": 8,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 64,
}
LLAMA = MINIMAL | {"model_type": "llama"}
# What the families need beside that, where it isn't Qwen's or nothing.
NEEDED = {
    "qwen2_moe": QWEN_MOE,
    "qwen3_moe": QWEN_MOE,
    "deepseek_v2": {"moe_intermediate_size": 64, "num_experts_per_tok": 6},
    "llama4_text": {"intermediate_size_mlp": 256},
} | {
    key: {"moe_intermediate_size": 64}
    for key in ("deepseek_v3", "deepseek_v32", "kimi_k2", "glm4_moe", "glm4_moe_lite")
}
LATENT_SIZES = {
    "q_lora_rank": 1536,
    "kv_lora_rank": 512,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "attention_bias": False,
}

# Defaults of the configuration classes of transformers 5.19.
DEFAULTS = {
    "llama": {"num_key_value_heads": 64, "head_dim": 64, "attention_bias": False, "mlp_bias": False},
    "mistral": {"num_key_value_heads": 8, "head_dim": 64, "sliding_window": 4096},
    "mixtral": {"num_key_value_heads": 8, "num_local_experts": 8, "num_experts_per_tok": 2, "sliding_window": None},
    "olmoe": {"num_key_value_heads": 64, "num_experts": 64, "num_experts_per_tok": 8, "attention_bias": False},
    "qwen2": {"num_key_value_heads": 32, "use_sliding_window": False},
    "qwen3": {"num_key_value_heads": 32, "head_dim": 128, "attention_bias": False, "use_sliding_window": False},
    "qwen2_moe": {
        "num_key_value_heads": 16,
        "shared_expert_intermediate_size": 5632,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
        "qkv_bias": True,
        "use_sliding_window": False,
    },
    "qwen3_moe": {"num_key_value_heads": 4, "decoder_sparse_step": 1, "mlp_only_layers": [], "attention_bias": False},
    "gpt_oss": {
        "num_key_value_heads": 8,
        "head_dim": 64,
        "num_local_experts": 128,
        "num_experts_per_tok": 4,
        "attention_bias": True,
        "layer_types": ["sliding_attention", "full_attention"] * 15,
        "sliding_window": 128,
    },
    "deepseek_v2": LATENT_SIZES
    | {"n_routed_experts": 64, "n_shared_experts": 2, "first_k_dense_replace": 0, "mlp_bias": False},
    "deepseek_v3": LATENT_SIZES
    | {"n_routed_experts": 256, "n_shared_experts": 1, "first_k_dense_replace": 3, "num_experts_per_tok": 8},
    "glm4_moe_lite": LATENT_SIZES
    | {
        "q_lora_rank": 768,
        "qk_nope_head_dim": 192,
        "v_head_dim": 256,
        "n_routed_experts": 64,
        "n_shared_experts": 1,
        "num_experts_per_tok": 4,
        "mlp_layer_types": ["dense"] + ["sparse"] * 29,
    },
    "glm4_moe": {
        "num_key_value_heads": 8,
        "n_routed_experts": 128,
        "n_shared_experts": 1,
        "num_experts_per_tok": 8,
        "first_k_dense_replace": 1,
        "attention_bias": False,
        "use_qk_norm": False,
    },
    "gemma3_text": {
        "num_key_value_heads": 4,
        "head_dim": 256,
        "attention_bias": False,
        "sliding_window": 4096,
        "layer_types": (["sliding_attention"] * 5 + ["full_attention"]) * 5,
        "tie_word_embeddings": True,
    },
    "deepseek_v4": {
        "num_key_value_heads": 1,
        "head_dim": 512,
        "q_lora_rank": 1024,
        "o_groups": 8,
        "o_lora_rank": 1024,
        "hc_mult": 4,
        "index_n_heads": 64,
        "index_head_dim": 128,
        "index_topk": 512,
        "sliding_window": 128,
        "compress_ratios": [128, 128] + [128, 4] * 14,
        # As transformers saves it.
        "compress_rates": {"compressed_sparse_attention": 4, "heavily_compressed_attention": 128},
        "num_hash_layers": 3,
        "n_routed_experts": 256,
        "num_experts_per_tok": 6,
        "n_shared_experts": 1,
        "moe_intermediate_size": 2048,
    },
    "gemma4_text": {
        "num_key_value_heads": 4,
        "head_dim": 256,
        "global_head_dim": 512,
        "attention_bias": False,
        "attention_k_eq_v": False,
        "sliding_window": 512,
        "layer_types": (["sliding_attention"] * 5 + ["full_attention"]) * 5,
        "num_kv_shared_layers": 0,
        "use_double_wide_mlp": False,
        "enable_moe_block": False,
        "hidden_size_per_layer_input": 256,
        "vocab_size_per_layer_input": 262_144,
        "tie_word_embeddings": True,
    },
    "llama4_text": {
        "num_key_value_heads": 8,
        "head_dim": 128,
        "num_local_experts": 16,
        "num_experts_per_tok": 1,
        "interleave_moe_layer_step": 1,
        "attention_chunk_size": 8192,
        "no_rope_layers": [1, 1, 1, 0] * 7 + [1, 1],
        "attention_bias": False,
    },
}
DEFAULTS["kimi_k2"] = DEFAULTS["deepseek_v3"]
DEFAULTS["deepseek_v32"] = DEFAULTS["deepseek_v3"] | {"index_n_heads": 64, "index_head_dim": 128, "index_topk": 2048}


@pytest.mark.parametrize("family", FAMILIES)
def test_keys_left_out_have_the_familys_own_defaults(family):
    config = MINIMAL | {"num_attention_heads": 64} | NEEDED.get(family, {}) | {"model_type": family}
    defaults = {"tie_word_embeddings": False} | DEFAULTS[family]
    assert from_config(config, family) == from_config(config | defaults, family)


@given(configs())
@settings(max_examples=50)
def test_shapes_are_read_as_they_stand(config):
    architecture = from_config(config, "random")
    for field, key in (
        ("hidden_size", "hidden_size"),
        ("heads", "num_attention_heads"),
        ("kv_heads", "num_key_value_heads"),
        ("vocab_size", "vocab_size"),
        ("tied_embeddings", "tie_word_embeddings"),
    ):
        assert getattr(architecture, field) == config[key]
    expected = [is_sparse(config, i) for i in range(config["num_hidden_layers"])]
    assert [layer.sparse for layer in architecture.layers] == expected
    assert len(architecture.sparse_layers) == sum(expected)


NARROW_FIRST = ["sliding_attention"] + ["full_attention"] * 29


@pytest.mark.parametrize(
    ("changes", "windows"),
    [
        ({"model_type": "mistral"}, [4096] * 30),
        ({"model_type": "mistral", "sliding_window": 512}, [512] * 30),
        ({"model_type": "mistral", "sliding_window": None}, [0] * 30),
        ({"model_type": "mixtral"}, [0] * 30),
        ({"model_type": "mixtral", "sliding_window": 4096}, [4096] * 30),
        ({"model_type": "llama", "sliding_window": 4096}, [0] * 30),
        ({"model_type": "qwen2", "sliding_window": 4096}, [0] * 30),
        ({"model_type": "qwen2", "sliding_window": 4096, "use_sliding_window": True}, [0] * 28 + [4096] * 2),
        ({"model_type": "qwen3", "use_sliding_window": True, "max_window_layers": 10}, [0] * 10 + [4096] * 20),
        (
            {"model_type": "qwen3", "use_sliding_window": True, "layer_types": NARROW_FIRST},
            [4096] + [0] * 29,
        ),
        (QWEN_MOE | {"use_sliding_window": True, "max_window_layers": 4}, [4096, 0, 4096] + [0] * 27),
        (QWEN_MOE | {"model_type": "qwen3_moe", "use_sliding_window": True, "max_window_layers": 4}, [4096] * 30),
        ({"model_type": "gpt_oss"}, [128, 0] * 15),
        ({"model_type": "gpt_oss", "sliding_window": 64, "layer_types": NARROW_FIRST}, [64] + [0] * 29),
        ({"model_type": "gemma3_text", "sliding_window": 512}, ([512] * 5 + [0]) * 5),
        ({"model_type": "gemma3_text", "sliding_window": 512, "sliding_window_pattern": 2}, [512, 0] * 15),
        ({"model_type": "gemma4_text"}, ([512] * 5 + [0]) * 5),
        ({"model_type": "gemma4_text", "layer_types": NARROW_FIRST[:1] * 30}, [512] * 29 + [0]),
        ({"model_type": "llama4_text", "intermediate_size_mlp": 64}, [8192, 8192, 8192, 0] * 7 + [8192] * 2),
        ({"model_type": "llama4_text", "attention_chunk_size": None}, [0] * 30),
    ],
)
def test_attention_windows(changes, windows):
    config = MINIMAL | {"num_key_value_heads": 8} | changes
    assert [layer.window for layer in from_config(config, "x").layers] == windows


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "x: model_type: expected one of llama, mistral, .*, found None"),
        (LLAMA | {"model_type": "gpt2"}, "x: model_type: expected one of .*, found 'gpt2'"),
        (LLAMA | {"model_type": ["llama"]}, "x: model_type: expected one of"),
        (LLAMA | {"kv_lora_rank": 512}, "x: kv_lora_rank: not a plain llama decoder"),
        (LLAMA | {"q_lora_rank": 1536}, "x: q_lora_rank: not a plain llama decoder"),
        (QWEN_MOE | {"n_group": 8}, "x: n_group: not a plain qwen2_moe decoder"),
        (LLAMA | {"num_nextn_predict_layers": 1}, "x: num_nextn_predict_layers: not a plain"),
        (LLAMA | {"text_config": {}}, "x: text_config: not a plain"),
        (LLAMA | {"vision_config": {}}, "x: vision_config: not a plain"),
        (LLAMA | {"hidden_size": "4096"}, "x: hidden_size: expected a positive integer, found '4096'"),
        (LLAMA | {"hidden_size": 4096.0}, "x: hidden_size: expected a positive integer, found 4096.0"),
        (LLAMA | {"num_hidden_layers": True}, "x: num_hidden_layers: expected a positive integer, found True"),
        (LLAMA | {"vocab_size": 0}, "x: vocab_size: expected a positive integer, found 0"),
        (LLAMA | {"intermediate_size": -1}, "x: intermediate_size: expected a positive integer, found -1"),
        (LLAMA | {"head_dim": 0}, "x: head_dim: expected a positive integer, found 0"),
        (LLAMA | {"num_key_value_heads": 7}, "x: 64 attention heads are not a multiple of 7 KV heads"),
        (LLAMA | {"hidden_size": 4097}, "x: hidden_size 4097 is not a multiple of 64 heads; head_dim is needed"),
        (LLAMA | {"tie_word_embeddings": 1}, "x: tie_word_embeddings: expected true or false, found 1"),
        (LLAMA | {"attention_bias": "no"}, "x: attention_bias: expected true or false, found 'no'"),
        (MIXTRAL_LIKE | {"num_experts_per_tok": 9}, "x: num_experts_per_tok: 9 of 8 experts"),
        (QWEN_MOE | {"num_experts_per_tok": 9}, "x: num_experts_per_tok: 9 of 8 experts"),
        (QWEN_MOE | {"num_experts": None}, "x: num_experts: expected a positive integer, found None"),
        (QWEN_MOE | {"decoder_sparse_step": 0}, "x: decoder_sparse_step: expected a positive integer, found 0"),
        (QWEN_MOE | {"mlp_only_layers": 3}, "x: mlp_only_layers: expected a list of layer numbers, found 3"),
        (QWEN_MOE | {"mlp_only_layers": ["a"]}, "x: mlp_only_layers: expected a list of layer numbers"),
    ],
)
def test_what_is_unknown_or_impossible_is_refused_in_one_line(config, message):
    with pytest.raises(UsageError, match=message) as caught:
        from_config(config, "x")
    assert "\n" not in str(caught.value)


GEMMA4 = MINIMAL | {"model_type": "gemma4_text", "num_key_value_heads": 8}


def test_heads_that_are_told_layer_by_layer_are_all_that_counts():
    told = from_config(GEMMA4 | {"per_layer_config": {"02": {"head_dim": 256}}, "global_head_dim": 1024}, "x")
    assert {i: layer.head_dim for i, layer in enumerate(told.layers) if layer.head_dim} == {2: 256}
    # Which layers have the full context is told elsewhere.
    assert [i for i, layer in enumerate(told.layers) if not layer.window] == [5, 11, 17, 23, 29]
    assert not any(layer.head_dim for layer in from_config(GEMMA4 | {"per_layer_config": None}, "x").layers)


DEEPSEEK = MINIMAL | NEEDED["deepseek_v3"] | {"model_type": "deepseek_v3"}
GEMMA = {
    "model_type": "gemma3",
    "text_config": {"hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": 12},
    "vision_config": {
        "hidden_size": 1152,
        "intermediate_size": 4304,
        "num_hidden_layers": 27,
        "image_size": 896,
        "patch_size": 14,
    },
}
MISTRAL3 = {"model_type": "mistral3", "text_config": MINIMAL, "vision_config": GEMMA["vision_config"]}


def inside(config, key, **changes):
    """The same with changes to one of its tables."""
    return config | {key: config[key] | changes}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (GEMMA | {"text_config": None}, "x: text_config: expected a table, found None"),
        (GEMMA | {"vision_config": None}, "x: vision_config: expected a table, found None"),
        (inside(GEMMA, "text_config", hidden_size="a"), "x: text_config.hidden_size: expected a positive integer"),
        (inside(GEMMA, "text_config", model_type="gpt2"), "x: text_config.model_type: expected one of .*'gpt2'"),
        (
            inside(GEMMA, "vision_config", model_type="clip"),
            "x: vision_config.model_type: expected siglip_vision_model",
        ),
        (inside(GEMMA, "vision_config", patch_size=0), "x: vision_config.patch_size: expected a positive integer"),
        (inside(GEMMA, "text_config", num_key_value_heads=3), "x: text_config: 8 attention heads are not a multiple"),
        (MISTRAL3 | {"vision_feature_layer": [1, 2]}, "x: vision_feature_layer: expected -1, the last layer"),
        (
            {"model_type": "kimi_k25", "text_config": DEEPSEEK, "vision_config": {"merge_kernel_size": [4, 4]}},
            "x: vision_config.merge_kernel_size: expected 2 by 2",
        ),
        (DEEPSEEK | {"index_topk": 2048}, "x: index_topk: not a plain deepseek_v3 decoder"),
        (DEEPSEEK | {"moe_layer_freq": 2}, "x: moe_layer_freq: expected 1"),
        (DEEPSEEK | {"first_k_dense_replace": -1}, "x: first_k_dense_replace: expected a positive integer, found -1"),
        (DEEPSEEK | {"kv_lora_rank": "a"}, "x: kv_lora_rank: expected a positive integer, found 'a'"),
        (DEEPSEEK | {"mlp_layer_types": ["sparse"]}, "x: mlp_layer_types: expected a list of 30 entries"),
        (DEEPSEEK | {"mlp_layer_types": ["moe"] * 30}, "x: mlp_layer_types: expected dense or sparse, found 'moe'"),
        (
            MINIMAL | {"model_type": "gpt_oss", "layer_types": ["linear_attention"] * 30},
            "x: layer_types: expected sliding_attention or full_attention, found 'linear_attention'",
        ),
        (MINIMAL | {"model_type": "gpt_oss", "layer_types": "full"}, "x: layer_types: expected a list of 30 entries"),
        (
            MINIMAL | {"model_type": "gemma3_text", "use_bidirectional_attention": True},
            "x: use_bidirectional_attention: not a plain gemma3_text decoder",
        ),
        (
            GEMMA4 | {"use_bidirectional_attention": "all"},
            "x: use_bidirectional_attention: not a plain gemma4_text decoder",
        ),
        (
            MINIMAL | {"model_type": "gemma3_text", "per_layer_config": {"5": {"head_dim": 512}}},
            "x: per_layer_config: not a plain gemma3_text decoder",
        ),
        (GEMMA4 | {"per_layer_config": [512]}, r"x: per_layer_config: expected a table, found \[512\]"),
        (
            GEMMA4 | {"per_layer_config": {"30": {"head_dim": 512}}},
            "x: per_layer_config: expected numbers of 30 layers, found '30'",
        ),
        (GEMMA4 | {"per_layer_config": {"05": 512}}, "x: per_layer_config.05: expected a table, found 512"),
        (
            GEMMA4 | {"per_layer_config": {"05": {"head_dim": 0}}},
            "x: per_layer_config.05.head_dim: expected a positive integer, found 0",
        ),
        (
            GEMMA4 | {"per_layer_config": {"05": {"skip": ["mlp"]}}},
            "x: per_layer_config.05.skip: expected num_key_value_heads or head_dim: ",
        ),
        (GEMMA4 | {"num_kv_shared_layers": 30}, "x: num_kv_shared_layers: 30 of 30 layers"),
        (GEMMA4 | {"enable_moe_block": True}, "x: num_experts: expected a positive integer, found None"),
        (
            GEMMA4 | {"enable_moe_block": True, "num_experts": 4, "top_k_experts": 8, "moe_intermediate_size": 64},
            "x: top_k_experts: 8 of 4 experts",
        ),
        (
            {"model_type": "gemma4", "text_config": GEMMA4, "vision_config": {}, "audio_config": {"hidden_size": 1024}},
            "x: audio_config: what hears is not known here",
        ),
        (
            {"model_type": "gemma4", "text_config": GEMMA4, "vision_config": {"attention_bias": True}},
            "x: vision_config.attention_bias: expected false",
        ),
        (
            DEEPSEEK | {"model_type": "deepseek_v32", "index_head_dim": 100},
            "x: index_head_dim: expected a multiple of 128",
        ),
        (DEEPSEEK | {"model_type": "deepseek_v32", "q_lora_rank": None}, "x: q_lora_rank: expected a positive integer"),
        (
            MINIMAL | {"model_type": "deepseek_v4", "o_groups": 3},
            "x: o_groups: 64 attention heads are not a multiple of 3",
        ),
        (
            MINIMAL | {"model_type": "deepseek_v4", "compress_ratios": [2] * 30},
            "x: compress_ratios: expected 0, 4 or 128",
        ),
        (
            MINIMAL | {"model_type": "deepseek_v4", "layer_types": ["full_attention"] * 30},
            "x: layer_types: expected one of",
        ),
        (
            MINIMAL | {"model_type": "deepseek_v4", "compress_rate_csa": 8},
            "x: compress_rate_csa: entries of other than 4",
        ),
        (MINIMAL | {"model_type": "deepseek_v4", "n_shared_experts": 2}, "x: n_shared_experts: expected 1"),
        (MINIMAL | {"model_type": "deepseek_v4", "kv_lora_rank": 512}, "x: kv_lora_rank: not a plain deepseek_v4"),
        (MINIMAL | {"model_type": "llama4_text"}, "x: intermediate_size_mlp: expected a positive integer, found None"),
    ],
)
def test_what_is_unknown_of_newer_families_is_refused_by_its_key(config, message):
    config = config | ({"interleave_moe_layer_step": 2} if config["model_type"] == "llama4_text" else {})
    with pytest.raises(UsageError, match=message) as caught:
        from_config(config, "x")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("outside", "within", "tied"),
    [({}, {}, True), ({"tie_word_embeddings": False}, {}, False), ({}, {"tie_word_embeddings": False}, False)],
)
def test_a_model_of_parts_is_tied_as_its_decoder_says_or_the_file_or_the_family(outside, within, tied):
    found = from_config(inside(GEMMA, "text_config", **within) | outside, "x")
    assert found.tied_embeddings == tied
    assert from_config(MISTRAL3, "x").tied_embeddings is False
    both = {"tie_word_embeddings": not tied}
    assert from_config(inside(GEMMA, "text_config", tie_word_embeddings=tied) | both, "x").tied_embeddings == tied


def test_what_a_decoder_of_parts_leaves_out_has_its_familys_defaults():
    found = from_config(GEMMA, "x")
    assert (found.family, found.heads, found.kv_heads, found.head_dim, found.vocab_size) == (
        "gemma3_text",
        8,
        4,
        256,
        262_208,
    )
    assert [layer.window for layer in found.layers] == ([4096] * 5 + [0]) * 2


@pytest.mark.parametrize(
    ("config", "key"),
    [(LLAMA, key) for key in MINIMAL]
    + [(QWEN_MOE, key) for key in ("num_experts", "num_experts_per_tok", "moe_intermediate_size")]
    + [(MIXTRAL_LIKE, "intermediate_size")],
)
def test_a_missing_key_is_named(config, key):
    without = {name: value for name, value in config.items() if name != key}
    with pytest.raises(UsageError, match=f"^x: {key}: expected a positive integer, found None$"):
        from_config(without, "x")


@pytest.mark.parametrize("key", ["kv_lora_rank", "q_lora_rank", "n_group", "text_config", "vision_config"])
def test_a_null_key_of_another_family_does_no_harm(key):
    assert from_config(LLAMA | {key: None}, "x") == from_config(LLAMA, "x")


def test_the_shipped_models_are_what_they_are_called():
    assert (MIXTRAL.family, len(MIXTRAL.layers), MIXTRAL.layers[0].experts, MIXTRAL.layers[0].top_k) == (
        "mixtral",
        32,
        8,
        2,
    )
    assert all(layer.sparse and layer.mlp_size == 0 for layer in MIXTRAL.layers)
    assert (LLAMA_8B.heads, LLAMA_8B.kv_heads, LLAMA_8B.head_dim) == (32, 8, 128)
    assert (len(LLAMA_70B.layers), LLAMA_70B.hidden_size) == (80, 8192)
    assert not LLAMA_8B.sparse_layers


@pytest.mark.parametrize("family", SPARSE)
def test_which_families_have_shared_experts(family):
    config = QWEN_MOE | NEEDED.get(family, {}) | {"model_type": family, "num_local_experts": 8}
    found = {layer.mlp_size for layer in from_config(config, "x").sparse_layers}
    shared = {"deepseek_v4": 64, "qwen2_moe": 5632, "llama4_text": 128, "deepseek_v2": 128}
    assert found == {shared.get(family, 64 if family in SHARED else 0)}


@pytest.mark.parametrize(
    ("parallel", "architecture", "message"),
    [
        (Parallel(0, 1), MIXTRAL, "tp, ep and dp must be positive, found 0, 1 and 1"),
        (Parallel(1, -1), MIXTRAL, "tp, ep and dp must be positive, found 1, -1 and 1"),
        (Parallel(2, 3), MIXTRAL, "of tp 2 and ep 3 one must be a multiple of the other"),
        (Parallel(3, 1), MIXTRAL, "32 attention heads do not divide over tp 3"),
        (
            Parallel(6, 1),
            from_config(LLAMA | {"num_attention_heads": 48, "hidden_size": 48, "num_key_value_heads": 4}, "x"),
            "4 KV heads do not divide over tp 6",
        ),
        (Parallel(2, 2), LLAMA_8B, "ep 2 needs a model with experts; llama has none"),
        (Parallel(1, 2), LLAMA_8B, "ep 2 needs a model with experts; llama has none"),
        (Parallel(1, 3), MIXTRAL, "8 experts do not divide over ep 3"),
        (Parallel(1, 16), MIXTRAL, "8 experts do not divide over ep 16"),
        (Parallel(2, 2, 2), MIXTRAL, "2 copies of the attention of a model with experts need ep 4, found 2"),
        (Parallel(1, 2, 2), LLAMA_8B, "ep 2 needs a model with experts; llama has none"),
    ],
)
def test_what_cannot_be_spread_is_refused_in_one_line(parallel, architecture, message):
    with pytest.raises(UsageError, match=f"^here: {message}$"):
        parallel.check(architecture, "here")


@pytest.mark.parametrize(
    ("parallel", "gpus", "replicas"),
    [
        (Parallel(1, 1), 1, 1),
        (Parallel(4, 1), 4, 1),
        (Parallel(4, 4), 4, 1),
        (Parallel(1, 4), 4, 4),
        (Parallel(2, 8), 8, 4),
        (Parallel(8, 2), 8, 1),
        (Parallel(16, 1), 16, 1),
    ],
)
def test_gpus_and_replicas(parallel, gpus, replicas):
    parallel.check(MIXTRAL, "")
    assert (parallel.gpus, parallel.replicas) == (gpus, replicas)

"""Parameter counts: equal to those of the published models, and to a second count of random ones, tensor by tensor."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.analytical import parameters
from fixtures.analytical.architecture import from_config
from perf_tests.analytical.strategies import FAMILIES, SPARSE, architectures, configs, tensors

pytestmark = pytest.mark.cpu


def config(family, shape, heads, vocab, tied=False, **more):
    layers, hidden, intermediate = shape
    return {
        "model_type": family,
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "num_attention_heads": heads[0],
        "num_key_value_heads": heads[1],
        "vocab_size": vocab,
        "tie_word_embeddings": tied,
        **more,
    }


# Published configurations. The counts are those of the models that transformers 5.19 builds from them: all parameters,
# and all but the experts that a token isn't sent to.
PUBLISHED = {
    "Llama-3.1-8B": (config("llama", (32, 4096, 14336), (32, 8), 128256), 8_030_261_248, 8_030_261_248),
    "Llama-3.1-70B": (config("llama", (80, 8192, 28672), (64, 8), 128256), 70_553_706_496, 70_553_706_496),
    "Llama-3.2-1B": (
        config("llama", (16, 2048, 8192), (32, 8), 128256, True, head_dim=64),
        1_235_814_400,
        1_235_814_400,
    ),
    "Mistral-7B-v0.1": (
        config("mistral", (32, 4096, 14336), (32, 8), 32000, sliding_window=4096),
        7_241_732_096,
        7_241_732_096,
    ),
    "Mixtral-8x7B-v0.1": (
        config("mixtral", (32, 4096, 14336), (32, 8), 32000, num_local_experts=8, num_experts_per_tok=2),
        46_702_792_704,
        12_879_925_248,
    ),
    "Qwen2-7B": (
        config("qwen2", (28, 3584, 18944), (28, 4), 152064, use_sliding_window=False, max_window_layers=28),
        7_615_616_512,
        7_615_616_512,
    ),
    "Qwen2.5-0.5B": (config("qwen2", (24, 896, 4864), (14, 2), 151936, True), 494_032_768, 494_032_768),
    "Qwen3-8B": (config("qwen3", (36, 4096, 12288), (32, 8), 151936, head_dim=128), 8_190_735_360, 8_190_735_360),
    "Qwen3-0.6B": (config("qwen3", (28, 1024, 3072), (16, 8), 151936, True, head_dim=128), 596_049_920, 596_049_920),
    "Qwen1.5-MoE-A2.7B": (
        config(
            "qwen2_moe",
            (24, 2048, 5632),
            (16, 16),
            151936,
            num_experts=60,
            num_experts_per_tok=4,
            moe_intermediate_size=1408,
            shared_expert_intermediate_size=5632,
        ),
        14_315_784_192,
        2_689_173_504,
    ),
    "Qwen3-30B-A3B": (
        config(
            "qwen3_moe",
            (48, 2048, 6144),
            (32, 4),
            151936,
            head_dim=128,
            num_experts=128,
            num_experts_per_tok=8,
            moe_intermediate_size=768,
            mlp_only_layers=[],
        ),
        30_532_122_624,
        3_353_032_704,
    ),
    "OLMoE-1B-7B-0924": (
        config("olmoe", (16, 2048, 1024), (16, 16), 50304, num_experts=64, num_experts_per_tok=8),
        6_919_161_856,
        1_282_017_280,
    ),
}

# What the models' authors say, in billions: all parameters and active ones.
CLAIMED = {
    "Llama-3.1-8B": (8.03, 8.03),
    "Llama-3.1-70B": (70.55, 70.55),
    "Llama-3.2-1B": (1.236, 1.236),
    "Mistral-7B-v0.1": (7.24, 7.24),
    "Mixtral-8x7B-v0.1": (46.70, 12.88),
    "Qwen2-7B": (7.616, 7.616),
    "Qwen2.5-0.5B": (0.494, 0.494),
    "Qwen3-8B": (8.19, 8.19),
    "Qwen3-0.6B": (0.596, 0.596),
    "Qwen1.5-MoE-A2.7B": (14.3, 2.7),
    "Qwen3-30B-A3B": (30.53, 3.34),
    "OLMoE-1B-7B-0924": (6.92, 1.28),
}


def test_every_family_has_a_published_model():
    assert {published["model_type"] for published, *_ in PUBLISHED.values()} == set(FAMILIES)
    assert set(CLAIMED) == set(PUBLISHED)


@pytest.mark.parametrize("name", PUBLISHED)
def test_counts_are_those_of_the_published_model(name):
    published, total, active = PUBLISHED[name]
    architecture = from_config(published, name)
    assert parameters.total(architecture) == total
    assert parameters.active(architecture) == active
    assert (total / 1e9, active / 1e9) == pytest.approx(CLAIMED[name], rel=5e-3)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_input_embedding_is_not_multiplied_but_a_tied_head_is(name):
    published, _, active = PUBLISHED[name]
    looked_up = 0 if published["tie_word_embeddings"] else published["vocab_size"] * published["hidden_size"]
    assert parameters.active_without_embedding(from_config(published, name)) == active - looked_up


@given(configs())
@settings(max_examples=100)
def test_counts_equal_those_of_the_tensors(random):
    architecture, every = from_config(random, "random"), tensors(random)
    used = [t.count * t.top_k // t.experts if t.experts else t.count for t in every]
    assert parameters.total(architecture) == sum(t.count for t in every)
    assert parameters.active(architecture) == sum(used)
    looked_up = sum(t.count for t in every if t.looked_up)
    assert parameters.active_without_embedding(architecture) == sum(used) - looked_up


@given(configs(), st.sampled_from(("hidden_size", "num_hidden_layers", "vocab_size", "intermediate_size")))
@settings(max_examples=50)
def test_counts_grow_with_every_dimension(random, key):
    random["head_dim"] = random.get("head_dim", random["hidden_size"] // random["num_attention_heads"])
    random |= {"mlp_only_layers": [], "decoder_sparse_step": 1}
    if key == "intermediate_size" and random["model_type"] in ("qwen2_moe", "qwen3_moe"):
        key = "moe_intermediate_size"
    before, after = (from_config(c, "random") for c in (random, random | {key: random[key] + 1}))
    assert parameters.total(after) > parameters.total(before)
    assert parameters.active(after) > parameters.active(before)


@given(configs(SPARSE), st.integers(1, 8))
@settings(max_examples=50)
def test_another_expert_adds_to_the_total_and_only_its_router_row_to_the_active(random, more):
    key = "num_local_experts" if random["model_type"] == "mixtral" else "num_experts"
    before, after = (from_config(c, "random") for c in (random, random | {key: random[key] + more}))
    sparse = before.sparse_layers
    added = sum(more * (parameters.expert(before, layer) + before.hidden_size) for layer in sparse)
    assert parameters.total(after) - parameters.total(before) == added
    assert parameters.active(after) - parameters.active(before) == len(sparse) * more * before.hidden_size


@given(architectures())
@settings(max_examples=50)
def test_active_is_all_of_a_dense_model_and_of_a_sparse_one_that_uses_every_expert(architecture):
    layers = tuple(dataclasses.replace(layer, top_k=layer.experts) for layer in architecture.layers)
    everything = dataclasses.replace(architecture, layers=layers)
    assert parameters.active(everything) == parameters.total(everything) == parameters.total(architecture)
    assert parameters.active(architecture) <= parameters.total(architecture)
    assert (parameters.active(architecture) == parameters.total(architecture)) == all(
        layer.top_k == layer.experts for layer in architecture.layers
    )


def test_the_gated_mlp_has_three_matrices():
    assert parameters.gated_mlp(4096, 14336) == 3 * 4096 * 14336


SMALL = {
    "hidden_size": 64,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_hidden_layers": 2,
    "vocab_size": 100,
    "intermediate_size": 32,
}


@pytest.mark.parametrize(
    ("family", "change", "count"),
    [
        ("qwen2", {"num_key_value_heads": None}, 58560),
        ("qwen3", {"num_key_value_heads": None}, 288064),
        ("qwen2", {"qkv_bias": False}, 50240),
        ("mistral", {"attention_bias": True}, 49984),
        ("mixtral", {"attention_bias": True}, 137024),
    ],
)
def test_corner_cases_are_counted_as_transformers_builds_them(family, change, count):
    """Counts of models that transformers 5.19 built on its meta device."""
    assert parameters.total(from_config(SMALL | {"model_type": family} | change, "x")) == count


def test_qwen3_moe_as_transformers_5_saves_it():
    config = SMALL | {"model_type": "qwen3_moe", "moe_intermediate_size": 8, "num_experts_per_tok": 2}
    assert from_config(config | {"num_local_experts": 4}, "x") == from_config(config | {"num_experts": 4}, "x")

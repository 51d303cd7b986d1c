"""Parameter counts: equal to those of the published models, and to a second count of random ones, tensor by tensor."""

import dataclasses
import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.analytical import memory, parameters
from fixtures.analytical.architecture import from_config
from fixtures.analytical.families import NESTED_FAMILIES
from fixtures.analytical.parallel import Parallel
from fixtures.analytical.precision import precision
from perf_tests.analytical.models import LLAMA_8B
from perf_tests.analytical.strategies import FAMILIES, SPARSE, architectures, configs, experts_key, tensors

pytestmark = pytest.mark.cpu


# Written by perf_tests/tools/record_models.py: counts of transformers' models, and of each rank of vLLM's.
FILE = json.loads((Path(__file__).parent / "published.json").read_text())
PUBLISHED = FILE["models"]
IN_RANKS = [(name, spread) for name, entry in PUBLISHED.items() for spread in entry.get("ranks", ())]
BF16 = precision("bf16")


def published(name):
    return from_config(PUBLISHED[name]["config"], name)


def parallel(spread):
    """``tp2ep2``"""
    tp, ep = re.fullmatch(r"tp(\d+)(?:ep(\d+))?", spread).groups()
    return Parallel(int(tp), int(ep or 1))


def test_every_family_has_a_published_model():
    assert {published(name).family for name in PUBLISHED} == set(FAMILIES)
    assert {entry["config"]["model_type"] for entry in PUBLISHED.values()} > set(NESTED_FAMILIES)
    assert set(FILE["versions"]) == {"transformers", "vllm"}


@pytest.mark.parametrize("name", PUBLISHED)
def test_counts_are_those_of_transformers_model(name):
    entry, architecture = PUBLISHED[name], published(name)
    assert parameters.total(architecture) == entry["total"]
    assert parameters.active(architecture) == entry["active"]
    for counted, claimed in zip((entry["total"], entry["active"]), entry["claimed"], strict=True):
        # What the models' authors say, in billions. Of active parameters not all of them count the same ones.
        assert claimed is None or counted / 1e9 == pytest.approx(claimed, rel=7e-3)


SAVED = ", saved by transformers"


@pytest.mark.parametrize("name", [name for name in PUBLISHED if name.endswith(SAVED)])
def test_what_transformers_saves_of_a_model_is_that_model(name):
    assert published(name) == published(name.removesuffix(SAVED))


@pytest.mark.parametrize(("name", "spread"), IN_RANKS)
def test_bytes_of_every_rank_are_those_of_vllms_model(name, spread):
    held = memory.weight_bytes_per_gpu(published(name), BF16, parallel(spread))
    assert PUBLISHED[name]["ranks"][spread] == [held] * parallel(spread).gpus


@pytest.mark.parametrize("name", PUBLISHED)
def test_embeddings_are_not_multiplied_but_a_tied_head_is(name):
    architecture = published(name)
    looked_up = 0 if architecture.tied_embeddings else architecture.vocab_size * architecture.hidden_size
    # A row of what enters each layer is looked up too.
    looked_up += len(architecture.layers) * architecture.layer_input * architecture.layer_vocab_size
    assert parameters.active_without_embedding(architecture) == parameters.active(architecture) - looked_up


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
    random |= {"mlp_only_layers": [], "decoder_sparse_step": 1, "interleave_moe_layer_step": 1}
    if key == "intermediate_size" and "moe_intermediate_size" in random:
        random |= {"first_k_dense_replace": 0, "mlp_layer_types": None}
        key = "moe_intermediate_size"
    if key == "num_hidden_layers":
        random |= {"mlp_layer_types": None}
    before, after = (from_config(c, "random") for c in (random, random | {key: random[key] + 1}))
    assert parameters.total(after) > parameters.total(before)
    assert parameters.active(after) > parameters.active(before)


@given(configs(SPARSE), st.integers(1, 8))
@settings(max_examples=50)
def test_another_expert_adds_to_the_total_and_only_its_router_row_to_the_active(random, more):
    key = experts_key(random["model_type"])
    before, after = (from_config(c, "random") for c in (random, random | {key: random[key] + more}))
    sparse, hidden, biased = before.sparse_layers, before.hidden_size, random["model_type"] == "gpt_oss"
    row = hidden + biased  # of the router
    biases = biased * (2 * random["intermediate_size"] + hidden)
    added = sum(more * (parameters.expert(before, layer) + biases + row) for layer in sparse)
    assert parameters.total(after) - parameters.total(before) == added
    assert parameters.active(after) - parameters.active(before) == len(sparse) * more * row


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
    assert parameters.of_part(LLAMA_8B, LLAMA_8B.layers[0], "mlp") == 3 * 4096 * 14336


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

"""Configurations of other families: nested, under other names, with what is left to a class; what tells two apart."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.analytical.architecture import from_config
from fixtures.deployments import capacity
from fixtures.deployments.cell import Block
from fixtures.engines.pool import spec_of
from fixtures.errors import UsageError
from fixtures.models.model import Model
from perf_tests.fakes.deployments import head, load, workload
from perf_tests.fakes.mutations import assert_one_line, misfilled

pytestmark = pytest.mark.cpu

# The shapes of published configurations, cut short.
MISTRAL3 = {
    "architectures": ["Mistral3ForConditionalGeneration"],
    "model_type": "mistral3",
    "image_token_index": 10,
    "text_config": {
        "model_type": "mistral",
        "hidden_size": 5120,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "num_hidden_layers": 40,
        "intermediate_size": 32768,
        "vocab_size": 131072,
    },
    "vision_config": {"hidden_size": 1024, "num_attention_heads": 16, "num_hidden_layers": 24},
}
GEMMA3 = {
    "model_type": "gemma3",
    "text_config": {
        "hidden_size": 2560,
        "intermediate_size": 10240,
        "model_type": "gemma3_text",
        "num_hidden_layers": 34,
        "sliding_window": 1024,
    },
    "vision_config": {"hidden_size": 1152},
}
GPT2 = {"model_type": "gpt2", "n_embd": 768, "n_head": 12, "n_layer": 12, "vocab_size": 50257}
FALCON = {"model_type": "falcon", "hidden_size": 4544, "n_head": 71, "n_layer": 32, "vocab_size": 65024}
MPT = {"model_type": "mpt", "d_model": 4096, "n_heads": 32, "n_layers": 32, "vocab_size": 50432}
CHATGLM = {"model_type": "chatglm", "num_attention_heads": 32, "num_layers": 40, "padded_vocab_size": 151552}
INTERN = {"model_type": "internvl_chat", "llm_config": MISTRAL3["text_config"], "vision_config": {}}
OMNI = {"model_type": "qwen2_5_omni", "thinker_config": {"text_config": MISTRAL3["text_config"], "audio_config": {}}}
LLAVA = {"model_type": "llava", "text_config": {"model_type": "llama", "vocab_size": 32064}, "vision_config": {}}


@pytest.fixture
def model(tmp_path):
    def loaded(config):
        (tmp_path / "config.json").write_text(json.dumps(config))
        return Model.load(f"{tmp_path}/", "test")

    return loaded


@pytest.mark.parametrize(
    ("config", "sizes"),
    [
        (MISTRAL3, (131072, 32, 40)),
        (GEMMA3, (262208, 8, 34)),
        (GPT2, (50257, 12, 12)),
        (FALCON, (65024, 71, 32)),
        (MPT, (50432, 32, 32)),
        (CHATGLM, (151552, 32, 40)),
        (INTERN, (131072, 32, 40)),
        (OMNI, (131072, 32, 40)),
        (LLAVA, (32064, 32, 32)),
    ],
)
def test_what_the_suite_needs_of_them(model, config, sizes):
    found = model(config)
    assert (found.vocab_size, found.heads, found.layers) == sizes
    assert found.initializer_range == 0.02


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (MISTRAL3, "x: vision_config.patch_size: expected a positive integer, found None"),
        (INTERN, "x: llm_config: not a plain decoder"),
        (OMNI, "x: thinker_config: not a plain decoder"),
        (GPT2, "x: model_type: expected one of llama, .*, found 'gpt2'"),
    ],
)
def test_the_analytical_model_says_which_key_it_does_not_know(config, message):
    with pytest.raises(UsageError, match=message):
        from_config(config, "x")


@pytest.mark.parametrize(
    ("config", "key"),
    [
        (MISTRAL3 | {"text_config": MISTRAL3["text_config"] | {"vocab_size": None}}, None),
        (MISTRAL3 | {"text_config": MISTRAL3["text_config"] | {"vocab_size": "many"}}, "text_config.vocab_size"),
        (GEMMA3 | {"text_config": {"model_type": "other", "vocab_size": 5}}, "text_config.num_attention_heads"),
        (GPT2 | {"n_head": 0}, "n_head"),
        (GPT2 | {"n_layer": 2.0}, "n_layer"),
        (GPT2 | {"n_head": 2**40}, "n_head"),
        ({"model_type": "llama", "vocab_size": 5, "num_hidden_layers": 2}, "num_attention_heads"),
        (GPT2 | {"quantization_config": "fp8"}, "quantization_config"),
        (GPT2 | {"initializer_range": "small"}, "initializer_range"),
    ],
)
def test_what_is_missing_or_wrong_is_named_with_its_key(model, tmp_path, config, key):
    if key is None:  # its class has a default
        assert model(config).vocab_size == 32_000
        return
    with pytest.raises(UsageError) as caught:
        model(config)
    assert str(caught.value).startswith(f"{tmp_path}/config.json: {key}: expected ")
    assert_one_line(caught.value, tmp_path)


@pytest.mark.parametrize(
    ("config", "key"),
    [
        (MISTRAL3, "hidden_size"),
        (GEMMA3, "sliding_window"),
        (GPT2, "n_embd"),
        (MPT, "d_model"),
        (OMNI, "intermediate_size"),
    ],
)
def test_sizes_wherever_they_are_tell_two_models_apart(model, config, key):
    def changed(part):
        return {
            name: value + 8
            if name == key
            else changed(value)
            if isinstance(value, dict) and name != "vision_config"
            else value
            for name, value in part.items()
        }

    assert model(changed(config)).shape() != model(config).shape()
    assert model(config | {"image_token_index": 11}).shape() == model(config).shape()


def test_what_a_decoder_says_layer_by_layer_tells_two_models_apart(model):
    def saved(heads):
        own = {"per_layer_config": {"05": {"head_dim": 512, "num_key_value_heads": heads}}}
        return GEMMA3 | {"text_config": GEMMA3["text_config"] | own}

    assert model(saved(2)).shape() != model(saved(4)).shape()


def test_modelopts_own_file_counts(model, tmp_path):
    quantization = {"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "FP8"}}
    (tmp_path / "hf_quant_config.json").write_text(json.dumps(quantization))
    assert model(GPT2).quantization == quantization
    assert model(GPT2 | {"quantization_config": {"quant_method": "awq"}}).quantization == {"quant_method": "awq"}


@pytest.mark.parametrize("config", [GEMMA3, GPT2])
def test_they_are_measured_without_an_expectation(model, tmp_path, config):
    directory = model(config).directory
    deployment = load(tmp_path, head([str(directory)], kv_cache_gib=1) + workload("one", "batch", batch_size=1))
    block = Block("vllm", str(directory), 1)
    spec = spec_of(deployment, block)
    assert (spec.layers, spec.kv_cache_bytes, spec.kv_cache_tokens) == (config.get("n_layer", 34), 2**30, 0)
    capacity.check(deployment, [block], "small card", 1)


@pytest.mark.parametrize("config", [MISTRAL3, GEMMA3, GPT2, LLAVA])
@given(data=st.data())
def test_misfilled_configurations(config, data, tmp_path_factory):
    directory = tmp_path_factory.getbasetemp()
    (directory / "config.json").write_text(json.dumps(data.draw(misfilled(config)) or {}))
    try:
        found = Model.load(f"{directory}/", "test")
    except UsageError as error:
        assert_one_line(error, directory)
        return
    assert min(found.vocab_size, found.heads, found.layers) > 0
    json.dumps(found.shape())
    with pytest.raises(UsageError) as caught:
        from_config(found.config, found.where)
    assert_one_line(caught.value, directory)

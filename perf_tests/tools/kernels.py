"""How far the model's kernels are from those that NVIDIA published, of formats and families too that no constant was fitted to.

    pip download --no-deps aiconfigurator-core==0.12.0
    uv run --with pyarrow,scipy python -m perf_tests.tools.kernels aiconfigurator_core-0.12.0-*.whl

The package (Apache-2.0, 82 MB) has times of single kernels under vLLM 0.24.0. Compared are decode steps: up to 256 tokens, and
up to 8 cards. Errors are signed: negative is a model that is too fast. Above them stands what is fitted to these times.
"""

import dataclasses
import io
import math
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import least_squares
from tabulate import tabulate

from fixtures.analytical import step
from fixtures.analytical.architecture import Architecture
from fixtures.analytical.hardware import Figure, Gpu, gpu
from fixtures.analytical.latent import Latent
from fixtures.analytical.layer import Layer
from fixtures.analytical.parallel import Parallel
from fixtures.analytical.precision import PRECISIONS, Precision
from fixtures.analytical.step import Setup

CARDS = {"h100_sxm": "h100", "h200_sxm": "h200", "b200_sxm": "b200", "l40s": "l40s"}
RELEASE = "0.24.0"
MOST_TOKENS, MOST_CARDS = 256, 8
# The package's names of formats.
FORMATS = {
    "bfloat16": PRECISIONS["bf16"],
    "fp8": PRECISIONS["fp8"],
    "fp8_block": PRECISIONS["fp8-block"],
    "int4_wo": PRECISIONS["w4a16"],
    "w4a16_mxfp4": PRECISIONS["mxfp4"],
    "nvfp4": PRECISIONS["nvfp4"],
}
# Hidden and expert size of those without a gate: Nemotron's experts are two matrices and not three.
UNGATED = ((2688, 1856), (2048, 5120), (1024, 2688))
# Of Mixtral-8x7B, whose batches are to be predicted by what others tell.
HELD_BACK = (4096, 14336)
# A relative error beyond which a point counts less: shapes that no tiles were tuned for.
OUTLYING = 0.05
# Up to so many tokens the time of weights that are unpacked is fitted: tiles of 8, 16 and 32 rows.
MOST_UNPACKED = 1024
# More experts than any other model has.
MANY = 512
# Of DeepSeek-V3, whose attention the package has.
MLA = Latent(1536, 512, 128, 64, 128)


def read(wheel: Path, card: str, family: str, name: str) -> pd.DataFrame:
    """A table of the package; empty where it has none. Times in milliseconds."""
    place = f"aiconfigurator_core/systems/data/{card}/{family}/vllm/{RELEASE}/{name}_perf.parquet"
    with zipfile.ZipFile(wheel) as archive:
        if place not in archive.namelist():
            return pd.DataFrame()
        return pd.read_parquet(io.BytesIO(archive.read(place)))


def experts(wheel: Path, card: str) -> Iterator[tuple[str, float, float]]:
    """What, predicted and measured of each mixture of experts, tokens spread evenly over them: few share one."""
    for row in _mixtures(wheel, card).itertuples():
        kernel = (
            "Triton" if "triton_" in row.kernel_source else "Marlin" if "marlin" in row.kernel_source else "FlashInfer"
        )
        yield f"experts, {row.moe_dtype}, {kernel}", _expert_kernel(row, gpu(CARDS[card])), row.latency


def _mixtures(wheel: Path, card: str, most_tokens: int = MOST_TOKENS) -> pd.DataFrame:
    rows = read(wheel, card, "moe", "moe")
    kept = rows[(rows.distribution == "balanced") & (rows.num_tokens <= most_tokens) & (rows.moe_ep_size == 1)]
    kept = kept[kept.moe_dtype.isin(FORMATS) & (kept.moe_tp_size <= MOST_CARDS)]
    return kept[[shape not in UNGATED for shape in zip(kept.hidden_size, kept.inter_size, strict=True)]]


def _expert_kernel(row, card: Gpu) -> float:
    layer = Layer(0, row.num_experts, row.topk, row.inter_size)
    whole = Architecture("olmoe", row.hidden_size, MOST_CARDS, MOST_CARDS, 1, 1, (layer,), False)
    setup = Setup(whole, card, Parallel(row.moe_tp_size), FORMATS[row.moe_dtype])
    touched = float(min(row.num_experts, row.num_tokens * row.topk))
    return step.expert_kernel(setup, layer, float(row.num_tokens), touched, even=True)


def reading_experts(wheel: Path, card: str) -> dict[str, float]:
    """``moe_seconds``, ``moe_bandwidth`` and ``moe_column_seconds`` of experts in bf16, but for Mixtral's.

    By relative errors, of which those beyond OUTLYING count less (soft L1).
    """
    rows = _mixtures(wheel, card).itertuples()
    own = [row for row in rows if row.moe_dtype == "bfloat16" and (row.hidden_size, row.inter_size) != HELD_BACK]
    units = {"moe_seconds": 1e-6, "moe_bandwidth": 1.0, "moe_column_seconds": 1e-11}
    return _fitted(card, own, units, (30.0, 0.9, 5.0))


def unpacking_experts(wheel: Path, card: str) -> dict[str, float]:
    """The four ``moe_unpack`` constants, by Marlin's kernels.

    Of experts in integers of 4 bits with a scale for 128 and in mxfp4, another model each; errors as above. What they differ by
    is taken to be the scales', and what the one in mxfp4 has beside its kernel (896 experts to choose from) is left out.
    """
    rows = [row for row in _mixtures(wheel, card, MOST_UNPACKED).itertuples() if "marlin" in row.kernel_source]
    units = {"moe_unpack_seconds": 1e-6, "moe_unpack_weight_seconds": 1e-13, "moe_unpack_scale_seconds": 1e-12}
    many = [float(row.num_experts > MANY) * 1e-6 for row in rows]
    return _fitted(card, rows, units | {"moe_unpack_compute": 1.0}, (15.0, 1.0, 1.0, 0.4), many)


def _fitted(
    card: str, rows: list, units: dict[str, float], start: tuple[float, ...], beside: list[float] | None = None
) -> dict[str, float]:
    """These constants of a card, least squares; with ``beside`` also so many times a number of their own, which isn't told."""

    def card_with(values: np.ndarray) -> Gpu:
        figures = {n: Figure(v * unit, "calibrated", "") for (n, unit), v in zip(units.items(), values, strict=False)}
        return dataclasses.replace(gpu(CARDS[card]), **figures)

    def errors(values: np.ndarray) -> list[float]:
        one, more = card_with(values), values[-1] * np.array(beside) if beside else np.zeros(len(rows))
        return [
            math.log((_expert_kernel(row, one) + by) / (row.latency / 1e3)) for row, by in zip(rows, more, strict=True)
        ]

    guess = (*start, 10.0) if beside else start
    found = least_squares(errors, guess, loss="soft_l1", f_scale=OUTLYING, bounds=(1e-3, np.inf)).x
    return {name: float(value * unit) for (name, unit), value in zip(units.items(), found, strict=False)}


def latent_attention(wheel: Path, card: str) -> Iterator[tuple[str, float, float]]:
    """The same of DeepSeek-V3's attention with its projections, of a card's share of the heads."""
    rows = read(wheel, card, "mla", "mla_generation_module")
    for row in rows[(rows.batch_size <= MOST_TOKENS) & (rows.num_heads >= 128 // MOST_CARDS)].itertuples():
        form = FORMATS[row.gemm_type]
        kv_bytes = 1.0 if row.kv_cache_dtype == "fp8" else 2.0
        form = Precision(form.name, form.storage, kv_bytes=kv_bytes, tensor_core=form.tensor_core)
        yield (
            f"latent attention, {row.gemm_type}, KV {row.kv_cache_dtype}",
            _attention(row, form, gpu(CARDS[card])),
            row.latency,
        )


def _attention(row, form: Precision, card: Gpu) -> float:
    whole = Architecture("deepseek_v3", 7168, row.num_heads, row.num_heads, 64, 1, (Layer(1),), False, latent=MLA)
    terms = step.decode(Setup(whole, card, Parallel(), form), float(row.batch_size), float(row.step))
    # Two products of an MLP and one of the head, all of them next to nothing.
    return terms.dense - 3 * card.kernel_seconds.value + terms.attention


def products(wheel: Path, card: str) -> Iterator[tuple[str, float, float]]:
    """The same of single matrices of 2,048 rows and columns or more."""
    rows = read(wheel, card, "gemm", "gemm")
    for row in rows[(rows.m <= MOST_TOKENS) & (rows.n >= 2048) & (rows.k >= 2048)].itertuples():
        form, one = FORMATS[row.gemm_dtype], gpu(CARDS[card])
        setup = Setup(Architecture("llama", row.k, 1, 1, 1, 1, (Layer(1),), False), one, Parallel(), form)
        seconds = step._matmul(setup, float(row.n * row.k), float(row.m), form.matrix_bytes, form.tensor_core)
        yield f"product, {row.gemm_dtype}", seconds, row.latency


def quantising(wheel: Path, card: str) -> float:
    """Seconds by which a product in fp8 takes longer than its bytes and FLOPs do: the median of the quarter of the quickest."""
    rows = pd.DataFrame(products(wheel, card), columns=["what", "seconds", "measured"])
    own = rows[rows.what == "product, fp8"]
    assumed = gpu(CARDS[card]).quantise_seconds.value
    quick = own[own.seconds <= own.seconds.quantile(0.25)]
    return float((quick.measured / 1e3 - (quick.seconds - assumed)).median())


def around_latents(wheel: Path, card: str) -> float:
    """Seconds by which latent attention in bf16 takes longer than its products and its cache: the median."""
    rows = pd.DataFrame(latent_attention(wheel, card), columns=["what", "seconds", "measured"])
    own = rows[rows.what == "latent attention, bfloat16, KV bfloat16"]
    return float((own.measured / 1e3 - own.seconds).median()) + gpu(CARDS[card]).latent_seconds.value


KINDS: tuple[Callable[[Path, str], Iterator[tuple[str, float, float]]], ...] = (products, experts, latent_attention)


def main(wheel: Path) -> None:
    """Print the errors by card and kind."""
    found = []
    for card, short in CARDS.items():
        for kind in KINDS:
            rows = pd.DataFrame(kind(wheel, card), columns=["what", "seconds", "measured"])
            errors = rows.seconds / (rows.measured / 1e3) - 1
            for what, own in errors.groupby(rows.what):
                fitted = "" if gpu(short).measured else f"of this card only {', '.join(gpu(short).own) or 'nothing'}"
                found.append((short, what, len(own), f"{own.abs().mean():.0%}", f"{own.median():+.0%}", fitted))
    for card, short in CARDS.items():
        fits = {"quantise_seconds": quantising(wheel, card), "latent_seconds": around_latents(wheel, card)}
        for name, value in (fits | reading_experts(wheel, card) | unpacking_experts(wheel, card)).items():
            print(f"{short}: {name} {value:.3g}, in hardware.toml {getattr(gpu(short), name).value}")
    print(tabulate(found, ("card", "kernel", "points", "mean error", "median, signed", "")))


if __name__ == "__main__":
    main(Path(sys.argv[1]))

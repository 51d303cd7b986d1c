"""NVIDIA's aiconfigurator beside the model, on the batches that both predict: who is how far off what was measured.

    python -m perf_tests.documentation.rival      prints the batches, for perf_tests/tools/record_aiconfigurator.py

What it predicts is recorded in ``rival.csv``: output of aiconfigurator 0.12.0, which is Apache-2.0, by that tool. Times are
those of whole batches, from the first request to the last token; offline, all prompts are one batch. The model is the present
one, and constants of it were fitted to some of the batches.
"""

import csv
import dataclasses
import functools
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from fixtures.analytical.hardware import gpu, hardware
from fixtures.analytical.parallel import Parallel
from fixtures.analytical.precision import precision
from fixtures.analytical.step import Setup
from fixtures.prediction.expectation import expect
from fixtures.store import baseline
from fixtures.workloads.workload import Workload
from perf_tests.analytical.models import architecture
from perf_tests.documentation import calibrate, evidence, foretold, four_cards
from perf_tests.documentation.calibrate import DENSE, MAX_MODEL_LEN, MOE, NEWEST_VLLM, VLLM

FILE = Path(__file__).with_name("rival.csv")
# Sets, their hardware, and the platform of their release.
_SETS = (
    (evidence.CURRENT, ("h100-80gb-hbm3x1", "h200x1", "h100-80gb-hbm3x2", "h200x2"), VLLM),
    (foretold.SET, ("h200x1", "h200x2", four_cards.HARDWARE), NEWEST_VLLM),
)
_SPREADS = {
    "tp1": Parallel(),
    "tp2": Parallel(2),
    "tp2ep2": Parallel(2, 2),
    "tp4": Parallel(4),
    "tp4ep4": Parallel(4, 4),
    "tp1dp4": Parallel(1, 1, 4),
    "tp1dp4ep4": Parallel(1, 4, 4),
}
_NAMES = {
    DENSE: "Llama-3.1-8B",
    "llama-2-13b": "Llama-2-13B",
    MOE: "Mixtral-8x7B",
    "qwen3-30b-a3b": "Qwen3-30B-A3B",
    "gpt-oss-20b": "gpt-oss-20b",
}
_CARDS = {1: "one card", 2: "two cards", 4: "four cards"}
_FIELDS = ("model", "card", "format", "tp", "dp", "ep", "batch", "input_len", "output_len")
Key = tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Batch:
    """A measured cell that is one batch: ``measured`` and ``ours`` are seconds, medians over the valid boots and predicted."""

    key: Key
    family: str
    measured: float
    ours: float
    fitted: bool


@functools.cache
def batches() -> tuple[Batch, ...]:
    """Every batch of vLLM in the evidence that the model predicts."""
    return tuple(_batches())


def _batches() -> Iterator[Batch]:
    models = {name: (model, form) for name, model, form in (*calibrate.MODELS, *calibrate.FAMILIES)}
    for of, directories, platform in _SETS:
        for directory in directories:
            for spread, parallel in _SPREADS.items():
                for path in sorted(evidence.block(directory, "vllm", spread, of).glob("*.json")):
                    if path.stem in models:
                        yield from _of_block(path, directory, platform, parallel, *models[path.stem])


def _of_block(path: Path, directory: str, platform: str, parallel: Parallel, model: str, form: str) -> Iterator[Batch]:
    card = "h100" if directory.startswith("h100") else "h200"
    setup = Setup(architecture(model), gpu(card), parallel, precision(form))
    host = hardware().host_term(platform, card, parallel.tp)
    stored = baseline.read(path)
    assert stored is not None
    kv_tokens = max(int(boot.metrics.get("kv_capacity", 0)) for cell in stored.cells.values() for boot in cell.boots)
    for cell_id, cell in stored.cells.items():
        if cell.workload["kind"] not in ("batch", "offline"):
            continue
        workload = Workload(cell_id.rsplit("/", 1)[1], **cell.workload)
        if not (expected := expect(setup, host, workload, kv_tokens, MAX_MODEL_LEN)):
            continue
        values = [boot.metrics[expected.metric] for boot in cell.boots if not boot.invalid]
        if not values:
            continue
        batch = workload.batch_size if workload.kind == "batch" else workload.num_prompts
        into, out = workload.input_len, workload.output_len

        def seconds(value: float, tokens: int | None = None if workload.kind == "batch" else batch * out) -> float:
            return tokens / value if tokens else value

        sizes = (parallel.tp, parallel.dp, parallel.ep, batch, into, out)
        yield Batch(
            (model, card, form, *map(str, sizes)),
            _family(model, form, parallel, platform),
            seconds(statistics.median(values)),
            seconds(expected.value),
            _fitted(model, workload, directory, parallel, platform),
        )


def _fitted(model: str, workload: Workload, directory: str, parallel: Parallel, platform: str) -> bool:
    """Whether a constant was fitted to it, or on one card to the same cell of another release (:mod:`.calibrate`)."""
    if model == MOE:
        return parallel.ep > 1 and not parallel.dispatches
    on_one = directory in calibrate.CARDS
    on_several = platform == NEWEST_VLLM and directory in calibrate.ON_SEVERAL[NEWEST_VLLM][1]
    if model != DENSE or parallel.dp > 1 or not (on_one or on_several):
        return False
    return workload.name in calibrate.FITTED or (on_one and workload.name == calibrate.LONG)


def _family(model: str, form: str, parallel: Parallel, platform: str) -> str:
    parts = [_NAMES[model] + (f" in {form}" if form != "bf16" else ""), _CARDS[parallel.gpus]]
    if parallel.dp > 1:
        parts.append("a copy of the attention on each")
    if parallel.ep > 1:
        parts.append("whole experts")
    return ", ".join([*parts, f"vLLM {platform.removeprefix('vllm-')}"])


@functools.cache
def theirs() -> dict[Key, dict[str, float]]:
    """What aiconfigurator predicts of a batch in seconds, by the load of experts that it assumes, where it has data."""
    found: dict[Key, dict[str, float]] = defaultdict(dict)
    with FILE.open(encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            if row["latency"]:
                found[tuple(row[name] for name in _FIELDS)][row["distribution"]] = float(row["latency"])
    return dict(found)


def rows() -> list[tuple[str, ...]]:
    """A row for each family, and all: batches, how many ours was fitted to, both mean errors of aiconfigurator's, ours, and its
    better one over ours.

    Of a dense model its two predictions are the same.
    """
    errors: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
    fitted: dict[str, int] = defaultdict(int)
    for batch in batches():
        if other := theirs().get(batch.key):
            found = (other["power_law"], other["balanced"], batch.ours)
            by = tuple(abs(value / batch.measured - 1) for value in found)
            errors[batch.family].append((by[0], by[1], by[2]))
            fitted[batch.family] += batch.fitted
    fitted["all"] = sum(fitted.values())
    errors["all"] = [one for found in list(errors.values()) for one in found]
    table = []
    for family, found in errors.items():
        skewed, even, ours = (statistics.mean(column) for column in zip(*found, strict=True))
        mixture = not family.startswith("Llama")
        table.append(
            (
                family,
                str(len(found)),
                str(fitted[family] or ""),
                f"{skewed:.1%}",
                f"{even:.1%}" if mixture else "",
                f"{ours:.1%}",
                f"{min(skewed, even) / ours:.1f}",
            )
        )
    return table


def main() -> None:
    """Print the batches, each once, as CSV."""
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(_FIELDS)
    out.writerows(dict.fromkeys(batch.key for batch in batches()))


if __name__ == "__main__":
    main()

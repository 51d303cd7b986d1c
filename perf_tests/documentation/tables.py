"""Tables of README and docs that come from the evidence, or from the analytical model.

They stand between ``<!-- table NAME -->`` and ``<!-- /table -->``.
"""

import re
import statistics
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path

from tabulate import tabulate

from fixtures.analytical import memory, serving
from fixtures.analytical.hardware import gpu, hardware
from fixtures.analytical.parallel import Parallel
from fixtures.analytical.precision import precision
from fixtures.analytical.step import Setup
from fixtures.comparison import engines
from fixtures.decode import read_toml
from fixtures.deployments import deployment as deployments
from fixtures.engines.registry import ENGINES
from fixtures.gate import results
from fixtures.gate.rule import MAX_BOOTS
from fixtures.metrics import METRICS, shown
from fixtures.prediction import prediction
from fixtures.prediction import table as predictions
from fixtures.prediction.prediction import Prediction
from fixtures.studies.gate import committed
from fixtures.studies.gate import pairs as pairs_study
from perf_tests.analytical.models import architecture
from perf_tests.documentation import calibrate, evidence, foretold, four_cards, rival, transfer
from perf_tests.documentation.calibrate import DENSE, MOE, NEWEST_VLLM, SGLANG, VLLM
from perf_tests.documentation.errors import of_time, summary
from perf_tests.documentation.evidence.boots import PAIRS, boots, measured
from perf_tests.paths import RECORDINGS, ROOT

PAGES = tuple(
    ROOT / name for name in ("README.md", "baselines/README.md", "docs/model.md", "docs/engines.md", "docs/upgrade.md")
)
H100, H200 = "h100-80gb-hbm3x1", "h200x1"
# Where each engine's boots of the current set are.
CURRENT = dict.fromkeys(("vllm", "sglang"), evidence.CURRENT)
GIB = 2**30
_TABLE = re.compile(r"(<!-- table (.+?) -->\n).*?(<!-- /table -->)", re.S)
# What is shown of the noise; the others are in the command's output.
NOISE = (
    "weight_memory",
    "kv_capacity",
    "startup_memory",
    "boot_time",
    "latency",
    "total_throughput",
    "ttft_p50",
    "tpot_p50",
    "tpot_p99",
    "itl_p99",
    "goodput",
    "latency_to_dense",
    "throughput_to_dense",
)
NAMES = {
    "latency": "latency",
    "output_throughput": "output throughput",
    "tpot_p50": "TPOT median",
    "ttft_p50": "TTFT median",
    "goodput": "goodput",
    "itl_p99": "ITL p99",
}


def filled(text: str) -> str:
    """A page with its tables as the evidence has them. Raises KeyError for a table that is not known."""
    return _TABLE.sub(lambda found: f"{found[1]}{TABLES[found[2]]()}\n{found[3]}", text)


def markdown(headers: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table as GitHub's markdown has it."""
    return tabulate(list(rows), list(headers), tablefmt="github", disable_numparse=True)


def median(card: str, cell_id: str, metric: str) -> str:
    """The same in the metric's unit; empty without any."""
    value = measured(card, cell_id, metric)
    return "" if value is None else shown(metric, value)


def on_cards() -> str:
    """Both models on one H200 and on two, and the dense one on an H100, medians over the boots."""
    chosen = [(f"batch-{size}", "latency") for size in (1, 8, 32, 128, 256)]
    chosen += [("long-prompt", "latency"), ("shared-prefix", "latency")]
    chosen += [(f"offline-{count}", "output_throughput") for count in (100, 150)]
    chosen += [(f"online-{rate}", metric) for rate in (1, 4, 8) for metric in ("tpot_p50", "ttft_p50")]
    rows = []
    for cell, metric in chosen:
        dense, moe = (statistics.median(boots(H200, model, cell, metric)) for model in (DENSE, MOE))
        shares = [
            statistics.median(found) for model in (DENSE, MOE) if (found := boots(H200, model, cell, "hbm_floor_share"))
        ]
        rows.append(
            (
                f"{cell}, {NAMES[metric]}",
                shown(metric, dense),
                shown(metric, moe),
                f"{max(dense, moe) / min(dense, moe):.2f} x",
                " / ".join(f"{share:.0%}" for share in shares),
                *(median(PAIRS["h200x2"], f"vllm/{model}/tp2/{cell}", metric) for model in (DENSE, MOE)),
                median(H100, f"vllm/{DENSE}/tp1/{cell}", metric),
            )
        )
    headers = (
        "cell",
        "Llama-3.1-8B",
        "Mixtral-8x7B",
        "apart by",
        "HBM floor",
        "Llama, two H200",
        "Mixtral, two H200",
        "Llama, one H100",
    )
    return markdown(headers, rows)


def noise(directory: Path) -> str:
    """The noise of a directory of boots."""
    found = committed.read(directory)
    rows = [row for row in found.rows(MAX_BOOTS) if row[0] in NOISE]
    lines = [markdown(committed.HEADERS, rows)]
    for few in range(1, committed.RECOMMENDED_BOOTS):
        if cells := [cell.replace("vllm/", "").replace("/tp1", "") for cell, n in found.boots.items() if n == few]:
            lines.append(f"{few} of {committed.RECOMMENDED_BOOTS} boots: {', '.join(cells)}.")
    return "\n\n".join(lines)


def held_back() -> str:
    """How far the model is from what nothing was fitted to."""
    rows = []
    for platform, engine in ((VLLM, "vLLM 0.26.0"), (SGLANG, "SGLang 0.5.17")):
        found = calibrate.held_back(calibrate.recorded(platform), calibrate.fitted(platform))
        rows += [(f"{engine}, {kind}", *summary(errors)) for kind, errors in found.items()]
        own = [by for kind, errors in found.items() if not kind.startswith("quantised") for by in errors]
        rows.append((f"{engine}, all three together", *summary(own)))
    return markdown(("held back", "points", "mean error", "worst"), rows)


def held_back_of_locked() -> str:
    """The same of the locked releases on one H200, whose boots have no constants of their own: cells by model and kind."""
    rows = []
    for platform, engine in ((NEWEST_VLLM, "vLLM 0.33.0"), (SGLANG, "SGLang 0.5.23")):
        found: dict[tuple[str, str], list[float]] = defaultdict(list)
        for (metric, _, model, form, cell), by in calibrate.of_locked(platform).items():
            kind = "batch" if METRICS[metric].name == "latency" else cell.partition("-")[0]
            for group in (kind, "all together"):
                found[model + (f" in {form}" if form != "bf16" else ""), group].append(of_time(metric, 1 + by))
        order = sorted(found, key=lambda key: (not key[0].startswith(MOE), key[0], key[1] == "all together"))
        rows += [(f"{engine}, {model}, {kind}", *summary(found[model, kind])) for model, kind in order]
    return markdown(("cells", "of them", "mean error", "worst"), rows)


def quantised() -> str:
    """Mixtral in three formats on one H100, beside what the model expects."""
    forms = ("fp8", "awq", "gptq")
    host = hardware().host_term(VLLM, "h100")
    rows: list[list[str]] = [["weights"], ["in use once healthy"], ["KV cache at 20 GiB"]]
    names = [f"batch-{size}" for size in (1, 8, 32, 128)]
    rows += [[f"{name}, latency"] for name in names] + [["offline-150, output throughput"], ["boots"]]
    for form in forms:
        model = f"{MOE}-{form}"
        setup = Setup(architecture(MOE), gpu("h100"), Parallel(), precision(form))

        def median_of(cell: str, metric: str, model: str = model) -> float:
            return statistics.median(boots(H100, model, cell, metric))

        room = int(median_of("startup", "kv_capacity"))
        weights = memory.weight_bytes_per_gpu(setup.architecture, setup.precision, setup.parallel)
        rows[0] += [f"{median_of('startup', 'weight_memory') / GIB:.2f} GiB", f"{weights / GIB:.2f}"]
        rows[1] += [f"{median_of('startup', 'startup_memory') / GIB:.1f} GiB", ""]
        rows[2] += [f"{room:,} tokens", ""]
        for row, name in zip(rows[3:7], names, strict=True):
            size = int(name.removeprefix("batch-"))
            expected = serving.latency_seconds(setup, host, size, 32, 64)
            row += [
                shown("latency", median_of(name, "latency")),
                f"{expected * 1e3:,.0f}",
            ]
        expected = serving.offline_throughput(setup, host, 150, 75, 128, room)
        rows[7] += [shown("output_throughput", median_of("offline-150", "output_throughput")), f"{expected:,.0f}"]
        rows[8] += [str(len(boots(H100, model, "batch-1", "latency"))), ""]
    return markdown(("", *(cell for form in forms for cell in (form, "expected"))), rows)


def compared(card: str, parallel: str, sets: Mapping[str, Path] = CURRENT) -> dict[tuple[str, str], engines.Difference]:
    """What SGLang differs by from vLLM, each of its set of the evidence, by cell without its engine and metric."""
    sides = []
    for engine in ("vllm", "sglang"):
        files = sorted(evidence.block(card, engine, parallel, sets[engine]).glob("*.json"))
        cells = {cell.partition("/")[2]: found for file in files for cell, found in results.read(file).items()}
        sides.append(engines.by_name(cells))
    return {(one.cell, one.metric): one for one in engines.compare(*sides)}


def side_by_side(sets: Mapping[str, Path] = CURRENT) -> str:
    """VLLM and SGLang on one H200."""
    found = compared(H200, "tp1", sets)
    chosen = [(f"offline-{count}", "output_throughput") for count in (100, 150)]
    chosen += [(f"batch-{size}", "latency") for size in (1, 8, 64, 128, 256)]
    chosen += [(cell, "latency") for cell in ("long-prompt", "shared-prefix")]
    chosen += [
        ("shared-prefix", "ttft_p50"),
        ("online-8", "tpot_p50"),
        ("online-70pct", "tpot_p50"),
        ("online-70pct", "goodput"),
    ]
    return _of_both(found, "tp1", chosen)


def _of_both(
    found: Mapping[tuple[str, str], engines.Difference],
    parallel: str,
    chosen: Sequence[tuple[str, str]],
    absent: Collection[tuple[str, str]] = (),
) -> str:
    """What each engine measured of either model, and SGLang's change; empty for ``absent`` models and cells."""
    rows = []
    for cell, metric in chosen:
        row = [f"{cell}, {NAMES[metric]}"]
        for model in (DENSE, MOE):
            name = f"{cell}-moe" if model == MOE and cell == "online-70pct" else cell
            if (model, cell) in absent:
                row += [""] * 3
                continue
            one = found[f"{model}/{parallel}/{name}", metric]
            row += [shown(metric, one.first), shown(metric, one.second), one.text]
        rows.append(row)
    per_model = ("vLLM", "SGLang", "change, 95% interval")
    return markdown(("", *(f"{model}: {word}" for model in ("Llama", "Mixtral") for word in per_model)), rows)


def side_by_side_of_locked() -> str:
    """The same of the releases that are locked, with random weights."""
    return side_by_side(evidence.LOCKED)


def side_by_side_on_two_of_locked() -> str:
    """Of these releases at TP=2 on two H200."""
    chosen = [(f"offline-{count}", "output_throughput") for count in (100, 150)]
    chosen += [(f"batch-{size}", "latency") for size in (1, 8, 32, 128)]
    chosen += [(f"batch-{size}", "tpot_p50") for size in (1, 8, 32)]
    chosen += [("online-8", metric) for metric in ("tpot_p50", "ttft_p50", "itl_p99")]
    absent = {(DENSE, "offline-100"), (MOE, "offline-150")}
    return _of_both(compared("h200x2", "tp2", evidence.LOCKED), "tp2", chosen, absent)


def whole_experts_on_two() -> str:
    """What whole experts cost either engine on two H200: Mixtral at TP=2, EP=2 against TP=2, medians of boots."""
    of = {
        "vLLM 0.26.0": (evidence.CURRENT, "vllm"),
        "SGLang 0.5.23": (evidence.LOCKED["sglang"], "sglang"),
    }
    chosen = [(f"batch-{size}", "latency") for size in (1, 8, 32, 64, 128)] + [("offline-100", "output_throughput")]
    rows = []
    for cell, metric in chosen:
        row = [f"{cell}, {NAMES[metric]}"]
        for where, engine in of.values():
            split, whole = (
                statistics.median(boots("h200x2", MOE, cell, metric, parallel, engine, where))
                for parallel in ("tp2", "tp2ep2")
            )
            row += [shown(metric, split), shown(metric, whole), f"{whole / split - 1:+.0%}"]
        rows.append(row)
    return markdown(("", *(f"{engine}: {word}" for engine in of for word in ("TP=2", "EP=2", "change"))), rows)


def side_by_side_on_two() -> str:
    """By what SGLang's metrics exceed vLLM's at TP=2, on either pair of cards."""
    chosen = [
        ("offline-100", "output_throughput"),
        ("offline-150", "output_throughput"),
        ("batch-1", "latency"),
        ("batch-128", "latency"),
        ("online-8", "tpot_p50"),
        ("online-8", "ttft_p50"),
        ("online-8", "itl_p99"),
        ("offline-150-streamed", "output_throughput"),
    ]
    pairs = {card: compared(PAIRS[name], "tp2") for card, name in (("H200", "h200x2"), ("H100", "h100x2"))}
    columns = [(model, card) for model in (DENSE, MOE) for card in pairs]
    rows = [
        (
            f"{cell}, {NAMES[metric]}",
            *(one.text if (one := pairs[card].get((f"{model}/tp2/{cell}", metric))) else "" for model, card in columns),
        )
        for cell, metric in chosen
    ]
    short = {DENSE: "Llama", MOE: "Mixtral"}
    return markdown(("", *(f"{short[model]}, two {card}" for model, card in columns)), rows)


def other_card() -> str:
    """How far the model is off on a card that nothing was fitted to, and on two cards."""
    return markdown(("engine", "predicted", "cells", "mean error", "worst", "mean with its sign"), transfer.rows())


def coverage() -> str:
    """How many cells are inside intervals of three levels, and of how many."""
    by_level = {level: transfer.coverage(level) for level in transfer.LEVELS}
    rows = []
    for found in zip(*by_level.values(), strict=True):
        what, _, cells = found[0]
        rows.append((what, str(cells), *(f"{inside / cells:.0%}" for _, inside, _ in found)))
    totals = [[sum(row[i] for row in found) for i in (1, 2)] for found in by_level.values()]
    rows.append(("**all**", str(totals[0][1]), *(f"**{inside / cells:.0%}**" for inside, cells in totals)))
    return markdown(("cells", "of them", *(f"inside {level:.0%}" for level in by_level)), rows)


def two_cards() -> str:
    """Of vLLM at TP=2 on both pairs of cards: predicted, measured and documented."""
    table: dict[str, dict[str, str]] = defaultdict(dict)
    for card, name in (("H100", "h100x2"), ("H200", "h200x2")):
        rows = predictions.rows(
            deployments.load(name, ENGINES),
            ["vllm/*/tp2/*", *(f"vllm/*/tp2ep2/batch-{size}" for size in (1, 8, 32))],
            calibrate.PLATFORMS,
        )
        for cell, metric, predicted, limits, stated in rows:
            line = table[f"{cell.removeprefix('vllm/')}, {metric}"]
            line |= {
                f"{card}: predicted": predicted,
                f"{card}: interval": limits,
                f"{card}: measured": median(PAIRS[name], cell, metric),
                f"{card}: document": stated,
            }
    headers = list(dict.fromkeys(header for line in table.values() for header in line))
    return markdown(
        ("", *headers), [(name, *(line.get(header, "") for header in headers)) for name, line in table.items()]
    )


def two_cards_foretold() -> str:
    """How far off the predictions of two cards were, which no constant was fitted to, by what was booted.

    Whole experts are left out: two constants were fitted to them since.
    """
    found: dict[tuple[str, str], list[Prediction]] = {}
    for name in PAIRS:
        for one in prediction.predictions(deployments.load(name, ENGINES), platforms=calibrate.PLATFORMS):
            fitted_since = one.cell.block.expert_parallel > 1
            if one.cell.workload.kind != "startup" and not METRICS[one.metric].reference and not fitted_since:
                found.setdefault((name, one.cell.block.id), []).append(one)
    rows = []
    for (name, block), several in found.items():
        pairs = [
            (one, value) for one in several if (value := measured(PAIRS[name], one.cell.id, one.metric)) is not None
        ]
        if pairs:
            inside = sum(one.low <= value <= one.high for one, value in pairs)
            errors = [of_time(one.metric, one.value / value) for one, value in pairs]
            rows.append((name, block, *summary(errors), f"{statistics.mean(errors):+.1%}", f"{inside} of {len(pairs)}"))
    return markdown(("on", "booted", "cells", "mean error", "worst", "mean with its sign", "inside the interval"), rows)


def uncertainty() -> str:
    """How far predictions may be off, by platform and metric."""
    known = hardware().uncertainty
    rows = [
        (platform, metric, f"{one.error:.1%}", str(one.cells))
        for platform, found in known.platform.items()
        for metric, one in found.items()
    ]
    for what, one in (("several cards", known.several_gpus), ("weight-only formats", known.unpacking)):
        rows.append((what, "times and rates", f"{one.error:.1%}", str(one.cells)))
    return markdown(("platform", "metric", "error", "cells"), rows)


def releases() -> str:
    """The releases of each engine that were seen working, by the engines' own tables, and whether a log is replayed."""
    recorded = read_toml(RECORDINGS / "boots" / "boots.toml")["boot"]
    replayed = {(one["engine"], one["release"], "cpu" if one["device"] == "cpu" else "card") for one in recorded}
    rows = [
        (
            f"{engine.releases.name} {one.release}",
            one.torch,
            {"card": "cards", "cpu": "processors"}[one.where],
            one.what,
            "yes" if (engine.name, one.release, one.where) in replayed else "none is at hand",
        )
        for engine in ENGINES.values()
        if engine.releases
        for one in engine.releases.seen
    ]
    return markdown(("release", "PyTorch", "on", "what was seen", "its log is replayed by the tests"), rows)


def pairs_of_boots() -> str:
    """What pairs of boots of Llama tell on one card, by the noise between the evidence's machines, and how long they take."""
    names = ("startup", "batch-1", "batch-8", "batch-32", "batch-64", "batch-128", "offline-150")
    boots = pairs_study.read(evidence.block(H200, "vllm"), [f"vllm/llama-3.1-8b/tp1/{name}" for name in names])
    counts = (2, 3, 4, MAX_BOOTS)
    rows = [(metric, cells, cv, *limits) for metric, cells, cv, _, *limits in pairs_study.rows(boots, counts)]
    minutes = [f"{2 * count * boots.seconds / 60:.0f} minutes" for count in counts]
    return markdown(
        ("metric", "cells", "CV of a boot, at most", *(f"{count} pairs" for count in counts)),
        [*rows, ("both engines, boots included", "all", "", *minutes)],
    )


OTHER_FAMILIES = ("h200x1-families", "h200x2-families")
BY_BLOCK = ("booted", "cells", "mean error", "worst", "mean with its sign", "inside the interval")
BY_CELL = ("cell", "predicted", "interval", "measured", "error of the time", "")

TABLES: dict[str, Callable[[], str]] = {
    "on cards": on_cards,
    "noise of h200x1": lambda: noise(evidence.block(H200, "vllm")),
    "noise of h100x1": lambda: noise(evidence.block(H100, "vllm")),
    "pairs of h200x1": pairs_of_boots,
    "held back": held_back,
    "held back, locked releases": held_back_of_locked,
    "quantised": quantised,
    "side by side": side_by_side,
    "side by side, locked releases": side_by_side_of_locked,
    "side by side on two": side_by_side_on_two,
    "side by side on two, locked releases": side_by_side_on_two_of_locked,
    "whole experts on two": whole_experts_on_two,
    "other card": other_card,
    "coverage": coverage,
    "two cards": two_cards,
    "foretold": two_cards_foretold,
    "four cards foretold": lambda: markdown(BY_BLOCK, foretold.by_block(four_cards.HARDWARE)),
    "four cards": lambda: markdown(BY_CELL, foretold.every_cell(four_cards.HARDWARE)),
    "four cards foretold again": lambda: markdown(BY_BLOCK, foretold.by_block(four_cards.AGAIN)),
    "four cards again": lambda: markdown(BY_CELL, foretold.every_cell(four_cards.AGAIN)),
    "families foretold": lambda: markdown(BY_BLOCK, foretold.by_block(*OTHER_FAMILIES)),
    "families today": lambda: markdown(BY_BLOCK, foretold.by_block(*OTHER_FAMILIES, today=True)),
    "families": lambda: markdown(BY_CELL, foretold.every_cell(*OTHER_FAMILIES)),
    "whole experts": lambda: markdown(
        ("", "TP=4", "TP=4, EP=4", "against TP=4", "TP=1, DP=4, EP=4", "against TP=4"), four_cards.whole_experts()
    ),
    "four cards steps": lambda: markdown(
        ("", "TP=4", "the model", "TP=4, EP=4", "the model", "TP=1, DP=4, EP=4", "the model"), four_cards.steps()
    ),
    "aiconfigurator": lambda: markdown(
        (
            "batches of",
            "cells",
            "fitted to",
            "aiconfigurator",
            "with an even load",
            "this model",
            "its better one over ours",
        ),
        rival.rows(),
    ),
    "uncertainty": uncertainty,
    "releases": releases,
}

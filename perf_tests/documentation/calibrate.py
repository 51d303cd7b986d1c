"""Fits the host terms of hardware.toml to the evidence and prints how well they predict what they were not fitted to.

    python -m perf_tests.documentation.calibrate

``document``: four constants on the document's nine latencies, leave-one-out errors. ``vllm-0.26`` and ``sglang-0.5``: a
constant per card and four more on Llama-3.1-8B's batches up to 128 in the evidence; everything else is held back, among
it every cell of Mixtral-8x7B. SGLang, which prefills in passes of their own, has one more per card, found on a grid on Llama's
online cells; vLLM one for both cards, on those at 1 to 8 req/s, so that what is near 70% load is held back.
``whole``: two constants on Mixtral with whole experts beside split attention, at TP=2 and TP=4, and ``sustained``: one for
each card on Llama-3.1-8B's long prompts, found on grids.

``vllm-0.33`` is fitted on Llama-3.1-8B's batches at TP=2 on a pair of H200, for models on several cards alone; on one card it
stands where ``vllm-0.26`` does.

``uncertainty``: quantiles of what was held back and of what others published; weight-only formats have their own.

``constants.py`` writes these numbers into hardware.toml.
"""

import dataclasses
import functools
import itertools
import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tabulate import tabulate

from fixtures.analytical import calibration, kv_cache, memory, serving, step
from fixtures.analytical.calibration import Measured
from fixtures.analytical.hardware import Figure, Gpu, HostTerm, gpu, hardware
from fixtures.analytical.parallel import Parallel
from fixtures.analytical.precision import precision
from fixtures.analytical.step import Setup
from fixtures.analytical.uncertainty import COVERAGE_ON_SEVERAL, Uncertainty, quantile
from fixtures.claims import document
from fixtures.prediction.expectation import Expectation, expect
from fixtures.store import baseline
from fixtures.workloads.workload import Workload
from perf_tests.analytical.models import architecture
from perf_tests.documentation import evidence, published

CARDS = {"h200x1": "h200", "h100-80gb-hbm3x1": "h100"}
VLLM, SGLANG = "vllm-0.26", "sglang-0.5"
# The platforms of the current set, by engine.
PLATFORMS = {"vllm": VLLM, "sglang": SGLANG}
# Measured on several cards only: the set of its boots, their hardware and tensor-parallel size.
NEWEST_VLLM = "vllm-0.33"
ON_SEVERAL = {NEWEST_VLLM: (evidence.TODAY, {"h200x2": "h200"}, Parallel(2))}
# Mixtral with whole experts, which is no platform's.
PAIRS = {"h200x2": "h200", "h100-80gb-hbm3x2": "h100"}
FOUR = {"h200x4": "h200"}
WHOLE = ("moe_whole_seconds", "moe_whole_compute")
SUSTAINED = "sustained_compute"
ON_ONE = Parallel()
DENSE, MOE = "llama-3.1-8b", "mixtral-8x7b"
# The models in the evidence: name of the file, configuration, format of the weights.
MODELS = (
    (DENSE, DENSE, "bf16"),
    (MOE, MOE, "bf16"),
    ("llama-2-13b", "llama-2-13b", "bf16"),
    (f"{MOE}-fp8", MOE, "fp8"),
    (f"{MOE}-awq", MOE, "awq"),
    (f"{MOE}-gptq", MOE, "gptq"),
)
# Of other families, measured with the locked release: from their times follows how far predictions may be off, and no constant.
FAMILIES = (("qwen3-30b-a3b", "qwen3-30b-a3b", "bf16"), ("gpt-oss-20b", "gpt-oss-20b", "mxfp4"))
# Of the deployments on cards.
MAX_MODEL_LEN, KV_CACHE_GIB = 4096, {"h200": 30, "h100": 20}
FITTED = ("batch-1", "batch-8", "batch-32", "batch-64", "batch-128")
# Four prompts of 3,500 tokens.
LONG = "long-prompt"
# Rates far below what the dense model sustains.
LIGHT = ("online-1", "online-2", "online-4", "online-8")
# The longest stall, and launch of a step, that are tried, in half milliseconds.
LONGEST = 40


@dataclasses.dataclass(frozen=True)
class Point:
    """One boot's values of one cell."""

    platform: str
    card: str
    model: str
    format: str
    workload: Workload
    metrics: dict[str, float]
    kv_tokens: int
    parallel: Parallel = ON_ONE

    @property
    def setup(self) -> Setup:
        return _setup(self.model, self.card, self.format, self.parallel)

    @property
    def fitted(self) -> bool:
        """Whether the host terms were fitted to it."""
        stalled = self.platform == SGLANG and self.workload.kind == "online"
        return self.model == DENSE and (self.workload.name in FITTED or stalled or self.launched)

    @property
    def launched(self) -> bool:
        """Whether the time to launch a step that a prompt shares was fitted to it: at light load."""
        return self.platform in (VLLM, NEWEST_VLLM) and self.model == DENSE and self.workload.name in LIGHT

    @property
    def unpacks(self) -> bool:
        """Whether kernels have to unpack its weights, those of experts at least."""
        return self.setup.unpacks

    @property
    def sustained(self) -> bool:
        """Whether the rate of long products was fitted to it."""
        return self.model == DENSE and self.workload.name == LONG and self.parallel == ON_ONE

    @property
    def held_back(self) -> bool:
        """Whether no constant was fitted to it."""
        return not self.fitted and not self.sustained


@functools.cache
def recorded(platform: str) -> tuple[Point, ...]:
    """All boots of a platform in the evidence but those of routing."""
    return tuple(_recorded(platform))


def _recorded(platform: str) -> Iterator[Point]:
    return _boots(platform, *ON_SEVERAL.get(platform, (evidence.CURRENT, CARDS, ON_ONE)))


def _boots(
    platform: str,
    of: Path,
    cards: Mapping[str, str],
    parallel: Parallel,
    models: Sequence[tuple[str, str, str]] = MODELS,
) -> Iterator[Point]:
    """All boots of a set on these cards, by directory, so spread; in the evidence of platform's engine."""
    engine = platform.partition("-")[0]
    spread = f"tp{parallel.tp}" + (f"ep{parallel.ep}" if parallel.ep > 1 else "")
    for directory, card in cards.items():
        for name, model, form in models:
            found = baseline.read(evidence.block(directory, engine, spread, of) / f"{name}.json")
            for cell_id, cell in found.cells.items() if found else ():
                if cell.workload["kind"] not in ("routing", "outputs"):
                    workload = Workload(cell_id.rsplit("/", 1)[1], **cell.workload)
                    tokens = found.cells[f"{engine}/{name}/{spread}/startup"].boots[0].metrics["kv_capacity"]
                    for boot in cell.boots:
                        yield Point(platform, card, model, form, workload, boot.metrics, int(tokens), parallel)


@functools.cache
def of_locked(platform: str, host: HostTerm | None = None) -> dict[tuple[str, ...], float]:
    """Errors of the locked release's cells on one H200 that nothing was fitted to, nor to the same cell of another release.

    As :func:`cell_errors` has them, by ``host`` or the one that ships, of times and rates; without weight-only formats, which
    have :func:`of_unpacking`.
    """
    points = [p for p in _locked(platform) if p.held_back and not p.unpacks]
    return cell_errors(points, {"h200": host or hardware().host_term(platform, "h200")})


def _locked(platform: str) -> Iterator[Point]:
    """The boots of the locked release on one H200, but for start-up."""
    points = _boots(
        platform, evidence.LOCKED[platform.partition("-")[0]], {"h200x1": "h200"}, ON_ONE, (*MODELS, *FAMILIES)
    )
    return (point for point in points if point.workload.kind != "startup")


@functools.cache
def _setup(model: str, card: str, form: str, parallel: Parallel) -> Setup:
    return Setup(architecture(model), gpu(card), parallel, precision(form))


def document_points() -> list[Measured]:
    """The document's nine Llama latencies at TP=2."""
    return [
        Measured(
            row["gpu"],
            Setup(architecture(DENSE), gpu(row["gpu"]), Parallel(row["tensor_parallel"]), precision("bf16")),
            row["batch"],
            row["input_len [tokens]"],
            row["output_len [tokens]"],
            row["latency [s]"],
        )
        for row in document.table("batch_latency", model=DENSE)
    ]


@functools.cache
def fitted(platform: str) -> dict[str, HostTerm]:
    """The host terms that a platform's evidence gives, by card."""
    routes = hardware().platform[platform].routes_padding
    found = fit_cards(recorded(platform))
    return {card: dataclasses.replace(host, routes_padding=routes) for card, host in found.items()}


def shipped(platform: str) -> dict[str, HostTerm]:
    """The host terms of a platform as hardware.toml has them, by card."""
    _, cards, parallel = ON_SEVERAL.get(platform, (evidence.CURRENT, CARDS, ON_ONE))
    return {card: hardware().host_term(platform, card, parallel.tp) for card in cards.values()}


def on_one_card(platform: str) -> dict[str, HostTerm]:
    """The host terms that ship for one of each card."""
    return {card: hardware().host_term(platform, card) for card in CARDS.values()}


def fit_cards(points: Sequence[Point]) -> dict[str, HostTerm]:
    """The host term of each card: steps from TPOT, then what holds up shared steps, then prefill from what of the latency
    they leave unexplained.

    A step constant per card; the constants per sequence, per prefill and per request (which are no less than nothing) are the
    program's and shared.
    """
    cards = list(dict.fromkeys(p.card for p in points))
    batches = [p for p in points if p.fitted and p.workload.kind == "batch"]
    paced = [p for p in batches if "tpot_p50" in p.metrics]
    rows, wanted = [], []
    for p in paced:
        batch, tpot = p.workload.batch_size, p.metrics["tpot_p50"]
        context = p.workload.input_len + p.workload.output_len / 2
        rows.append([(card == p.card) / tpot for card in cards] + [batch / tpot])
        wanted.append(1 - step.decode(p.setup, batch, context).device / tpot)
    *steps, sequence = np.linalg.lstsq(np.array(rows), np.array(wanted), rcond=None)[0]

    def term(card: str) -> HostTerm:
        values = (steps[cards.index(card)], sequence, 0.0, 0.0)
        return HostTerm(*(Figure(float(v), "calibrated", "") for v in values))

    hosts = {card: term(card) for card in cards}
    online = [p for p in points if p.fitted and p.workload.kind == "online"]
    for card in cards:
        if own := [p for p in online if p.card == card and not p.launched]:
            hosts |= fit_online(own, {card: hosts[card]}, "stall_seconds")
    if launched := [p for p in online if p.launched]:
        hosts |= fit_online(launched, hosts, "launch_seconds")
    rows, wanted = [], []
    nothing = Figure(0.0, "calibrated", "")
    for p in batches:
        batch, latency, output_len = p.workload.batch_size, p.metrics["latency"], p.workload.output_len
        host = hosts[p.card] if p.workload.stream else dataclasses.replace(hosts[p.card], sequence_seconds=nothing)
        known = serving.latency_seconds(p.setup, host, batch, p.workload.input_len, output_len)
        rows.append([1.0, batch, 0 if p.workload.stream else batch * (output_len - 1)])
        wanted.append(latency - known)
    latencies = np.array([p.metrics["latency"] for p in batches])
    found = _not_negative(np.array(rows) / latencies[:, None], np.array(wanted) / latencies)
    names = ("prefill_seconds", "request_seconds", "unstreamed_seconds")
    added = {name: Figure(float(value), "calibrated", "") for name, value in zip(names, found, strict=True)}
    return {card: dataclasses.replace(host, **added) for card, host in hosts.items()}


def _not_negative(rows: NDArray[np.float64], wanted: NDArray[np.float64]) -> NDArray[np.float64]:
    """Least squares of which no constant is less than nothing: the best of those that leave some of them out."""
    columns = range(rows.shape[1])
    tried = []
    for kept in itertools.chain.from_iterable(itertools.combinations(columns, n + 1) for n in columns):
        values = np.zeros(len(columns))
        values[list(kept)] = np.linalg.lstsq(rows[:, kept], wanted, rcond=None)[0]
        if values.min() >= 0:
            tried.append((float(np.sum((rows @ values - wanted) ** 2)), kept, values))
    return min(tried, default=(0.0, (), np.zeros(len(columns))))[2]


def fit_online(points: Sequence[Point], hosts: dict[str, HostTerm], name: str) -> dict[str, HostTerm]:
    """The hosts with their ``stall_seconds`` or ``launch_seconds``, the same for all of them, to half a millisecond.

    Least absolute errors of log TPOT, not their squares: near the limit one machine in five takes half as long again.
    """

    def with_term(half_milliseconds: int) -> dict[str, HostTerm]:
        term = Figure(half_milliseconds * 5e-4, "calibrated", "")
        return {card: dataclasses.replace(host, **{name: term}) for card, host in hosts.items()}

    def loss(candidate: int) -> float:
        made = with_term(candidate)
        errors = filter(None, (error(p, made[p.card]) for p in points))
        return sum(abs(math.log(1 + by)) for _, by in errors)

    return with_term(min(range(1, LONGEST + 1), key=loss))


def _on(setup: Setup, **figures: float) -> Setup:
    """The same on a card with these figures in place of its own."""
    found = {name: Figure(value, "calibrated", "") for name, value in figures.items()}
    return dataclasses.replace(setup, gpu=dataclasses.replace(setup.gpu, **found))


def fit_sustained(hosts: Mapping[str, Mapping[str, HostTerm]]) -> dict[str, float]:
    """``sustained_compute`` of each card: least absolute errors of log latency over the boots of both engines, to 1%.

    ``hosts`` are those of each platform, by card.
    """
    points = [p for platform in hosts for p in recorded(platform) if p.sustained]

    @functools.cache
    def expected(setup: Setup, host: HostTerm, workload: Workload, percent: int) -> float:
        sizes = workload.batch_size, workload.input_len, workload.output_len
        return serving.latency_seconds(_on(setup, **{SUSTAINED: percent / 100}), host, *sizes)

    def loss(own: Sequence[Point], percent: int) -> float:
        pairs = ((expected(p.setup, hosts[p.platform][p.card], p.workload, percent), p) for p in own)
        return sum(abs(math.log(seconds / p.metrics["latency"])) for seconds, p in pairs)

    cards = {card: [p for p in points if p.card == card] for card in dict.fromkeys(p.card for p in points)}
    return {card: min(range(60, 101), key=functools.partial(loss, own)) / 100 for card, own in cards.items()}


def whole() -> tuple[Point, ...]:
    """All boots of Mixtral with whole experts beside split attention."""
    of, _, _ = ON_SEVERAL[NEWEST_VLLM]
    return (
        *_boots(VLLM, evidence.CURRENT, PAIRS, Parallel(2, 2)),
        *_boots(NEWEST_VLLM, of, FOUR, Parallel(4, 4)),
    )


def fit_whole(hosts: Mapping[str, Mapping[str, HostTerm]]) -> tuple[float, float]:
    """``moe_whole_seconds`` and ``moe_whole_compute``: least absolute errors of log time, to 5 us and 2.5% of the peak.

    ``hosts`` are those of each platform, by card. Not their squares: with dummy weights one batch of 256 took a third longer
    than with split experts.
    """
    points = whole()

    def loss(candidate: tuple[int, int]) -> float:
        figures = dict(zip(WHOLE, (candidate[0] * 5e-6, candidate[1] / 40), strict=True))
        errors = []
        for p in points:
            setup = _on(p.setup, **figures)
            if expected := expect(setup, hosts[p.platform][p.card], p.workload, p.kv_tokens, MAX_MODEL_LEN):
                errors.append(math.log(1 + expected.error(p.metrics[expected.metric])))
        return sum(map(abs, errors))

    seconds, compute = min(itertools.product(range(11), range(10, 25)), key=loss)
    return seconds * 5e-6, compute / 40


def error(point: Point, host: HostTerm, card: Gpu | None = None) -> tuple[str, float] | None:
    """The metric that a point is compared by and the model's relative error; None without an expectation.

    ``card`` is taken for the point's own where the model is to believe so.
    """
    setup = dataclasses.replace(point.setup, gpu=card) if card else point.setup
    expectation = _expected(setup, host, point.workload, point.kv_tokens)
    if expectation is None or expectation.metric not in point.metrics:
        return None
    return expectation.metric, expectation.error(point.metrics[expectation.metric])


@functools.cache  # the boots of a cell share it
def _expected(setup: Setup, host: HostTerm, workload: Workload, kv_tokens: int) -> Expectation | None:
    return expect(setup, host, workload, kv_tokens, MAX_MODEL_LEN)


def held_back(points: Sequence[Point], hosts: dict[str, HostTerm]) -> dict[str, list[float]]:
    """Errors of the points that nothing was fitted to, by kind of workload, quantised models apart."""
    found: dict[str, list[float]] = {}
    for point in points:
        if point.held_back and (result := error(point, hosts[point.card])):
            kind = point.workload.kind if point.format == "bf16" else f"quantised {point.workload.kind}"
            found.setdefault(kind, []).append(result[1])
    return found


def uncertainties(
    points: Sequence[Point], hosts: dict[str, HostTerm], on_one: HostTerm | None = None
) -> dict[str, Uncertainty]:
    """Of a platform's predictions, by metric: quantiles over the cells that nothing was fitted to.

    ``hosts`` are of the points' cards, ``on_one`` is of the locked release's, without it the one that ships.

    The boots of a cell share what the model does not know of it, so they count once, at the median of their errors. Formats
    and cards count together, and the locked release with the platform that it is predicted by: each alone has too few cells for
    a quantile.
    """
    (platform,) = {point.platform for point in points}
    own = [one for one in points if one.held_back and (one.workload.kind == "startup" or not one.unpacks)]
    cells = list(cell_errors(own, hosts).items())
    cells += of_locked(platform, on_one).items() if platform != VLLM else ()
    found: dict[str, list[float]] = {}
    for (metric, *_), by in cells:
        found.setdefault(metric, []).append(by)
    return {m: Uncertainty(quantile(errors), len(errors), "held-back") for m, errors in found.items()}


def cell_errors(
    points: Sequence[Point], hosts: dict[str, HostTerm], card: Gpu | None = None
) -> dict[tuple[str, ...], float]:
    """The median error over the boots of each cell, by metric, card, model, format and workload."""
    cells: dict[tuple[str, ...], list[float]] = {}
    for point in points:
        for metric, by in relative_errors(point, hosts[point.card], card).items():
            key = (metric, point.card, point.model, point.format, point.workload.name)
            cells.setdefault(key, []).append(by)
    return {key: statistics.median(found) for key, found in cells.items()}


def relative_errors(point: Point, host: HostTerm, card: Gpu | None = None) -> dict[str, float]:
    """The model's relative errors of a point by metric: of start-up the sizes, of traffic what a cell is compared by."""
    if point.workload.kind != "startup":
        found = error(point, host, card)
        return dict([found]) if found else {}
    setup = point.setup
    weights = memory.weight_bytes_per_gpu(setup.architecture, setup.precision, setup.parallel)
    budget = KV_CACHE_GIB[point.card] * 2**30
    unit = kv_cache.BLOCK if point.platform != SGLANG else 1
    block = unit * memory.kv_bytes_per_token_per_gpu(setup.architecture, setup.precision, setup.parallel)
    sizes = {"weight_memory": weights, "kv_capacity": budget // block * unit}
    return {metric: size / point.metrics[metric] - 1 for metric, size in sizes.items()}


def uncertainty_on_several_gpus() -> Uncertainty:
    """Of times on more than one card: by what others published, at COVERAGE_ON_SEVERAL."""
    found = [point.error for point in published.points() if point.tp > 1]
    return Uncertainty(quantile(found, COVERAGE_ON_SEVERAL), len(found), "published")


def of_unpacking(hosts: Callable[[str], dict[str, HostTerm]]) -> dict[str, dict[tuple[str, ...], float]]:
    """Errors of times and rates of weight-only formats by platform, as :func:`cell_errors` has them.

    Of every release on one card; ``hosts`` has a platform's host terms by card.
    """
    points = {VLLM: recorded(VLLM), NEWEST_VLLM: _locked(NEWEST_VLLM), SGLANG: _locked(SGLANG)}
    timed = {name: [p for p in every if p.unpacks and p.workload.kind != "startup"] for name, every in points.items()}
    return {platform: cell_errors(own, hosts(platform)) for platform, own in timed.items()}


def uncertainty_of_unpacking(hosts: Callable[[str], dict[str, HostTerm]]) -> Uncertainty:
    """Of times of weight-only formats."""
    found = [by for cells in of_unpacking(hosts).values() for by in cells.values()]
    return Uncertainty(quantile(found), len(found), "unpacked")


def line(key: str, one: Uncertainty) -> str:
    """A line of hardware.toml."""
    return f'{key} = {{ error = {one.error:.4f}, cells = {one.cells}, source = "{one.source}" }}'


def main() -> None:
    """Print the constants and the errors."""
    nine = document_points()
    of_document = calibration.fit(nine)
    print(
        "document:", {m: f"{v * 1e3:.3f} ms" for m, v in of_document.seconds.items()}, f"slope {of_document.slope:.5f}"
    )
    left_out = calibration.leave_one_out(nine)
    names = [f"{p.machine} {p.sequences}" for p in nine]
    print("  left out:", ", ".join(f"{n} {e:+.2%}" for n, e in zip(names, left_out, strict=True)))
    print(
        f"  mean error {statistics.mean(map(abs, left_out)):.2%}, without a host "
        f"{statistics.mean(1 - p.device() / p.latency for p in nine):.0%}"
    )
    rows = []
    for platform in (VLLM, SGLANG, NEWEST_VLLM):
        points, hosts = recorded(platform), fitted(platform)
        for card, host in hosts.items():
            constants = {f.name: getattr(host, f.name) for f in dataclasses.fields(host)}
            figures = {name: figure for name, figure in constants.items() if isinstance(figure, Figure)}
            print(f"{platform} {card}:", {name: f"{figure.value:.4g}" for name, figure in figures.items()})
        for point in points:
            if result := error(point, hosts[point.card]):
                rows.append(
                    (
                        platform,
                        point.card,
                        f"{point.model} {point.format}",
                        point.workload.name,
                        result[0],
                        f"{result[1]:+.1%}",
                        "held back" if point.held_back else "fitted",
                    )
                )
        for kind, errors in held_back(points, hosts).items():
            print(
                f"held back, {platform} {kind}: n={len(errors)}, mean error {statistics.mean(map(abs, errors)):.1%}, "
                f"worst {max(map(abs, errors)):.1%}"
            )
        print(f'[uncertainty.platform."{platform}"]')
        print("\n".join(line(metric, one) for metric, one in sorted(uncertainties(points, hosts).items())))
    print("[uncertainty]", line("several_gpus", uncertainty_on_several_gpus()), sep="\n")
    print(line("unpacking", uncertainty_of_unpacking(on_one_card)))
    print("long products:", fit_sustained({platform: fitted(platform) for platform in (VLLM, SGLANG)}))
    print(
        "whole experts:",
        dict(zip(WHOLE, fit_whole({platform: fitted(platform) for platform in (VLLM, NEWEST_VLLM)}), strict=True)),
    )
    print(tabulate(rows, ("platform", "card", "model", "workload", "metric", "error", "")))


if __name__ == "__main__":
    main()

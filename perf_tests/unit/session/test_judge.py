"""Which boots of a baseline a session's values are compared with."""

import dataclasses
import math
import platform
from pathlib import Path

import pytest

from fixtures.deployments.cell import Cell, cells
from fixtures.deployments.deployment import Deployment, load
from fixtures.engines.registry import ENGINES
from fixtures.gate.verdict import Outcome
from fixtures.hardware import host
from fixtures.metrics import METRICS
from perf_tests.fakes.deployments import head, workload
from perf_tests.fakes.deployments import load as load_file
from perf_tests.fakes.judging import Draws, commit, judge_beside, judge_of_candidate, nothing
from perf_tests.fakes.samples import sample
from perf_tests.paths import ROOT

pytestmark = pytest.mark.cpu

RATIO, COUNT, LATENCY = (METRICS[name] for name in ("latency_to_dense", "completed", "latency"))


def on(boot, ratio, processor):
    """A boot on a kind of processor."""
    origin = {} if processor is None else {"instruction_set": processor}
    return sample(boot, metrics={RATIO.name: ratio, COUNT.name: 8.0}, provenance=origin)


@dataclasses.dataclass(frozen=True)
class Bench:
    """A deployment's cell of the model of experts, and what it is judged against."""

    deployment: Deployment
    pair: list[Cell]
    root: Path

    @property
    def cell(self):
        return next(cell for cell in self.pair if cell.block.model.endswith("mixtral-8x7b-twin"))

    def judge(self, stored):
        """A judge after the boots of ``stored`` have been committed as the cell's baseline."""
        judge = judge_beside(self.deployment, self.pair, self.root)
        commit(judge, {self.cell: stored})
        judge.read_baselines()
        return judge

    def verdict(self, metric, stored, now):
        judge = self.judge(stored)
        judge.reference.judged.boots[self.cell] = [now]
        return judge.verdict(self.cell, metric, judge.trial([self.cell]))


@pytest.fixture
def bench(tmp_path):
    chosen = load("cpu", ENGINES)
    pair = [
        cell for cell in cells(chosen, ["*/batch-8"]) if cell.block.tensor_parallel == 1 and cell.workload.batch_size
    ]
    return Bench(chosen, pair, tmp_path)


MIXED = [
    on("1", 0.7, "avx2"),
    on("2", 3.0, "amx_bf16"),
    on("3", 3.2, "amx_bf16"),
    on("4", 2.0, None),
]


@pytest.mark.parametrize(
    ("processor", "ratio", "centre"), [("amx_bf16", 3.2, 3.1), ("avx2", 0.72, 0.7), (None, 2.1, 2.0)]
)
def test_what_is_timed_on_a_processor_is_compared_with_boots_of_its_kind(bench, processor, ratio, centre):
    found = bench.verdict(RATIO, MIXED, on("5", ratio, processor))
    assert (found.outcome, found.baseline) == (Outcome.PASS, pytest.approx(centre))


def test_the_noise_is_of_alike_processors_too(bench):
    # Two boots 6.5% apart, against 1.3: not the standard deviation of 1.1 that all four have.
    found = bench.verdict(RATIO, MIXED, on("5", 3.1, "amx_bf16"))
    assert found.error == pytest.approx(0.2 / math.sqrt(2) / 3.1 * math.sqrt(1 + 1 / 2))


def test_a_processor_of_another_kind_has_no_baseline_for_what_is_timed(bench):
    found = bench.verdict(RATIO, MIXED, on("5", 9.0, "avx512_bf16"))
    assert (found.outcome, found.value, found.suspicious) == (Outcome.NO_BASELINE, 9.0, False)
    assert found.reason == (
        "no boot of the baseline is from a processor with avx512_bf16: add this one with --update-baselines=append"
    )


def test_counts_are_compared_with_all_boots(bench):
    assert bench.verdict(COUNT, MIXED, on("5", 9.0, "avx512_bf16")).outcome is Outcome.PASS


def test_beside_a_card_the_processor_does_not_matter(bench):
    on_card = dataclasses.replace(bench, deployment=dataclasses.replace(bench.deployment, hardware="H200"))
    found = on_card.verdict(RATIO, MIXED, on("5", 2.2, "avx512_bf16"))
    assert (found.outcome, found.baseline) == (Outcome.PASS, pytest.approx(2.225))


def test_a_series_of_nights_is_of_one_kind_of_processor(bench):
    judge = bench.judge(MIXED)
    amx, avx = (on("5", 1.0, processor) for processor in ("amx_bf16", "avx2"))
    assert judge.series(bench.cell, RATIO, amx) != judge.series(bench.cell, RATIO, avx)
    assert judge.series(bench.cell, COUNT, amx) == judge.series(bench.cell, COUNT, avx)
    assert judge.series(bench.cell, RATIO, amx) == judge.series(bench.cell, LATENCY, amx)


def test_the_instruction_set_is_the_widest_that_the_processor_says_it_has():
    says = Path("/proc/cpuinfo").read_text().split()
    has = [name for name in host.INSTRUCTION_SETS if name in says]
    assert host.provenance()["instruction_set"] == (has[0] if has else platform.machine())


@pytest.mark.parametrize(
    ("name", "decode"),
    [("batch-8", "tpot_p50"), ("batch-64", "decode_step"), ("offline-100", "decode_time"), ("online-8", "tpot_p50")],
)
def test_decode_is_judged_once_as_observed_where_it_is(tmp_path, name, decode):
    deployment = dataclasses.replace(load("h200x1", ENGINES), gated=())
    (cell,) = (one for one in cells(deployment, [f"vllm/mixtral-8x7b/tp1/{name}"]) if one.workload.name == name)
    judged = {metric.name for metric in judge_beside(deployment, [cell], tmp_path).metrics(cell)}
    assert judged & {"tpot_p50", "decode_step", "decode_time"} == {decode}


@pytest.mark.parametrize(("gated", "judged"), [((), {"energy_per_token"}), (("latency",), set())])
def test_a_cell_that_is_measured_for_its_energy_is_judged_by_it_unless_a_deployment_chooses(tmp_path, gated, judged):
    text = "".join(workload(kind, kind, batch_size=1, repetitions=1) for kind in ("energy", "batch"))
    deployment = load_file(tmp_path, head(gated=gated) + text)
    energy, batch = cells(deployment)
    found = judge_beside(deployment, [energy, batch], tmp_path)
    assert {metric.name for metric in found.metrics(energy)} == judged
    assert "energy_per_token" not in {metric.name for metric in found.metrics(batch)}


@pytest.mark.parametrize(
    ("machine", "baseline", "against"),
    [("a", 2.17, "against 4 boots"), ("new", 2.2, "against 2 other machines")],
)
def test_energy_is_held_against_boots_of_its_own_machine_as_times_are(tmp_path, machine, baseline, against):
    """Cards of the same kind differ by 2 to 3%."""
    deployment = load_file(tmp_path, head() + workload("energy", "energy", batch_size=1))
    (cell,) = cells(deployment)
    judge, energy = judge_beside(deployment, [cell], tmp_path), METRICS["energy_per_token"]

    def boot(name, host_id, joules):
        return sample(name, host_id=host_id, metrics={energy.name: joules}, provenance={"instruction_set": "avx2"})

    commit(judge, {cell: [boot(str(i), "ab"[i % 2], (2.17, 2.23)[i % 2]) for i in range(8)]})
    judge.read_baselines()
    judge.reference.judged.boots[cell] = [boot("now", machine, 2.2)]
    found = judge.verdict(cell, energy, judge.trial([cell]))
    assert found.baseline == pytest.approx(baseline)
    assert against in found.reason


TPOT = METRICS["tpot_p50"]


@pytest.fixture
def under_load(tmp_path):
    """A deployment of two batches, whose steps vary by 0.1%, and cells under load, where they vary by 3%."""
    text = "".join(workload(f"batch-{n}", "batch", batch_size=n, repetitions=1) for n in (1, 8))
    text += workload("online", "online", rate=8, num_prompts=8, repetitions=1)
    text += workload("talk", "conversations", rate=8, num_prompts=8, turns=2, repetitions=1)
    return load_file(tmp_path, head(gated=["tpot_p50"]) + text)


def step_of(cell, i, worse=1.0, host="a", name=""):
    apart = 0.001 if cell.workload.kind == "batch" else 0.03
    value = 0.01 * (1 + apart * (-1, 0, 1)[i % 3]) * worse
    origin = {"instruction_set": "avx2"}
    return sample(name or str(i), host_id=host, metrics={TPOT.name: value}, provenance=origin)


@pytest.mark.parametrize(("hosts", "now"), [("aaaaaa", "a"), ("abcdef", "g")])
def test_a_batch_is_judged_without_the_noise_of_what_arrives_at_a_rate(under_load, tmp_path, hosts, now):
    """Steps of a batch that are worse by 1.5% are seen beside 0.1% of its own, whatever cells under load vary by."""
    every = cells(under_load)
    judge = judge_beside(under_load, every, tmp_path)
    commit(judge, {cell: [step_of(cell, i, host=host) for i, host in enumerate(hosts)] for cell in every})
    judge.read_baselines()
    judge.reference.judged.boots.update({cell: [step_of(cell, 1, 1.015, now)] for cell in every})
    trial = judge.trial(every)
    for cell in every:
        found = judge.verdict(cell, TPOT, trial)
        batch = cell.workload.kind == "batch"
        assert (found.detectable < 0.015) is batch, cell.id
        assert "not yet confirmed" in found.reason or not batch


def test_nor_do_its_pairs_borrow_from_that(under_load, tmp_path):
    every = cells(under_load)
    judge = judge_of_candidate(under_load, every, tmp_path, Draws(nothing), Draws(nothing))
    judge.read_baselines()
    for cell in every:
        judge.reference.other.boots[cell] = [step_of(cell, 1, name=f"before {i}") for i in range(3)]
        judge.reference.judged.boots[cell] = [step_of(cell, i, name=f"now {i}") for i in range(3)]
    for cell, found in zip(every, judge.standards([(cell, TPOT) for cell in every]), strict=True):
        assert (found.noise.sigma < 0.002) is (cell.workload.kind == "batch"), cell.id
        assert found.noise.paired


def test_all_that_is_judged_without_a_card_has_a_committed_baseline():
    # What --strict-baselines would find, but for the kind of processor: that of the next machine isn't known.
    chosen = load("cpu", ENGINES).on("avx512_bf16", 2)
    every = cells(chosen)
    judge = judge_beside(chosen, every, ROOT / "baselines")
    judge.read_baselines()
    for cell in every:
        for metric in judge.metrics(cell):
            stored, reason = judge.reference.boots(cell)
            if metric.beyond:  # held against theory, or against what the boots answered
                assert cell.workload.kind != "outputs" or any(boot.outputs for boot in stored), f"{cell.id}: {reason}"
                continue
            assert any(metric.name in boot.metrics for boot in stored), f"{cell.id}: {metric.name}: {reason}"


def chosen_by(boot, runner, latency=1.0):
    """A boot whose engine ran on a model runner of its own choice."""
    origin = {"kernel": "6.1", "execution": {"model runner": runner}}
    return sample(boot, metrics={COUNT.name: 8.0, LATENCY.name: latency}, provenance=origin)


@pytest.mark.parametrize(("metric", "count", "outcome"), [(COUNT, 8.0, Outcome.PASS), (COUNT, 7.0, Outcome.REGRESSION)])
def test_what_the_engine_chose_otherwise_is_named_beside_every_verdict(bench, metric, count, outcome):
    now = dataclasses.replace(chosen_by("9", "V2"), metrics={COUNT.name: count})
    verdict = bench.verdict(metric, [chosen_by(str(i), "V1") for i in range(3)], now)
    assert verdict.outcome is outcome
    assert "model runner V1 -> V2" in verdict.reason


def test_another_machine_is_named_beside_what_does_not_pass_only(bench):
    stored = [chosen_by(str(i), "V1") for i in range(3)]
    elsewhere = {"kernel": "6.9", "execution": {"model runner": "V1"}}
    for count, named in ((8.0, False), (7.0, True)):
        now = dataclasses.replace(stored[0], metrics={COUNT.name: count}, provenance=elsewhere)
        assert ("kernel 6.1 -> 6.9" in bench.verdict(COUNT, stored, now).reason) is named


def inheriting(boot, **variables):
    """A boot whose server inherited these variables."""
    return sample(boot, metrics={RATIO.name: 1.0}, provenance={"environment": variables})


@pytest.mark.parametrize(
    ("now", "changed"),
    [
        ({"OMP_NUM_THREADS": "2"}, []),
        ({"OMP_NUM_THREADS": "4"}, []),
        ({"OMP_NUM_THREADS": "2", "CUDA_VISIBLE_DEVICES": "1"}, []),
        ({"OMP_NUM_THREADS": "2", "NVIDIA_VISIBLE_DEVICES": "0,1", "NVIDIA_REQUIRE_CUDA": "cuda>=13.0"}, []),
        ({"OMP_NUM_THREADS": "2", "PYTHONHASHSEED": "7"}, []),
        ({"OMP_NUM_THREADS": "8"}, ["OMP_NUM_THREADS 2 or 4 -> 8"]),
        ({}, ["OMP_NUM_THREADS 2 or 4 -> unset"]),
        ({"OMP_NUM_THREADS": "2", "NCCL_DEBUG": "INFO"}, ["NCCL_DEBUG unset -> INFO"]),
    ],
)
def test_a_variable_that_the_baseline_did_not_have_is_named(bench, now, changed):
    stored = [inheriting("1", OMP_NUM_THREADS="2"), inheriting("2", OMP_NUM_THREADS="4", CUDA_VISIBLE_DEVICES="0")]
    judge = bench.judge([*stored, sample("3", metrics={RATIO.name: 1.0})])
    assert list(map(str, judge.changes(bench.cell, inheriting("4", **now)))) == changed


def test_of_a_baseline_older_than_variables_nothing_is_said(bench):
    judge = bench.judge([sample("1", metrics={RATIO.name: 1.0})])
    assert judge.changes(bench.cell, inheriting("2", OMP_NUM_THREADS="8")) == []


def test_a_pace_that_nothing_showed_is_invalid_and_never_an_improvement(bench):
    tpot, ratio = METRICS["tpot_p50"], {RATIO.name: 3.0}
    before = [sample(str(i), metrics={tpot.name: 0.01} | ratio) for i in range(3)]
    judge = bench.judge(before)
    unseen = "2 of 2 streams don't show their tokens one by one"
    for now, outcome, reason in (
        (sample("n", metrics=ratio, unseen=unseen), Outcome.INVALID, unseen),
        (sample("n", metrics=ratio, invalid="a foreign process"), Outcome.INVALID, "a foreign process"),
        (sample("n", metrics=ratio), Outcome.INCONCLUSIVE, "the engine does not report tpot_p50"),
    ):
        judge.reference.judged.boots[bench.cell] = [now]
        found = judge.verdict(bench.cell, tpot, judge.trial([bench.cell]))
        assert (found.outcome, found.reason, found.value) == (outcome, reason, None)


@pytest.mark.parametrize(
    ("host", "outcome", "baseline", "against"),
    [
        ("b", Outcome.PASS, 1.104, "against 4 boots"),
        ("a", Outcome.INCONCLUSIVE, 1.003, "against 4 boots"),
        ("new", Outcome.PASS, 1.0535, "against 2 other machines"),
    ],
)
def test_a_night_is_compared_with_boots_of_its_own_machine(bench, host, outcome, baseline, against):
    def on_host(boot, host, latency):
        return sample(boot, host_id=host, metrics={LATENCY.name: latency}, provenance={"instruction_set": "avx2"})

    stored = [on_host(str(i), "ab"[i % 2], (1.0, 1.1)[i % 2] + 0.001 * i) for i in range(8)]
    bench = dataclasses.replace(bench, deployment=dataclasses.replace(bench.deployment, gated=("latency",)))
    found = bench.verdict(LATENCY, stored, on_host("now", host, 1.105))
    assert (found.outcome, found.baseline) == (outcome, pytest.approx(baseline))
    assert against in found.reason


def test_what_is_no_time_is_compared_with_all_machines(bench):
    stored = [sample(str(i), host_id=str(i), metrics={COUNT.name: 8.0}, provenance={}) for i in range(3)]
    found = bench.verdict(COUNT, stored, sample("now", host_id="new", metrics={COUNT.name: 8.0}, provenance={}))
    assert found.outcome is Outcome.PASS


@pytest.mark.parametrize(
    ("name", "values", "outcome"),
    [
        ("cpu_time_to_params", (1.3, 1.0, 1.1), Outcome.PASS),
        ("cpu_time_to_params", (1.3, 1.2, 1.1), Outcome.REGRESSION),
        ("cpu_time_to_params", (1.3,), Outcome.REGRESSION),
        # Within a tenth of its bound of 1.15, or not all beyond it: three boots decide.
        ("cpu_time_to_params", (1.2,), Outcome.INCONCLUSIVE),
        ("cpu_time_to_params", (1.2, 1.3), Outcome.INCONCLUSIVE),
        ("cpu_time_to_params", (1.3, 1.0), Outcome.INCONCLUSIVE),
        ("cpu_time_to_params", (1.2, 1.0, 1.2), Outcome.REGRESSION),
        ("kv_shortfall", (0.0105,), Outcome.REGRESSION),
        ("kv_shortfall", (0.5, 0.0, 0.0), Outcome.REGRESSION),
    ],
)
def test_a_relation_of_times_is_judged_by_the_middle_boot_and_of_sizes_by_the_worst(bench, name, values, outcome):
    judge = bench.judge([on("0", 1.0, "avx2")])
    judge.reference.judged.boots[bench.cell] = [sample(str(i), metrics={name: one}) for i, one in enumerate(values)]
    verdict = judge.verdict(bench.cell, METRICS[name], judge.trial([bench.cell]))
    assert verdict.outcome is outcome
    assert verdict.suspicious == (outcome is Outcome.INCONCLUSIVE)


@pytest.mark.parametrize(
    ("name", "right"), [("distinct_experts", 0.03), ("same_next_layer", 0.024), ("repeated_tokens", 0.1)]
)
def test_made_weights_that_do_not_choose_independently_are_invalid_in_any_boot(bench, name, right):
    for values, outcome in (((0.9 * right,) * 2, Outcome.PASS), ((0.9 * right, 1.1 * right), Outcome.INVALID)):
        judge = bench.judge([on("0", 1.0, "avx2")])
        judge.reference.judged.boots[bench.cell] = [sample(str(i), metrics={name: one}) for i, one in enumerate(values)]
        assert judge.verdict(bench.cell, METRICS[name], judge.trial([bench.cell])).outcome is outcome

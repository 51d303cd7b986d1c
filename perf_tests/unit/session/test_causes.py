"""A session with a change that many cells share: found together, told once, with the boots that it takes."""

import dataclasses
import datetime
import functools
import json
from pathlib import Path

import numpy as np
import pytest

from fixtures.analytical.hardware import hardware
from fixtures.demo import __main__ as demo
from fixtures.deployments.cell import cells
from fixtures.gate.rule import MAX_BOOTS
from fixtures.gate.verdict import Outcome
from fixtures.history.causes import since
from fixtures.metrics import METRICS
from fixtures.report import common, findings, terminal
from fixtures.session import record
from fixtures.session.session import Session
from fixtures.store.run import Run
from perf_tests.fakes.deployments import TWIN, head, load, workload
from perf_tests.fakes.history_entries import FIRST
from perf_tests.fakes.judging import Draws, commit, judge_beside, judge_of_candidate
from perf_tests.fakes.samples import sample

pytestmark = pytest.mark.cpu
MIXTURE = "mixtral-8x7b-twin"
GATED = ("prefill_time", "decode_step", "kv_capacity", "completed")
TEXT = (
    head([TWIN, MIXTURE], max_model_len=256, gated=GATED)
    + workload("startup", "startup")
    + "".join(workload(f"batch-{n}", "batch", batch_size=n, repetitions=1) for n in (1, 4, 8, 16, 32))
)
CV, BOOTS = 0.005, 10


class Bench:
    """Five batches of two models, a baseline of BOOTS boots, and nights whose boots are drawn around it."""

    def __init__(self, root, seed=0, host="h", **boots):
        self.root, self.host = root, host
        self.deployment = load(root, TEXT)
        self.every = cells(self.deployment)
        self.random = np.random.default_rng(seed)
        self.commit(**boots)

    def boot(self, cell, name, worse=0.0, **others):
        """One boot's sample of a cell, each metric around one and worse by so much."""
        names = ("kv_capacity",) if cell.workload.kind == "startup" else ("prefill_time", "decode_step")
        shift = worse if callable(worse) else lambda cell, metric: worse if cell.workload.traffic else 0.0
        values = {"completed": 8.0} if cell.workload.traffic else {}
        for metric in names:
            by = shift(cell, metric) * (-1 if metric == "kv_capacity" else 1)
            values[metric] = 1 + by + self.random.normal(0, CV)
        return sample(name, **({"host_id": self.host} | others), metrics=values)

    def commit(self, count=BOOTS, apart=False, host="h"):
        """Write the baseline; ``apart`` measures each cell in boots of its own."""
        judge = judge_beside(self.deployment, self.every, self.root)
        for block in dict.fromkeys(cell.block for cell in self.every):
            own = [cell for cell in self.every if cell.block == block]
            commit(
                judge,
                {
                    cell: [
                        self.boot(cell, f"{cell.workload.name if apart else ''}{i}", host_id=host) for i in range(count)
                    ]
                    for cell in own
                },
            )

    def night(self, worse=0.0, invalid="", max_boots=MAX_BOOTS):
        """A session of which everything is measured, and asked for; ``worse`` is one change, or by cell and metric."""
        self.source = Draws(lambda cell, boot: self.boot(cell, f"now-{boot}", worse, invalid=invalid))
        return self.ended(judge_beside(self.deployment, self.every, self.root, self.source, max_boots))

    def ended(self, judge):
        judge.read_baselines()
        session = Session(judge, None, self.root)
        for cell in self.every:
            session.measure(cell)
        for cell in self.every:
            for metric in judge.metrics(cell):
                session.verdict(cell, metric)
        for cause in judge.causes:
            session.cause(cause)
        return session


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


def told(session):
    return {one.cause.name for one in session.causes.values() if one.told}


def regressed(session):
    return {key for key, verdict in session.verdicts.items() if verdict.outcome is Outcome.REGRESSION}


def explained(session):
    return [(cell.id, metric.name) for one in session.causes.values() for cell, metric in one.explained]


def test_the_causes_of_the_bench(bench):
    names = [cause.name for cause in judge_beside(bench.deployment, bench.every, bench.root).causes]
    assert names == ["prefill", "decode", "memory", "speed", "moe", "host"]


def test_a_night_without_a_change_tells_nothing(bench):
    session = bench.night()
    assert told(session) == set()
    assert {one.verdict.outcome for one in session.causes.values()} <= {Outcome.PASS, Outcome.IMPROVEMENT}


def test_one_percent_in_ten_cells_is_found_together(bench):
    """Boots differ by 0.5%, and each cell lets 1% pass."""
    session = bench.night(lambda cell, metric: 0.01 if metric == "decode_step" else 0.0)
    assert told(session) == {"decode"}
    assert len(regressed(session)) <= 3
    assert set(explained(session)) == regressed(session)
    (one,) = (one for one in session.causes.values() if one.told)
    assert 0.005 < one.verdict.change < 0.015
    assert one.verdict.error < 0.001


def test_a_shift_of_everything_is_one_cause(bench):
    session = bench.night(0.05)
    assert told(session) == {"speed"}
    assert len(regressed(session)) == 20
    assert sorted(explained(session)) == sorted(regressed(session)), "each once"
    for one in session.causes.values():
        if one.verdict.outcome is Outcome.REGRESSION and not one.told:
            assert one.instead == "vllm/speed"
    timed = [(cell, METRICS[name]) for cell in session.cells for name in GATED[:2] if cell.workload.traffic]
    assert {session.cause_of(*key) for key in timed} == {"vllm/speed"}


def test_two_causes_at_once_are_two(bench):
    """Memory is short everywhere, and the mixture's steps take longer."""

    def worse(cell, metric):
        if metric == "kv_capacity":
            return 0.08
        return 0.06 if cell.block.model == MIXTURE else 0.0

    session = bench.night(worse)
    assert told(session) == {"memory", "moe"}
    assert sorted(explained(session)) == sorted(regressed(session))


def worse_up_to(batch, by, beyond):
    """Decode is worse by so much in batches up to one, and by so much beyond."""

    def worse(cell, metric):
        return 0.0 if metric != "decode_step" else by if cell.workload.batch_size <= batch else beyond

    return worse


def test_a_cause_that_names_regressions_says_what_all_boots_come_to(tmp_path):
    bench = Bench(tmp_path, count=3)
    session = bench.night(lambda cell, metric: 0.05 if metric == "decode_step" and cell.block.model == MIXTURE else 0.0)
    named = [one for one in session.causes.values() if one.told]
    assert len(regressed(session)) == 5
    assert sorted(explained(session)) == sorted(regressed(session))
    assert [one.cause.name for one in named] in (["decode"], ["moe"])
    assert named[0].verdict.change > 0.02


def test_a_cause_that_got_better_is_never_told(tmp_path):
    for seed in range(6):
        root = tmp_path / str(seed)
        root.mkdir()
        session = Bench(root, seed=seed, count=6).night(worse_up_to(4, 0.02, -0.1))
        for one in session.causes.values():
            if one.told:
                assert one.verdict.change > 0, one.verdict.reason
        assert set(explained(session)) <= regressed(session)


def test_one_cell_stands_alone(bench):
    cell = bench.every[2]
    session = bench.night(lambda other, metric: 0.2 if other == cell and metric == "decode_step" else 0.0)
    assert told(session) == set()
    assert regressed(session) == {(cell.id, "decode_step")}
    assert session.cause_of(cell, METRICS["decode_step"]) == ""
    decode = session.causes["vllm/decode"].verdict
    assert decode.outcome is Outcome.PASS
    assert decode.reason.startswith(f"not common, {cell.id} alone: ")


def test_what_is_open_in_common_has_its_cells_measured_again_in_all_blocks(bench):
    session = bench.night(lambda cell, metric: 0.009 if metric == "decode_step" else 0.0)
    assert told(session) == {"decode"}
    counts = {cell.id: len(boots) for cell, boots in session.boots.items() if cell.workload.traffic}
    assert min(counts.values()) >= 3, counts


def test_with_one_boot_no_cause_is_confirmed(bench):
    session = bench.night(0.05, max_boots=1)
    assert told(session) == set()
    assert session.causes["vllm/speed"].verdict.suspicious


def test_what_is_detectable_is_by_as_many_boots_as_the_session_may_have(bench):
    """Of metrics and of causes: fewer than three find nothing, and say so."""
    by_boots = {}
    for most in (1, 2, 3, 5):
        session = bench.night(max_boots=most)
        verdicts = [*session.verdicts.values(), *(one.verdict for one in session.causes.values())]
        by_boots[most] = [one for one in verdicts if one.error is not None]
    for most in (1, 2):
        assert {one.detectable for one in by_boots[most]} == {None}
        assert all("fewer than 3 boots find nothing" in one.reason for one in by_boots[most] if one.reason)
    by_three, by_five = ([one.detectable for one in by_boots[most]] for most in (3, 5))
    assert all(three >= five for three, five in zip(by_three, by_five, strict=True))
    assert by_three != by_five


def test_a_baseline_whose_boots_measured_cells_apart_cannot_tell(tmp_path):
    session = Bench(tmp_path, apart=True).night(0.05)
    found = session.causes["vllm/decode"].verdict
    assert (found.outcome, found.reason) == (Outcome.INCONCLUSIVE, "no boot of the baseline holds half of its metrics")
    assert told(session) == set()
    assert len(regressed(session)) == 20, "each fails by itself"


def test_without_a_baseline_there_is_none_in_common(tmp_path):
    bench = Bench(tmp_path)
    for path in tmp_path.rglob("*.json"):
        path.unlink()
    found = bench.night(0.05).causes["vllm/decode"].verdict
    assert found.outcome is Outcome.NO_BASELINE
    assert "write it with --update-baselines" in found.reason


def test_what_the_night_does_not_report_is_inconclusive_and_no_missing_baseline(bench):
    own = bench.boot
    bench.boot = lambda *args, **others: dataclasses.replace(own(*args, **others), metrics={"completed": 8.0})
    verdicts = {one.verdict.outcome: one.verdict.reason for one in bench.night().causes.values()}
    assert verdicts == {Outcome.INCONCLUSIVE: "fewer than two of its cells have told any of its metrics"}


def test_two_cells_need_a_baseline(tmp_path):
    bench = Bench(tmp_path)
    for path in tmp_path.rglob(f"{MIXTURE}.json"):
        path.unlink()
    causes = bench.night(0.05).causes
    assert causes["vllm/memory"].verdict.reason == "fewer than two of its cells have a baseline"
    assert causes["vllm/moe"].verdict.outcome is Outcome.NO_BASELINE
    assert causes["vllm/speed"].told, "by the other model's"


def test_disturbed_boots_tell_nothing(bench):
    found = bench.night(0.05, invalid="throttled").causes["vllm/decode"].verdict
    assert (found.outcome, found.reason) == (Outcome.INVALID, "no boot holds half of its metrics that count: throttled")


def test_on_a_machine_that_few_are_known_beside_no_cause_is_called(tmp_path):
    session = Bench(tmp_path, host="elsewhere").night(0.3)
    assert told(session) == set()
    assert session.causes["vllm/decode"].verdict.outcome is Outcome.INCONCLUSIVE


def test_cells_that_were_not_measured_are_measured_for_their_cause(bench):
    bench.source = Draws(lambda cell, boot: bench.boot(cell, f"now-{boot}"))
    judge = judge_beside(bench.deployment, bench.every, bench.root, bench.source)
    judge.read_baselines()
    session = Session(judge, None, bench.root)
    (decode,) = (cause for cause in judge.causes if cause.name == "decode")
    assert session.cause(decode).verdict.outcome is Outcome.PASS
    assert set(session.boots) == set(decode.cells)


def test_a_candidate_is_told_by_cause_too(tmp_path):
    bench = Bench(tmp_path)
    own = Draws(lambda cell, boot: bench.boot(cell, f"own-{boot}"))
    slower = Draws(lambda cell, boot: bench.boot(cell, f"new-{boot}", 0.3))
    session = bench.ended(judge_of_candidate(bench.deployment, bench.every, tmp_path, own, slower))
    assert told(session) == {"speed"}
    assert sorted(explained(session)) == sorted(regressed(session))


def test_the_history_keeps_a_nights_cause_and_tells_since_when_it_is_there(bench):
    """A night without a change, then two with 5% longer steps."""
    kept = []
    for number, worse in enumerate((0.0, 0.05, 0.05)):
        session = bench.night(lambda cell, metric, by=worse: by if metric == "decode_step" else 0.0)
        began = FIRST + datetime.timedelta(days=number)
        kept.append(record.entries(session, f"r{number}", began))
    by_night = [{(entry.metric, entry.cause) for entry in night if entry.metric == "decode_step"} for night in kept]
    assert by_night == [{("decode_step", "")}, {("decode_step", "vllm/decode")}, {("decode_step", "vllm/decode")}]
    assert {entry.cause for night in kept for entry in night if entry.metric == "prefill_time"} == {""}
    second = FIRST + datetime.timedelta(days=1)
    assert since([entry for night in kept for entry in night]) == {"vllm/decode": second.isoformat()}
    assert since(kept[0]) == {}


# -- on recorded boots of a card --------------------------------------------------------------------------------------


def replayed(root, change) -> Run:
    """The record of a night in which the recorded boots of both models were changed by a function of a cell and its metrics."""
    for path in sorted(demo.RECORDED.glob("*.json")):
        made = demo.with_night(json.loads(path.read_text()), 1.0)
        for cell in made["benchmarks"]:
            for boot in cell["extra_info"]["boots"][-demo.NIGHT :]:
                change(cell["extra_info"]["workload"], boot["metrics"])
        Path(root, path.name).write_text(json.dumps(made))
    return demo.play(Path(root), Path(root, "artifacts"))[1].run


def slower_steps(by, workload, metrics):
    """Every decode step takes so much longer."""
    if "tpot_p50" in metrics:
        metrics["tpot_p50"] += by
    if "latency" in metrics:
        metrics["latency"] += by * (workload["output_len"] - 1)


def test_a_host_that_takes_longer_is_named_with_its_interval(tmp_path):
    """0.3 ms more in every step of both models, on one H200: from 1.2% to 6% of a step."""
    run = replayed(tmp_path, functools.partial(slower_steps, 3e-4))
    (one,) = common.told(run)
    (term,) = one.cause.terms
    assert term.what == "the host's time for a step"
    assert term.low < 3e-4 < term.high
    model = hardware().host_term("vllm-0.26", "h200").step_seconds.value
    assert term.before == pytest.approx(model, rel=1e-3), "the model's, beside the night's"
    assert "the host, not the card" in one.sentence
    assert "over 8 cells, in 7 of them, of both models, beyond their own noise" in one.sentence
    assert findings.headline(run).sentence.startswith(f"1 cause: {one.sentence}; ")
    assert sum(line.startswith("regression: ") for line, _ in terminal.regressions(run)) == 1

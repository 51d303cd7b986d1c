"""A control engine beside tonight's: what the machine adds is taken out, what the engine does is not."""

import dataclasses
import json
import math
from types import SimpleNamespace

import numpy as np
import pytest

from fixtures.deployments.cell import cells
from fixtures.deployments.deployment import load
from fixtures.engines.registry import ENGINES
from fixtures.errors import EngineError, UsageError
from fixtures.gate import machine
from fixtures.gate.verdict import Outcome
from fixtures.metrics import METRICS
from fixtures.session.judge import Judge
from fixtures.session.reference import control, machines
from fixtures.session.reference.baselines import CommittedBaselines
from fixtures.session.reference.control import ControlEngine, Release
from fixtures.session.session import Session
from fixtures.store import run as runs
from perf_tests.fakes.judging import Draws, commit, judge_beside
from perf_tests.fakes.samples import sample

pytestmark = pytest.mark.cpu
LATENCY = METRICS["latency"]
HOSTS = tuple("abcdef")
RELEASE = {"engine_version": "0.26.0"}


class Bench:
    """A deployment on a card whose machines differ by 3% in all cells alike, and a night on one that no baseline knows."""

    def __init__(self, root):
        self.root = root
        self.deployment = dataclasses.replace(load("cpu", ENGINES), gated=("latency",), hardware="H200", outputs=False)
        found = cells(self.deployment, ["*/llama-3.1-8b-twin/tp1/batch-*"])
        extra = [
            dataclasses.replace(
                found[1], workload=dataclasses.replace(found[1].workload, name=f"batch-{n}", batch_size=n)
            )
            for n in (10, 12)
        ]
        self.cells = [*found, *extra]
        self.random = np.random.default_rng(2)
        self.metric = LATENCY

    def stored(self, hosts=HOSTS):
        """Baselines of one boot on each machine."""
        factors = dict(zip(hosts, np.exp(self.random.normal(0, 0.03, len(hosts))), strict=True))
        return {
            cell: [
                sample(f"{host}", host_id=host, provenance=RELEASE, **{self.metric.name: self._noisy(factors[host])})
                for host in hosts
            ]
            for cell in self.cells
        }

    def _noisy(self, value):
        return float(value * math.exp(self.random.normal(0, 0.002)))

    def night(self, stored, machine, engine, controlled=True, release="0.26.0", side_by_side=False):
        """A session whose machine and engine take so many times as long, and whose control only the machine slows down."""

        def draws(name, factor):
            return Draws(
                lambda cell, boot: sample(
                    f"{name}-{boot}", host_id="new", provenance=RELEASE, **{self.metric.name: self._noisy(factor(cell))}
                )
            )

        commit(judge_beside(self.deployment, self.cells, self.root), stored)
        own = draws("own", lambda cell: machine * engine(cell))
        committed = CommittedBaselines(self.deployment, [], self.root, own)
        reference = committed
        if controlled:
            given = Release({"vllm": self.root}, {"vllm": release})
            reference = ControlEngine(
                committed, draws("control", lambda cell: machine), given, self.cells, side_by_side
            )
        judge = Judge(self.deployment, self.cells, reference)
        judge.read_baselines()
        session = Session(judge, None, self.root)
        for cell in self.cells:
            session.measure(cell)
        return session, {cell.workload.name: session.verdict(cell, self.metric) for cell in self.cells}


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


def unchanged(cell):
    return 1.0


def slower_in(name, by=1.05):
    return lambda cell: by if cell.workload.name == name else 1.0


def test_the_control_measures_few_cells_of_each_block():
    every = cells(load("h200x1", ENGINES), ["vllm/llama-3.1-8b/*", "vllm/mixtral-8x7b/*"])
    found = {cell.id.partition("/")[2] for cell in control.chosen(every)}
    assert found == {
        f"{model}/tp1/{name}"
        for model in ("llama-3.1-8b", "mixtral-8x7b")
        for name in ("batch-1", "batch-32", "offline-100", "online-4")
    }


def test_a_slow_machine_is_no_regression_and_the_report_says_how_slow(bench):
    session, verdicts = bench.night(bench.stored(), 1.06, unchanged)
    assert {one.outcome for one in verdicts.values()} == {Outcome.PASS}
    assert "pair of boots" in verdicts["batch-1"].reason
    assert "other machines" in verdicts["batch-8"].reason
    assert all(abs(one.change) < 0.02 for one in verdicts.values()), "what is left is noise"
    which, told = session.judge.reference.remarks()
    assert which.startswith(f"control engine vllm 0.26.0 of {bench.root}: batch-1, batch-32 of vllm/")
    assert " slower than the baseline's in batches (latency of 2 cells): taken out of the other cells" in told
    alone = bench.night(bench.stored(), 1.06, unchanged, controlled=False)[1]
    assert abs(alone["batch-8"].change) > 0.03


@pytest.mark.parametrize(("name", "told"), [("ttft_first", False), ("tpot_p50", True)])
def test_side_by_side_first_tokens_tell_nothing_of_the_machine(bench, name, told):
    """They are asked for otherwise than in the baseline: one by one beside another server, and more often."""
    bench.metric = METRICS[name]
    bench.deployment = dataclasses.replace(bench.deployment, gated=(name,))
    asked = [dataclasses.replace(cell.workload, first_repetitions=8) for cell in bench.cells]
    bench.cells = [dataclasses.replace(cell, workload=one) for cell, one in zip(bench.cells, asked, strict=True)]
    for side_by_side in (False, True):
        session, _ = bench.night(bench.stored(), 1.06, unchanged, side_by_side=side_by_side)
        found = session.judge.reference.machine(session.judge.cells[1], bench.metric)
        assert (found != machine.NOTHING) == (told or not side_by_side)


@pytest.mark.parametrize("name", ["batch-1", "batch-8"])
def test_an_engine_that_got_slower_is_found_on_a_machine_that_the_baseline_lacks(bench, name):
    stored = bench.stored()
    _, verdicts = bench.night(stored, 1.0, slower_in(name))
    assert {one for one, found in verdicts.items() if found.outcome is Outcome.REGRESSION} == {name}
    _, alone = bench.night(stored, 1.0, slower_in(name), controlled=False)
    assert alone[name].outcome is not Outcome.REGRESSION
    assert verdicts[name].detectable < alone[name].detectable / 2


def test_without_a_control_a_shift_of_all_cells_is_machine_or_engine_and_never_a_pass(bench):
    _, verdicts = bench.night(bench.stored(), 1.04, unchanged, controlled=False)
    assert {one.outcome for one in verdicts.values()} == {Outcome.INCONCLUSIVE}
    for found in verdicts.values():
        assert "machine or engine" in found.reason or "not yet confirmed" in found.reason, found.reason
        if "not yet confirmed" not in found.reason:
            assert "to tell: --control-engine-env=vllm=DIR of 0.26.0" in found.reason
    _, calm = bench.night(bench.stored(), 0.97, unchanged, controlled=False)
    assert {one.outcome for one in calm.values()} <= {Outcome.PASS, Outcome.IMPROVEMENT}


def test_few_machines_cannot_tell_and_say_what_would(bench):
    session, verdicts = bench.night(bench.stored(("a", "b")), 1.5, unchanged, controlled=False)
    for found in verdicts.values():
        assert (found.outcome, "machine or engine" in found.reason) == (Outcome.INCONCLUSIVE, True)
        assert found.reason.endswith("to tell: --control-engine-env=vllm=DIR of 0.26.0")
    boots = session.judge.reference.judged.boots
    assert {len(own) for own in boots.values()} == {2}, "further boots would say the same"


def test_a_control_of_another_release_is_refused(bench):
    with pytest.raises(UsageError, match=r"vllm of .* is 0\.27\.0, .*\.json is of 0\.26\.0: give that release$"):
        bench.night(bench.stored(), 1.0, unchanged, release="0.27.0")


def test_the_controls_boots_are_kept_apart_and_take_turns(bench):
    session, _ = bench.night(bench.stored(), 1.0, slower_in("batch-1"))
    lines = [json.loads(line) for line in (bench.root / "samples.jsonl").read_text().splitlines()]
    order = [line.get("control", False) for line in lines if line["cell"].endswith("/batch-1")]
    assert order[:4] == [False, True, True, False]
    assert {line["cell"].rpartition("/")[2] for line in lines if line.get("control")} == {"batch-1", "batch-32"}
    (measured,) = {one.control for one in runs.samples(bench.root) if one.cell.endswith("/batch-8")}
    assert measured is False
    assert [len(session.judge.reference.beside(cell)) > 0 for cell in bench.cells] == [True, False, True, False, False]


@pytest.fixture
def decoding(bench):
    """The same of decode steps, which are one cause."""
    bench.deployment = dataclasses.replace(bench.deployment, gated=("tpot_p50",))
    bench.metric = METRICS["tpot_p50"]
    return bench


def cause_of_decode(session):
    (decode,) = [cause for cause in session.judge.causes if cause.name == "decode"]
    return session.cause(decode).verdict


def test_what_a_slow_machine_adds_is_no_cause_and_what_an_engine_adds_everywhere_is(decoding):
    stored = decoding.stored()
    slow, _ = decoding.night(stored, 1.06, unchanged)
    assert cause_of_decode(slow).outcome is Outcome.PASS
    worse, _ = decoding.night(stored, 1.06, lambda cell: 1.03)
    found = cause_of_decode(worse)
    assert found.outcome is Outcome.REGRESSION
    assert found.change == pytest.approx(0.03, abs=0.005)


def controlled(bench, draw, **options):
    """A session of this bench, and the source of a control that ``draw`` gives samples of."""
    own, other = Draws(lambda cell, boot: sample(f"own-{boot}", latency=1.0)), Draws(draw)
    committed = CommittedBaselines(bench.deployment, [], bench.root, own)
    reference = ControlEngine(committed, other, Release({"vllm": bench.root}, {}), bench.cells, **options)
    return Session(Judge(bench.deployment, bench.cells, reference), None, bench.root), other


@pytest.mark.parametrize(("side_by_side", "ended"), [(True, 0), (False, 1)])
def test_a_control_stays_up_beside_cells_that_it_does_not_measure(bench, side_by_side, ended):
    """Or it is booted again for each of its cells. One that is booted in turn leaves the cards."""
    session, control = controlled(bench, lambda cell, boot: sample("control"), side_by_side=side_by_side)
    session.judge.reference.other.boots[bench.cells[0]] = [sample("control")]
    session.measure(bench.cells[1])
    assert control.boot == ended


def test_a_control_that_fails_is_not_left_up(bench):
    """Nothing asks for it again, and what is booted next would find its cards in use."""

    def fail(cell, boot):
        raise EngineError("1 of 4 requests failed")

    session, control = controlled(bench, fail)
    session.judge.read_baselines()
    session.verdict(bench.cells[0], LATENCY)
    assert session.judge.reference.other.error == "1 of 4 requests failed"
    assert control.boot == 2, "stopped before its boot, and after it failed"


def test_a_cause_on_an_unknown_machine_says_what_would_tell_too(decoding):
    session, _ = decoding.night(decoding.stored(("a", "b")), 1.5, unchanged, controlled=False)
    found = cause_of_decode(session)
    assert (found.outcome, "machine or engine" in found.reason) == (Outcome.INCONCLUSIVE, True)
    assert found.reason.endswith("to tell: --control-engine-env=vllm=DIR of 0.26.0")


def test_beside_a_server_that_runs_already_no_control_can_be_booted(bench):
    """What would tell is the server of before, on this machine."""
    (cell, *_), stored = bench.cells, sample("a", provenance={"engine_version": "0.32.0"})
    served = dataclasses.replace(cell, block=dataclasses.replace(cell.block, engine="external"))
    known = SimpleNamespace(machine=lambda cell, metric: machine.NOTHING, boots=lambda cell: ([stored], ""))
    told = machines.remedy(known, served, bench.metric)
    assert told == "to tell: boots of 0.32.0 on this machine in the baseline, 2 or more"

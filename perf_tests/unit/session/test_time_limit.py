"""A session with a limit measures again what still ends within it, and says what it left open and how to tell."""

import dataclasses
import types

import pytest

from fixtures.deployments.cell import cells
from fixtures.deployments.deployment import load
from fixtures.engines.registry import ENGINES
from fixtures.gate.verdict import Outcome
from fixtures.metrics import METRICS
from fixtures.session import session as session_module
from fixtures.session.session import Session
from fixtures.session.time_limit import TimeLimit
from perf_tests.fakes.judging import Draws, commit, judge_beside
from perf_tests.fakes.samples import sample

pytestmark = pytest.mark.cpu
BOOTING = 50.0
SECONDS = {1: 10.0, 8: 20.0, 32: 40.0}
LATENCY = METRICS["latency"]


class Clocked(Draws):
    """A source on a clock of its own: each boot takes BOOTING seconds, each batch as many as SECONDS says."""

    def __init__(self, draw):
        super().__init__(draw)
        self.now, self._up = 0.0, False
        self.measured = []

    def _boot(self):
        self.now += 0.0 if self._up else BOOTING
        self._up = True

    def prepare(self, cell):
        super().prepare(cell)
        self._boot()

    def measure(self, cells, rounds):
        self._boot()
        self.now += SECONDS[cells[0].workload.batch_size]
        self.measured.append((self.boot, cells[0].workload.batch_size))
        return super().measure(cells, rounds)

    def stop(self):
        super().stop()
        self._up = False


@pytest.fixture
def night(tmp_path, monkeypatch):
    """A session with a limit, its source and the outcomes by batch; those that are ``worse`` take twice as long."""

    def run(limit, worse=(1, 8, 32)):
        chosen = dataclasses.replace(load("cpu", ENGINES), gated=("latency",), tolerances={}, in_turn=False)
        own = [cell for cell in cells(chosen, ["*/llama-3.1-8b-twin/tp1/batch-*"]) if cell.workload.kind == "batch"]
        now = {cell: 2.0 if cell.workload.batch_size in worse else 1.0 for cell in own}
        source = Clocked(lambda cell, boot: sample(f"now-{boot}", latency=now[cell]))
        monkeypatch.setattr(session_module, "time", types.SimpleNamespace(monotonic=lambda: source.now))
        judge = judge_beside(chosen, own, tmp_path, source)
        commit(judge, {cell: [sample(str(i), latency=1.0 + 0.001 * i) for i in range(4)] for cell in own})
        judge.read_baselines()
        session = Session(judge, None, tmp_path)
        session.time_limit = TimeLimit(limit, lambda: source.now)
        for cell in own:
            session.measure(cell)
        found = {cell.workload.batch_size: session.verdict(cell, LATENCY) for cell in own}
        return session, source, {size: verdict.outcome for size, verdict in found.items()}

    return run


def test_without_a_limit_three_boots_confirm_everything(night):
    session, source, outcomes = night(0)
    assert set(outcomes.values()) == {Outcome.REGRESSION}
    assert source.now == 3 * (BOOTING + sum(SECONDS.values()))
    assert not session.time_limit.left_out


def test_what_takes_least_is_confirmed_where_not_everything_can_be(night):
    """After 120 s two more boots of 80 s end within 280: batch-32, which would make them 120 s, is left out."""
    session, source, outcomes = night(280)
    assert source.measured[3:] == [(1, 1), (1, 8), (2, 1), (2, 8)]
    assert outcomes == {1: Outcome.REGRESSION, 8: Outcome.REGRESSION, 32: Outcome.INCONCLUSIVE}
    assert source.now == 280
    assert {cell.workload.batch_size for cell in session.time_limit.left_out} == {32}


def test_no_boot_is_begun_that_would_not_end_in_time(night):
    session, source, outcomes = night(120 + BOOTING + SECONDS[1] - 1)
    assert source.now == 120
    assert set(outcomes.values()) == {Outcome.INCONCLUSIVE}
    assert len(session.time_limit.left_out) == 3


def test_where_time_is_left_for_one_boot_it_is_taken_as_it_may_clear(night):
    _, source, outcomes = night(120 + BOOTING + SECONDS[1])
    assert source.measured[3:] == [(1, 1)]
    assert outcomes[1] is Outcome.INCONCLUSIVE


def test_a_night_in_which_nothing_is_suspicious_is_not_touched(night):
    session, source, outcomes = night(1, worse=())
    assert set(outcomes.values()) == {Outcome.PASS}
    assert (source.now, session.time_limit.left_out) == (120, set())


def test_a_boot_that_took_longer_than_the_first_is_reckoned_with(night):
    limit = TimeLimit(100, lambda: 0)
    limit.booted((), 10)
    wanted = {("a",): 15.0, ("b",): 50.0}
    assert limit.fitting((), wanted, 2) == [("a",)]
    limit.booted((), 40)
    limit.booted((), 20)
    assert (limit.fitting((), wanted, 2), limit.left_out) == ([("a",)], {"b"}), "not twice, but once"
    limit.booted((), 90)
    assert (limit.fitting((), wanted, 1), limit.left_out) == ([], {"a", "b"})

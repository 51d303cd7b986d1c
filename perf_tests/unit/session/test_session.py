"""What a session makes of the samples that it has: ratios between cells, a candidate's boots, what appears late."""

import dataclasses
import types

import pytest

from fixtures.deployments.cell import cells
from fixtures.deployments.deployment import load
from fixtures.engines.registry import ENGINES
from fixtures.errors import EngineError
from fixtures.gate.verdict import Outcome
from fixtures.metrics import METRICS
from fixtures.session import session as session_module
from fixtures.session.session import Session
from perf_tests.fakes.judging import Draws, commit, judge_beside, judge_of_candidate
from perf_tests.fakes.samples import sample

pytestmark = pytest.mark.cpu

RATIO = METRICS["latency_to_dense"]


@pytest.fixture
def verdict(tmp_path):
    """The verdict on Mixtral's latency over the dense model's, and the ratios, by the boots of both."""

    def judged(dense, moe):
        chosen = load("cpu", ENGINES)
        pair = [cell for cell in cells(chosen, ["*/batch-8"]) if cell.block.tensor_parallel == 1]
        by_model = {cell.block.model: cell for cell in pair}
        own, other = by_model["mixtral-8x7b-twin"], by_model["llama-3.1-8b-twin"]
        judge = judge_beside(chosen, pair, tmp_path, max_boots=1)  # nothing can be measured again
        night = Session(judge, None, tmp_path)
        night.boots.update({other: dense, own: moe})
        judge.read_baselines()
        return night.verdict(own, RATIO), [boot.metrics.get(RATIO.name) for boot in moe], other

    return judged


def test_a_ratio_is_to_the_first_boot_that_counts(verdict):
    found, ratios, _ = verdict(
        [sample("1", "throttled", latency=9.0), sample("2", latency=2.0)], [sample("3", latency=5.0)]
    )
    assert (found.outcome, found.value, ratios) == (Outcome.NO_BASELINE, 2.5, [2.5])


def test_a_ratio_is_to_the_same_boot_where_that_counts(verdict):
    found, _, _ = verdict([sample("1", latency=2.0), sample("2", latency=4.0)], [sample("2", latency=5.0)])
    assert found.value == 1.25


def test_a_ratio_to_what_was_disturbed_is_invalid_and_says_so(verdict):
    found, ratios, other = verdict([sample("1", "throttled", latency=9.0)], [sample("2", latency=5.0)])
    assert (found.outcome, found.value, ratios) == (Outcome.INVALID, None, [None])
    assert found.reason == f"{other.id}, which it is in proportion to, is invalid: throttled"


def batches(gated, *sizes):
    """A deployment of the dense twin that judges these metrics, and its cells of these batch sizes."""
    chosen = dataclasses.replace(load("cpu", ENGINES), gated=gated)
    found = [cell for cell in cells(chosen, ["*/llama-3.1-8b-twin/*/batch-*"]) if cell.block.tensor_parallel == 1]
    return chosen, [cell for cell in found if cell.workload.batch_size in sizes]


def test_a_candidate_is_judged_although_both_first_boots_were_disturbed(tmp_path):
    """Nothing can be compared after the first boots; three more of each show that the candidate is a fifth slower."""

    def draw(latency):
        return lambda cell, boot: sample(f"{latency}-{boot}", "throttled" if boot < 2 else "", latency=latency)

    chosen, (cell,) = batches(("latency",), 8)
    judge = judge_of_candidate(chosen, [cell], tmp_path, Draws(draw(1.0)), Draws(draw(1.2)))
    judge.read_baselines()
    session = Session(judge, None, tmp_path)
    session.measure(cell)
    found = session.verdict(cell, METRICS["latency"])
    assert found.outcome is Outcome.REGRESSION
    assert (found.change, found.baseline) == (pytest.approx(0.2), 1.0)
    assert "3 pairs of boots" in found.reason


def test_a_candidate_that_fails_in_one_cell_is_measured_in_the_others(tmp_path):
    """What is asked of them is not lost, and they are not taken for what failed."""
    chosen, both = batches(("latency",), 1, 8)

    def draw(cell, boot):
        if cell is both[0]:
            raise EngineError("1 of 4 requests failed")
        return sample(f"{boot}", latency=1.2)

    judge = judge_of_candidate(
        chosen, both, tmp_path, Draws(lambda cell, boot: sample(f"own-{boot}", latency=1.0)), Draws(draw)
    )
    judge.read_baselines()
    session = Session(judge, None, tmp_path)
    for cell in both:
        session.measure(cell)
    found = [session.verdict(cell, METRICS["latency"]) for cell in both]
    assert (found[0].outcome, found[0].reason) == (Outcome.INCONCLUSIVE, "not measured: 1 of 4 requests failed")
    assert found[1].change == pytest.approx(0.2)
    assert [session.error(cell) for cell in both] == ["1 of 4 requests failed", ""]


def test_a_ratio_that_only_a_later_boot_has_is_judged_and_costs_no_other_verdict(tmp_path):
    """The first boot of what it is in proportion to was disturbed; the ratio appears with the second."""
    chosen, both = batches(("latency", "latency_to_batch_1"), 1, 8)
    one, eight = sorted(both, key=lambda cell: cell.workload.batch_size)

    def draw(cell, boot):
        disturbed = "throttled" if boot == 0 and cell is one else ""
        return sample(f"now-{boot}", disturbed, latency=1.0 if cell is one else 3.0)

    source = Draws(draw)
    judge = judge_beside(chosen, both, tmp_path, source)
    commit(judge, {one: [sample("a", latency=1.0)], eight: [sample("a", latency=2.0)]})
    judge.read_baselines()
    session = Session(judge, None, tmp_path, profile="all")
    for cell in both:
        session.measure(cell)
    assert session.verdict(one, METRICS["latency"]).outcome is Outcome.PASS
    assert session.verdict(eight, METRICS["latency_to_batch_1"]).outcome is Outcome.NO_BASELINE
    assert session.verdict(eight, METRICS["latency_to_batch_1"]).value == 3.0
    assert source.profiled == [one, eight]


@pytest.mark.parametrize("beside", [False, True])
def test_a_cell_is_timed_without_the_boot_of_its_server(tmp_path, monkeypatch, beside):
    """Controls are the cells that were measured fastest: whoever came first must not pay for the boot."""
    now = [0.0]

    class Slow(Draws):
        def prepare(self, cell):
            now[0] += 0 if self.prepared else 60
            super().prepare(cell)

        def measure(self, cells, rounds):
            now[0] += sum(cell.workload.batch_size for cell in cells)
            return super().measure(cells, rounds)

    monkeypatch.setattr(session_module, "time", types.SimpleNamespace(monotonic=lambda: now[0]))
    chosen, both = batches(("latency",), 1, 8)
    sources = [Slow(lambda cell, boot: sample(str(boot), latency=1.0)) for _ in range(2)]
    judge = (
        judge_of_candidate(chosen, both, tmp_path, *sources)
        if beside
        else judge_beside(chosen, both, tmp_path, sources[0])
    )
    judge.reference.side_by_side = beside
    session = Session(judge, None, tmp_path)
    for cell in both:
        session.measure(cell)
    assert session.seconds == {cell: (1 + beside) * cell.workload.batch_size for cell in both}


@pytest.mark.parametrize(
    ("ratios", "boots", "outcome"),
    [
        ((1.0,), 1, Outcome.PASS),
        ((1.2,), 1, Outcome.REGRESSION),
        ((1.05, 1.0, 0.9), 3, Outcome.PASS),
        ((1.05, 0.9, 1.05), 3, Outcome.REGRESSION),
    ],
)
def test_a_relation_that_is_broken_narrowly_is_measured_again_with_what_it_refers_to(tmp_path, ratios, boots, outcome):
    """A token of a batch of 8 takes so many times the processor time of one alone, which each boot measures beside it."""
    chosen, both = batches(("cpu_time_to_batch_1",), 1, 8)
    one, eight = sorted(both, key=lambda cell: cell.workload.batch_size)

    def draw(cell, boot):
        alone = 1.0 + boot
        return sample(f"now-{boot}", cpu_time=alone if cell is one else ratios[boot] * alone)

    judge = judge_beside(chosen, both, tmp_path, Draws(draw))
    judge.read_baselines()
    session = Session(judge, None, tmp_path)
    for cell in (one, eight):
        session.measure(cell)
    assert session.verdict(eight, METRICS["cpu_time_to_batch_1"]).outcome is outcome
    assert len(session.boots[one]) == len(session.boots[eight]) == boots
    assert [boot.metrics["cpu_time_to_batch_1"] for boot in session.boots[eight]] == pytest.approx(ratios)


@pytest.mark.parametrize(("noise", "pairs"), [(0.0, 2), (0.001, 2), (0.3, 5)])
def test_pairs_are_added_until_it_is_known_by_how_much_the_engines_differ(tmp_path, noise, pairs):
    """Nothing regressed and one boot of each clears it; one pair has no interval all the same."""
    chosen, both = batches(("latency",), 1, 8)

    def draw(cell, boot):
        return sample(f"{boot}", latency=1.0, tpot_p50=0.01 * (1 + noise * (boot % 3)))

    own, candidate = Draws(lambda cell, boot: sample(f"own-{boot}", latency=1.0, tpot_p50=0.01)), Draws(draw)
    judge = judge_of_candidate(chosen, both, tmp_path, own, candidate)
    judge.read_baselines()
    session = Session(judge, None, tmp_path)
    for cell in both:
        session.measure(cell)
    assert {session.verdict(cell, METRICS["latency"]).outcome for cell in both} == {Outcome.PASS}
    assert (
        {len(session.boots[cell]) for cell in both} == {len(judge.reference.beside(cell)) for cell in both} == {pairs}
    )


def test_no_two_engines_are_up_on_the_same_cards(tmp_path):
    """What the candidate measured last of one model is stopped before this session's own engine boots the next."""
    chosen = dataclasses.replace(load("cpu", ENGINES), gated=("latency",))
    pair = [cell for cell in cells(chosen, ["*/batch-8"]) if cell.workload.kind == "batch"]
    events = []

    class Telling(Draws):
        def stop(self):
            super().stop()
            events.append((self, "stopped"))

        def prepare(self, cell):
            events.append((self, cell.block.model))

        def measure(self, cells, rounds):
            events.append((self, cells[0].block.model))
            return super().measure(cells, rounds)

    own, candidate = (Telling(lambda cell, boot, of=of: sample(f"{of}-{boot}", latency=1.0)) for of in ("own", "new"))
    judge = judge_of_candidate(chosen, pair, tmp_path, own, candidate, max_boots=1)
    judge.read_baselines()
    session = Session(judge, None, tmp_path)
    for cell in pair:
        session.measure(cell)
        session.verdict(cell, METRICS["latency"])
    up = set()
    for who, what in events:
        up = up - {who} if what == "stopped" else up | {who}
        assert len(up) <= 1, events

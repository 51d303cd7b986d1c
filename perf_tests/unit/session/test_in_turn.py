"""Cells of two models whose repetitions are taken in turn, on two servers that are up at the same time."""

import contextlib
import dataclasses
import os

import pytest

from fixtures.deployments.cell import cells
from fixtures.deployments.server import Server
from fixtures.engines.boot import Boot, attach
from fixtures.engines.usage import usage
from fixtures.errors import EngineError, EngineHung, UsageError
from fixtures.gate.verdict import Outcome
from fixtures.hardware.nvml import Card, State
from fixtures.metrics import METRICS
from fixtures.session import measurer
from fixtures.session.measurer import Measurer
from fixtures.session.relations import scale
from fixtures.session.rounds import plain_rounds
from fixtures.session.seat import Seat
from fixtures.session.session import Session
from fixtures.session.steadiness import OTHERS
from fixtures.session.traffic import in_turn
from fixtures.store import files
from perf_tests.fakes.deployments import TWIN, head, load, workload
from perf_tests.fakes.judging import Draws, judge_beside
from perf_tests.fakes.samples import sample
from perf_tests.fakes.server_process import mock_server, server_log

pytestmark = pytest.mark.cpu

MIXTURE, REPETITIONS = "mixtral-8x7b-twin", 3
JUDGED = ("latency_to_dense", "latency", "completed")
QUICK = ("--ttft", "0.01", "--gap", "0.002")


def chosen(directory, *gated, judged=JUDGED, firsts=0):
    """A deployment of both twins that are measured in turn."""
    text = head([TWIN, MIXTURE], in_turn=True, gated=[*judged, *gated])
    text += f'dense_reference = "{TWIN}"\n'
    text += workload("batch-1", "batch", batch_size=1, repetitions=REPETITIONS, first_repetitions=firsts)
    return load(directory, text + workload("online", "online", rate=50, num_prompts=4))


class Told:
    """Which repetition of which cell was begun, in this order."""

    def __init__(self):
        self.begun = []

    def __call__(self, text, passing=False):
        cell, _, phase = text.rpartition(": ")
        if phase.startswith(("measuring ", "first token ")):
            self.begun.append((cell.split("/")[1], phase.removeprefix("measuring ")))


@pytest.fixture
def measured(tmp_path, monkeypatch):
    def measure(*options, loads=(), gated=JUDGED):
        """The samples of both batches, by model, what was begun, and what both servers were asked.

        ``loads`` is what other programs had of the cores, by repetition: the last value of all further ones.
        """
        deployment, told = chosen(tmp_path, judged=gated), Told()
        if loads:
            monkeypatch.setattr(
                measurer, "_others", lambda runs: tuple([*loads, *[loads[-1]] * len(runs.full)][: len(runs.full)])
            )
        pair = [cell for cell in cells(deployment) if cell.workload.kind == "batch"]
        with contextlib.ExitStack() as stack:
            urls = [stack.enter_context(mock_server(*QUICK, *own)) for own in ((), options)]
            seats = [Seat(cell, attach(Server(url), "mock")) for cell, url in zip(pair, urls, strict=True)]
            found = Measurer(deployment, [], progress=told).measure_in_turn(seats, plain_rounds)
            return found, told.begun, [server_log(url) for url in urls]

    return measure


def test_repetitions_of_both_models_take_turns(measured):
    (dense, mixture), begun, logs = measured()
    in_turn = [(name, f"{i}/{REPETITIONS}") for i in range(1, 1 + REPETITIONS) for name in (TWIN, MIXTURE)]
    assert begun[: len(in_turn)] == in_turn, "what a late client measures again comes after them"
    ratios = mixture.repetitions["latency_to_dense"]
    assert ratios == tuple(
        own / other for own, other in zip(mixture.repetitions["latency"], dense.repetitions["latency"], strict=True)
    )
    assert mixture.metrics["latency_to_dense"] == sorted(ratios)[1]
    assert "latency_to_dense" not in dense.metrics
    assert all(len(log) >= REPETITIONS for log in logs)


def test_two_engines_take_turns_in_one_cell(tmp_path):
    """Each repetition of one has that of the other beside it, each first token too; what other programs take is in both."""
    told, deployment = Told(), chosen(tmp_path, firsts=2 * REPETITIONS)
    cell = next(one for one in cells(deployment) if one.workload.kind == "batch")
    with mock_server(*QUICK) as one, mock_server(*QUICK, "--gap", "0.02") as other:
        seats = [Seat(cell, attach(Server(url), "mock")) for url in (one, other)]
        fast, slow = Measurer(deployment, [], progress=told).measure_in_turn(seats, plain_rounds)
        asked = [len(server_log(url)) for url in (one, other)]
    each = [[f"first token {2 * i - 1}/6", f"first token {2 * i}/6", f"{i}/{REPETITIONS}"] for i in (1, 2, 3)]
    assert [phase for _, phase in told.begun[: 6 * REPETITIONS]] == [one for own in each for one in own for _ in seats]
    assert asked[0] == asked[1]
    assert min(slow.repetitions["latency"]) > max(fast.repetitions["latency"])
    assert "latency_to_dense" not in slow.metrics


def test_the_pairs_that_other_programs_did_not_disturb_count(tmp_path):
    """Those in which others had little of the cores beside both together; what the rest came to is kept."""
    deployment = chosen(tmp_path)
    pair = [cell for cell in cells(deployment) if cell.workload.kind == "batch"]
    waits = {TWIN: (0.8, 0.0, 0.0, 0.1, 0.0), MIXTURE: (0.0, 0.0, 0.6, 0.0, 0.1)}
    times = {TWIN: (2.0, 1.0, 1.0, 1.0, 1.0), MIXTURE: (3.0, 3.0, 9.0, 1.0, 2.0)}

    def ratio(**waits_too):
        found = {
            cell: dataclasses.replace(
                sample("1"),
                repetitions={"latency": times[cell.block.model]}
                | {k: v[cell.block.model] for k, v in waits_too.items()},
            )
            for cell in pair
        }
        Measurer(deployment, [])._set_in_proportion(pair[1], found[pair[1]], found)
        assert found[pair[1]].repetitions["latency_to_dense"] == (1.5, 3.0, 9.0, 1.0, 2.0)
        return found[pair[1]].metrics["latency_to_dense"]

    assert ratio(other_load=waits) == 2.0, "the middle one of 3.0, 1.0 and 2.0"
    assert ratio(other_load=waits | {MIXTURE: ()}) == 2.0, "of all, where it isn't known of both"
    assert ratio(other_load={TWIN: (0.0, 0.1, 0.0, 0.6, 0.6), MIXTURE: (0.0, 0.0, 0.0, 0.0, 0.0)}) == 3.0


def test_what_fails_on_one_server_is_said_of_its_own_cell(measured):
    (dense, mixture), _, _ = measured("--fault", "http-500", "--after", "2")
    assert dense.metrics["completed"] == 1
    assert isinstance(mixture, EngineError)
    assert "1 of 1 requests failed" in str(mixture) or "requests failed" in str(mixture)


def test_a_session_measures_both_when_it_is_asked_for_one(tmp_path):
    deployment = chosen(tmp_path)
    every = cells(deployment)
    draws = Draws(lambda cell, boot: sample(f"{cell.block.model}-{boot}", latency=2.0 + ("8x7b" in cell.id)))
    session = Session(judge_beside(deployment, every, tmp_path, draws), None, tmp_path)
    first, second = (cell for cell in every if cell.workload.name == "batch-1")
    assert session.repeats(first)
    session.measure(first)
    assert not session.repeats(second), "it has been, in turn with the first"
    assert session.measure(second).metrics["latency_to_dense"] == 1.5
    assert draws.prepared == [first]
    assert {cell: len(boots) for cell, boots in session.boots.items()} == {first: 1, second: 1}


@pytest.mark.parametrize(("loads", "more"), [((0.1,), 0), ((0.4, 0.1), 0), ((0.4, 0.4, 0.1), 1), ((0.4,), 2)])
def test_while_other_programs_have_the_cores_further_pairs_are_measured_half_as_many_at_most(measured, loads, more):
    """Two of three must be undisturbed, however many are measured."""
    (dense, mixture), begun, _ = measured(loads=loads)
    count = REPETITIONS + more
    in_turn = [(name, f"{i}/{max(i, REPETITIONS)}") for i in range(1, 1 + count) for name in (TWIN, MIXTURE)]
    assert begun[: 2 * count] == in_turn
    assert len(mixture.repetitions["latency_to_dense"]) == count
    told = "other programs had the cores: 40% of their time (limit 10%)"
    assert [one.invalid.startswith(told) for one in (dense, mixture)] == [loads == (0.4,)] * 2


def test_where_only_counts_are_judged_nothing_is_measured_again_for_other_programs(measured):
    _, begun, _ = measured(loads=(0.4,), gated=["completed"])
    assert len(begun) == 2 * REPETITIONS


@pytest.mark.parametrize(("gated", "expected"), [((), None), (("latency_of_dense",), 0.8)])
def test_the_inverse_of_a_ratio_is_there_where_it_is_judged(tmp_path, gated, expected):
    deployment = chosen(tmp_path, *gated)
    pair = [cell for cell in cells(deployment) if cell.workload.kind == "batch"]
    found = {
        cell: dataclasses.replace(sample("1", latency=latency), repetitions={"latency": (latency,)})
        for cell, latency in zip(pair, (2.0, 2.5), strict=True)
    }
    Measurer(deployment, [])._set_in_proportion(pair[1], found[pair[1]], found)
    assert found[pair[1]].metrics.get("latency_of_dense") == expected
    draws = Draws(lambda cell, boot: sample(f"{cell.block.model}-{boot}", latency=2.0 + 0.5 * ("8x7b" in cell.id)))
    session = Session(judge_beside(deployment, cells(deployment), tmp_path, draws), None, tmp_path)
    assert "latency_of_dense" not in session.measure(pair[0]).metrics
    assert session.measure(pair[1]).metrics.get("latency_of_dense") == expected


def test_a_cell_that_fails_leaves_the_other_one_measured(tmp_path):
    deployment = chosen(tmp_path)
    every = cells(deployment)

    def draw(cell, boot):
        if "8x7b" in cell.id:
            raise EngineError("the server died")
        return sample("1", latency=2.0)

    session = Session(judge_beside(deployment, every, tmp_path, Draws(draw)), None, tmp_path)
    first, second = (cell for cell in every if cell.workload.name == "batch-1")
    assert session.measure(first).metrics["latency"] == 2.0
    for _ in range(2):
        with pytest.raises(EngineError, match="the server died"):
            session.measure(second)


def test_a_record_that_cannot_be_written_costs_no_sample(tmp_path, monkeypatch):
    """Of either cell: both were measured."""

    def full(path, lines):
        raise UsageError(f"{path}: no space left on device")

    deployment = chosen(tmp_path)
    every = cells(deployment)
    draws = Draws(lambda cell, boot: sample(f"{cell.block.model}-{boot}", latency=2.0))
    session = Session(judge_beside(deployment, every, tmp_path, draws), None, tmp_path)
    pair = [cell for cell in every if cell.workload.name == "batch-1"]
    monkeypatch.setattr(files, "append_lines", full)
    with pytest.raises(EngineError, match="no space left on device"):
        session.measure(pair[0])
    assert [len(session.boots[cell]) for cell in pair] == [1, 1]


def test_the_dense_model_is_measured_again_with_the_other(tmp_path):
    """A ratio whose other half is of a boot of minutes ago would hold the machine's drift."""
    deployment = chosen(tmp_path)
    every = cells(deployment)
    draws = Draws(lambda cell, boot: sample(f"{cell.block.model}-{boot}", latency=2.0))
    session = Session(judge_beside(deployment, every, tmp_path, draws), None, tmp_path)
    first, second = (cell for cell in every if cell.workload.name == "batch-1")
    session.measure(first)
    assert session._measure_again([session._first], [second])
    assert [boot.boot for boot in session.boots[first]] == [f"{TWIN}-{boot}" for boot in (0, 1)]
    assert [boot.boot for boot in session.boots[second]] == [f"{MIXTURE}-{boot}" for boot in (0, 1)]


@pytest.mark.parametrize(("reason", "count"), [(f"{OTHERS}: 40%", 1), ("the client sent late", 3)])
def test_while_other_programs_have_the_cores_no_further_boot_is_measured(tmp_path, reason, count):
    deployment = chosen(tmp_path)
    every = cells(deployment)
    draws = Draws(lambda cell, boot: sample(f"{cell.block.model}-{boot}", reason, latency=2.0))
    judge = judge_beside(deployment, every, tmp_path, draws, max_boots=3)
    judge.read_baselines()
    session = Session(judge, None, tmp_path)
    cell = next(one for one in every if one.workload.name == "batch-1")
    found = session.verdict(cell, METRICS["latency"])
    assert (found.outcome, found.reason) == (Outcome.INVALID, reason)
    assert len(session.boots[cell]) == count


def test_processor_time_is_set_in_proportion_to_the_parameters_that_a_token_multiplies(tmp_path):
    deployment = chosen(tmp_path)
    block = cells(deployment)[-1].block
    # Attention 2.5 h^2, an expert 3 h f; h = 2048, f = 7168, two layers, vocabularies of 4,008 and 1,000 tokens.
    attention, expert = 2.5 * 2048**2, 3 * 2048 * 7168
    expected = (2 * (attention + 2 * expert) + 1000 * 2048) / (2 * (attention + expert) + 4008 * 2048)
    assert scale(deployment, block, METRICS["cpu_time_to_params"]) == pytest.approx(expected, rel=1e-3)
    assert scale(deployment, block, METRICS["cpu_time_to_dense"]) == 1.0


AHEAD = 3


class Counted:
    """Stands for the traffic of a seat, with three ahead of each repetition: counts both, and hangs in one of either."""

    def __init__(self, hangs=None, hangs_ahead=None):
        self.runs, self.count, self.done, self._hangs = self, REPETITIONS, [], hangs
        self.firsts, self._hangs_ahead = [0] * REPETITIONS, hangs_ahead

    def ahead(self, i, most=None):
        for _ in range(min(AHEAD - self.firsts[i], most or AHEAD)):
            if sum(self.firsts) == self._hangs_ahead:
                raise EngineHung("a request has no end")
            self.firsts[i] += 1
        return self.firsts[i] < AHEAD

    def measure(self, i):
        assert self.firsts[i] == AHEAD
        if i == self._hangs:
            raise EngineHung("a request has no end")
        self.done.append(i)


@pytest.mark.parametrize("hanging", [*((i, None) for i in range(3)), *((None, i) for i in range(3 * AHEAD))])
def test_an_engine_whose_neighbour_hangs_is_measured_to_its_end(tmp_path, hanging):
    """A pair of models tells nothing without the first; another engine in the same cell does."""
    pair = [cell for cell in cells(chosen(tmp_path)) if cell.workload.kind == "batch"]
    first, engine, model = (Seat(cell, None) for cell in (pair[0], pair[0], pair[1]))
    traffic = {first: Counted(*hanging), engine: Counted(), model: Counted()}
    failed = in_turn(traffic, plain_rounds)
    assert isinstance(failed[first], EngineHung)
    assert (failed[engine], traffic[engine].done) == (None, [0, 1, 2])
    assert traffic[engine].firsts == [AHEAD] * REPETITIONS
    assert "measured in turn with it, failed" in str(failed[model])


@pytest.mark.parametrize("hanging", [*((i, None) for i in range(3)), *((None, i) for i in range(3 * AHEAD))])
def test_an_engine_beside_which_the_other_hangs_goes_on(tmp_path, hanging):
    cell = next(one for one in cells(chosen(tmp_path)) if one.workload.kind == "batch")
    first, other = Seat(cell, None), Seat(cell, None)
    traffic = {first: Counted(), other: Counted(*hanging)}
    failed = in_turn(traffic, plain_rounds)
    assert (failed[first], traffic[first].done, traffic[first].firsts) == (None, [0, 1, 2], [AHEAD] * REPETITIONS)
    assert isinstance(failed[other], EngineHung)


@pytest.mark.parametrize(("options", "told"), [((), True), (("--fault", "http-500", "--after", "2"), False)])
def test_the_memory_beside_an_engine_that_fails_is_not_told(tmp_path, monkeypatch, options, told):
    """Dead or not, what it holds of the cards by then isn't known."""
    monkeypatch.setattr(measurer.nvml, "states", lambda _: [State(0, 50 * 2**30, 2)])
    monkeypatch.setattr(measurer, "_machine", lambda on_cards: {})
    monkeypatch.setattr(Measurer, "_memory", lambda self, server, cards: [float(card.memory_used) for card in cards])
    deployment = chosen(tmp_path)
    cell = next(one for one in cells(deployment) if one.workload.kind == "batch")
    with mock_server(*QUICK) as one, mock_server(*QUICK, *options) as other:
        seats = [Seat(cell, attach(Server(url), "mock")) for url in (one, other)]
        card = Card(0, "NVIDIA H200", 141 * 2**30, 0, 0)
        found, _ = Measurer(deployment, [card]).measure_in_turn(seats, plain_rounds)
    assert ("peak_memory" in found.metrics) == told


@pytest.mark.parametrize(("tells", "shared"), [(True, 1), (False, 0)])
def test_two_engines_on_cards_share_cores_once_it_is_known_what_runs(tmp_path, monkeypatch, tells, shared):
    """The test's own process stands for both servers; one that doesn't tell what its threads run for has no busiest."""
    given = []
    monkeypatch.setattr(measurer, "share_cores", lambda readings: given.append(readings) or "one polls")
    monkeypatch.setattr(measurer.nvml, "states", lambda _: [State(0, 50 * 2**30, 2)])
    monkeypatch.setattr(measurer, "_machine", lambda on_cards: {})
    monkeypatch.setattr(Boot, "usage", lambda self: usage([os.getpid()]) if tells else None)
    deployment = chosen(tmp_path)
    cell = next(one for one in cells(deployment) if one.workload.kind == "batch")
    with mock_server(*QUICK) as one, mock_server(*QUICK) as other:
        seats = [Seat(cell, attach(Server(url), "mock")) for url in (one, other)]
        card = Card(0, "NVIDIA H200", 141 * 2**30, 0, 0)
        measured = Measurer(deployment, [card])
        for beside in (seats, seats[:1]):  # one alone shares its cores with nobody
            measured.measure_in_turn(beside, plain_rounds)
    assert len(given) == shared
    assert measured.cores_apart == ({cell: "one polls"} if shared else {})
    for readings in given:
        assert [len(one.servers) for one in readings] == [2, 2, 2]
        assert readings[0].at < readings[1].at < readings[2].at

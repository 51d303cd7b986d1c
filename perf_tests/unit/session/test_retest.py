"""A session retests as the simulation says that it does: the same draws come to the same verdicts, and cost the same boots."""

import itertools
import types

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.causes.attribution import Candidate
from fixtures.deployments.cell import cells
from fixtures.gate.rule import MAX_BOOTS, Step
from fixtures.gate.verdict import Outcome
from fixtures.metrics import METRICS
from fixtures.session import session as session_module
from fixtures.session.session import Session
from fixtures.studies.causes import nights
from fixtures.studies.gate import power
from perf_tests.fakes.deployments import head, load, workload
from perf_tests.fakes.judging import Draws, commit, judge_beside
from perf_tests.fakes.samples import sample

pytestmark = pytest.mark.cpu
TOLERANCE = 0.025
STEPS = {
    Outcome.PASS: Step.CLEARED,
    Outcome.IMPROVEMENT: Step.CLEARED,
    Outcome.REGRESSION: Step.REGRESSION,
    Outcome.INCONCLUSIVE: Step.OPEN,
}
HEAD = head(max_model_len=256, gated=["latency"], tolerances={"latency": TOLERANCE})


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """What a session and the simulation come to, by draws [metrics, boots] of baseline and night.

    Both as steps, told causes and boots.
    """
    root = tmp_path_factory.mktemp("retest")

    def both(known, draws):
        count = len(known)
        many = load(
            root,
            HEAD + "".join(workload(f"batch-{n}", "batch", batch_size=n, repetitions=1) for n in range(1, count + 1)),
        )
        every = cells(many)
        place = {cell: i for i, cell in enumerate(every)}
        source = Draws(lambda cell, boot: sample(f"now-{boot}", latency=draws[place[cell], boot]))
        judge = judge_beside(many, every, root, source)
        before = {
            cell: [sample(f"before-{j}", latency=value) for j, value in enumerate(known[i])]
            for cell, i in place.items()
        }
        judge.reference.path(every[0].block).unlink(missing_ok=True)
        commit(judge, before)
        judge.read_baselines()
        stored = [[boot.metrics["latency"] for boot in judge.reference.boots(cell)[0]] for cell in every]
        session = Session(judge, None, root)
        clock = itertools.accumulate(
            itertools.count()
        )  # controls are taken in the order of the cells: each takes longer
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(session_module, "time", types.SimpleNamespace(monotonic=lambda: next(clock)))
            for cell in every:
                session.measure(cell)
        outcomes = [session.verdict(cell, METRICS["latency"]).outcome for cell in every]
        told = {cause.name for cause in judge.causes if session.cause(cause).told}

        columns = iter(draws.T)
        asked = power.baseline_questions(np.array(stored), TOLERANCE, [np.arange(count)])
        named = {cause.name: Candidate(tuple(place[cell] for cell, _ in cause.members)) for cause in judge.causes}
        night = nights.night(asked, np.array(stored), named, lambda: next(columns))
        simulated = night.steps.tolist(), set(night.attribution.told), night.boots
        return ([STEPS[outcome] for outcome in outcomes], told, source.boot + 1), simulated

    return both


@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 12),
    st.integers(1, 10),
    st.sampled_from([0.005, 0.01, 0.02, 0.04]),
    st.sampled_from([0.0, 0.03, 0.05, 0.1]),
    st.lists(st.sampled_from([0.0, 0.0, 0.04, 0.1]), min_size=MAX_BOOTS, max_size=MAX_BOOTS),
)
@settings(max_examples=60)
def test_the_same_draws_come_to_the_same_verdicts(compared, seed, metrics, known, cv, effect, slow):
    """Slow boots, regressions of half of the metrics, noise and small baselines, in any mixture."""
    random = np.random.default_rng(seed)
    draws = random.normal(1, cv, (metrics, MAX_BOOTS)) + np.array(slow)
    draws[::2] += effect
    before = random.normal(1, cv, (metrics, known))
    session, simulated = compared(before, draws)
    assert session == simulated


def test_a_cell_that_a_slow_boot_cleared_stays_cleared(compared):
    """Of eight cells one passes the first boot, which is 4% slow as a whole; it isn't measured again, and stays a pass."""
    before = np.tile([0.995, 1.0, 1.005, 1.0], (8, 1))
    draws = np.tile([1.04, 1.0, 1.0, 1.0, 1.0], (8, 1))
    draws[0, 0] = 1.02
    session, simulated = compared(before, draws)
    assert session == simulated == ([Step.CLEARED] * 8, set(), 2)

"""What a session appends to the history."""

import pytest

from fixtures.deployments.cell import cells
from fixtures.deployments.deployment import load
from fixtures.engines.registry import ENGINES
from fixtures.session.record import entries
from fixtures.session.session import Session
from perf_tests.fakes.history_entries import FIRST
from perf_tests.fakes.judging import judge_beside
from perf_tests.fakes.samples import sample

pytestmark = pytest.mark.cpu


def test_a_night_keeps_what_was_judged_by_valid_boots_only(tmp_path):
    deployment = load("cpu", ENGINES)
    cell, other = [cell for cell in cells(deployment, "*") if cell.workload.kind == "batch"][:2]
    judge = judge_beside(deployment, [cell, other], tmp_path, max_boots=1)  # nothing can be measured again
    night = Session(judge, None, tmp_path)
    origin = {"commit": "abc", "engine_version": "0.32.0"}
    disturbed = sample("1", "throttled", completed=9.0, latency=1.0, provenance=origin)
    healthy = sample("2", completed=8.0, provenance=origin)
    night.boots.update({cell: [disturbed, healthy], other: [disturbed]})
    judge.read_baselines()
    for one in (cell, other):
        for metric in judge.metrics(one):
            night.verdict(one, metric)
    (entry,) = entries(night, "run", FIRST)
    assert (entry.cell, entry.metric, entry.value, entry.boots) == (cell.id, "completed", 8.0, 1)
    assert (entry.outcome, entry.baseline, entry.commit, entry.engine_version) == ("no baseline", None, "abc", "0.32.0")
    assert (entry.time, entry.run) == (FIRST.isoformat(), "run")

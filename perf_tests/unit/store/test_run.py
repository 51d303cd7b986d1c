"""A run as data."""

import dataclasses

import pytest

from fixtures.deployments.cell import OUTPUTS
from fixtures.errors import UsageError
from fixtures.store import run as runs
from perf_tests.fakes.reported_runs import calm, judged

pytestmark = pytest.mark.cpu


def test_worse_is_positive_whichever_way_a_metric_goes():
    assert judged("latency", "pass", change=0.1).worse == 0.1
    assert judged("output_throughput", "pass", change=0.1).worse == -0.1
    assert judged("completed", "pass", change=-0.1).worse == 0.1


def test_a_run_with_an_unknown_metric_is_refused():
    text = runs.text(calm()).replace('"metric": "latency"', '"metric": "speed"')
    with pytest.raises(UsageError, match="there: vllm/llama-3.1-8b-twin/tp1/batch-1: unknown metric 'speed'"):
        runs.parse(text, "there")


def test_a_run_whose_server_was_asked_for_outputs_is_read():
    run = calm()
    asked = dataclasses.replace(run.cells[0], workload=OUTPUTS.definition())
    changed = dataclasses.replace(run, cells=(asked, *run.cells[1:]))
    assert runs.parse(runs.text(changed), "there").cells[0].workload == OUTPUTS.definition()

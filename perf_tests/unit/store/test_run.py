"""A run as data."""

import dataclasses
import json

import pytest

from fixtures.deployments.cell import OUTPUTS
from fixtures.errors import UsageError
from fixtures.store import run as runs
from fixtures.workloads.workload import Workload
from perf_tests.fakes.reported_runs import calm, judged
from perf_tests.fakes.samples import sample

pytestmark = pytest.mark.cpu
TOKENS = {"input_len": 4, "output_len": 4}
WORKLOADS = (
    Workload("startup", "startup"),
    Workload("cold-startup", "cold-startup"),
    Workload("batch", "batch", batch_size=2, **TOKENS),
    Workload("offline", "offline", num_prompts=2, **TOKENS),
    Workload("online", "online", num_prompts=2, rate=1, **TOKENS),
    Workload("conversations", "conversations", num_prompts=2, rate=1, turns=2, **TOKENS),
    Workload("capacity", "capacity", seconds=2, slo_share=0.9, slo_ttft=1, slo_tpot=1, start_rate=7, **TOKENS),
    Workload("energy", "energy", batch_size=2, max_seconds=9, **TOKENS),
    Workload("routing", "routing", num_prompts=2, **TOKENS),
)


def test_worse_is_positive_whichever_way_a_metric_goes():
    assert judged("latency", "pass", change=0.1).worse == 0.1
    assert judged("output_throughput", "pass", change=0.1).worse == -0.1
    assert judged("completed", "pass", change=-0.1).worse == 0.1


def test_a_run_with_every_kind_of_cell_is_read_as_it_was_written():
    run = calm()
    cells = tuple(
        dataclasses.replace(run.cells[0], id=f"{run.blocks[0].id}/{one.name}", name=one.name, workload=one.definition())
        for one in (*WORKLOADS, OUTPUTS)
    )
    probed = dataclasses.replace(run.cells[0].boots[0], probes=({"rate": 2.0, "strain": None},))
    cells = (dataclasses.replace(cells[0], boots=(probed,)), *cells[1:])
    written = dataclasses.replace(run, cells=cells)
    found = runs.parse(runs.text(written), "here").cells
    assert [cell.workload for cell in found] == [cell.workload for cell in cells]
    assert found[0].boots[0].probes == probed.probes


def test_a_run_with_an_unknown_metric_is_refused():
    text = runs.text(calm()).replace('"metric": "latency"', '"metric": "speed"')
    with pytest.raises(UsageError, match="there: vllm/llama-3.1-8b-twin/tp1/batch-1: unknown metric 'speed'"):
        runs.parse(text, "there")


@pytest.mark.parametrize(
    ("candidate", "lines"),
    [
        ("", [{}, {"control": True}, {}]),
        ("vllm of new", [{"candidate": True}, {"candidate": False}, {"candidate": True}]),
    ],
)
def test_of_a_run_that_was_cut_off_the_boots_of_two_engines_stay_apart(tmp_path, candidate, lines):
    run = calm()
    cell = run.cells[0]
    (tmp_path / runs.FILE).write_text(runs.text(dataclasses.replace(run, cells=(), candidate=candidate)))
    common = {"cell": cell.id, "workload": cell.workload}
    texts = [
        json.dumps(common | dataclasses.asdict(sample(str(i), latency=1.0)) | mark) for i, mark in enumerate(lines)
    ]
    (tmp_path / "samples.jsonl").write_text("\n".join([*texts, ""]))
    (found,) = runs.read(tmp_path).cells
    assert ([one.boot for one in found.boots], [one.boot for one in found.beside]) == (["0", "2"], ["1"])


def test_a_run_whose_server_was_asked_for_outputs_is_read():
    run = calm()
    asked = dataclasses.replace(run.cells[0], workload=OUTPUTS.definition())
    changed = dataclasses.replace(run, cells=(asked, *run.cells[1:]))
    assert runs.parse(runs.text(changed), "there").cells[0].workload == OUTPUTS.definition()

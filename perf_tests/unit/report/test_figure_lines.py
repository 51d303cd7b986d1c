"""A run's lines in the source document's figures."""

import dataclasses

import pytest

from fixtures.analytical import serving
from fixtures.analytical.hardware import hardware
from fixtures.report import figure_lines
from perf_tests.fakes.synthetic_run import synthetic_run

pytestmark = pytest.mark.cpu


def test_the_figure_of_the_documents_prompts_has_no_others():
    """Neither those that are streamed nor those with longer answers."""
    run = synthetic_run(cells=1, boots=1)
    (cell,) = run.cells
    given = {"kind": "offline", "num_prompts": 150, "lengths": "fixed", "input_len": 75, "output_len": 128}
    traffic = {
        "offline-150": (given | {"stream": False}, 12_000.0),
        "offline-150-streamed": (given, 9_000.0),
        "offline-150-long": (given | {"stream": False, "output_len": 512}, 15_000.0),
    }
    cells = tuple(
        dataclasses.replace(
            cell,
            id=f"{cell.block}/{name}",
            name=name,
            workload=workload,
            boots=(dataclasses.replace(cell.boots[0], metrics={"output_throughput": rate}),),
        )
        for name, (workload, rate) in traffic.items()
    )
    (line,) = figure_lines.offline(dataclasses.replace(run, cells=cells))
    assert line.points == {1: 12_000.0}
    assert line.expected.keys() == {1}


def test_the_models_line_has_the_hosts_time_of_streams_where_the_batches_are_streamed():
    """Between two measured batches it is as the larger one."""
    run = synthetic_run(cells=18, boots=1, models=("llama-3.1-8b",))
    cells = tuple(
        dataclasses.replace(cell, workload=cell.workload | {"stream": cell.workload["batch_size"] < 64})
        for cell in run.cells
        if cell.block == run.blocks[0].id
    )
    (line,) = figure_lines.batches(dataclasses.replace(run, cells=cells))["llama-3.1-8b"]
    setup, short = figure_lines._setup(run.blocks[0])
    host = hardware().host_term("vllm-0.26", short)
    for batch, stream in ((1, True), (32, True), (40, False), (64, False), (256, False)):
        expected = serving.latency_seconds(setup, host.streaming(stream), batch, 32, 64) / 64
        assert line.expected[batch] == pytest.approx(expected)

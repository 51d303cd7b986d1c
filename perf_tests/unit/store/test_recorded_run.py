"""A run's boots as they are played back: which sample belongs to which boot, and what is left out."""

import dataclasses

import pytest

from fixtures.deployments.cell import cells
from fixtures.deployments.deployment import load
from fixtures.engines.registry import ENGINES
from fixtures.errors import UsageError
from fixtures.store import run as runs
from fixtures.store.recorded_run import RecordedRun
from fixtures.store.run import BlockRecord, CellRecord, Run
from perf_tests.fakes.samples import sample

pytestmark = pytest.mark.cpu

MIXTRAL = cells(load("h200x1", ENGINES), ["vllm/mixtral-8x7b/*"])
STARTUP, BATCH, ROUTING = (
    next(cell for cell in MIXTRAL if cell.workload.name == name) for name in ("startup", "batch-1", "routing")
)
IDENTITY = {"devices": 1, "model": {}, "engine": "vllm", "tensor_parallel": 1, "weights": "random"}


def recorded(cell, boots, beside=(), **changed):
    workload = cell.workload.definition() | changed
    return CellRecord(cell.id, cell.block.id, cell.workload.name, workload, boots=tuple(boots), beside=tuple(beside))


def left(directory, *cells, **others):
    """A run in a directory, as it was left."""
    block = BlockRecord(BATCH.block.id, "vllm", "mixtral-8x7b", 1, "bf16", {"hardware": "NVIDIA H200"} | IDENTITY)
    run = Run("r", "2026-03-01T00:00:00+00:00", "h200x1", "one", (block,), cells, **others)
    (directory / runs.FILE).write_text(runs.text(run))
    return RecordedRun(directory)


def test_a_cell_has_a_place_for_every_boot_of_its_server(tmp_path):
    first, second, third = (sample(boot, kv_capacity=9.0) for boot in ("20260301T01", "20260301T03", "20260301T04"))
    invalid = dataclasses.replace(third, invalid="a hot card")
    apart = sample("20260301T02", expert_load=1.1)
    run = left(
        tmp_path,
        recorded(BATCH, [first, invalid]),
        recorded(ROUTING, [apart]),
        recorded(STARTUP, [first, second, third]),
    )
    assert [boot and boot.boot for boot in run.boots(BATCH)] == ["20260301T01", None, "20260301T04"]
    assert run.boots(BATCH)[2].invalid == "a hot card"
    assert list(run.boots(ROUTING)) == [apart], "whose server is none of the others'"
    assert run.count == 3
    assert run.judged.card(BATCH) == "NVIDIA H200"
    assert run.judged.kv_tokens(BATCH) == 9.0


def test_what_was_measured_otherwise_is_not_played(tmp_path):
    run = left(tmp_path, recorded(BATCH, [sample("1")], output_len=65))
    assert not run.boots(BATCH)
    assert not run.boots(STARTUP)
    assert run.judged.otherwise(BATCH)
    assert not run.judged.otherwise(STARTUP)


def test_the_engine_beside_is_known_by_what_it_measured(tmp_path):
    beside = [
        sample("2", provenance={"engine_version": "0.33.0"}),
        sample("3", provenance={"engine_version": "0.33.0"}),
    ]
    run = left(tmp_path, recorded(BATCH, [sample("1")], beside), recorded(STARTUP, [sample("1")]))
    assert run.compares
    assert run.count == 2
    assert run.other.releases() == {"vllm": "0.33.0"}
    assert not left(tmp_path, recorded(BATCH, [sample("1")])).compares


def test_baselines_are_no_run(tmp_path):
    assert not RecordedRun.is_one(tmp_path)
    with pytest.raises(UsageError, match="no such file; name the directory of a run"):
        RecordedRun(tmp_path)

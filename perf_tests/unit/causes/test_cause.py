"""Which causes the shipped deployments have, and which metrics belong to each."""

import dataclasses

import pytest

from fixtures.causes.cause import BOOT, DECODE, FEWEST_CELLS, MEANINGS, MEMORY, PREFILL, SUMS, causes
from fixtures.deployments.cell import cells
from fixtures.deployments.deployment import load
from fixtures.engines.registry import ENGINES
from fixtures.metrics import METRICS, metrics_of
from perf_tests.fakes.deployments import head, workload
from perf_tests.fakes.deployments import load as load_text
from perf_tests.fakes.judging import judge_beside

pytestmark = pytest.mark.cpu


def made(tmp_path, gated, *workloads, models=("llama-3.1-8b-twin", "mixtral-8x7b-twin"), **fields):
    """The causes of a deployment of these workloads that judges these metrics, by name."""
    chosen = load_text(tmp_path, head(models, gated=list(gated), **fields) + "".join(workloads))
    return {cause.name: cause for cause in judge_beside(chosen, cells(chosen), tmp_path).causes}


def ids(keys):
    return {f"{cell.block.model[:7]} {cell.workload.name} {metric.name}" for cell, metric in keys}


@pytest.mark.parametrize("name", ["cpu", "h100x1", "h100x2", "h200x1", "h200x2", "trained", "trained-gpu"])
def test_a_cause_is_what_several_cells_of_one_engine_share_and_no_two_are_the_same(name, tmp_path):
    deployment = load(name, ENGINES)
    judge = judge_beside(deployment, cells(deployment), tmp_path)
    found = judge.causes
    assert len({cause.id for cause in found}) == len(found)
    assert len({cause.members for cause in found}) == len(found)
    for cause in found:
        assert len(cause.cells) >= FEWEST_CELLS
        assert {cell.block.engine for cell in cause.cells} == {cause.engine}
        assert not set(cause.members) & set(cause.derived)
        assert {cell for cell, _ in cause.derived} <= set(cause.cells)
        assert all(metric in judge.metrics(cell) for cell, metric in (*cause.members, *cause.derived))
        assert not any(metric.beyond or metric.direction == "equal" for _, metric in cause.members)


def test_the_family_has_metrics_and_causes(tmp_path):
    deployment = load("cpu", ENGINES)
    judge = judge_beside(deployment, cells(deployment), tmp_path)
    noisy = [
        metric
        for cell in judge.cells
        for metric in judge.metrics(cell)
        if metric.direction != "equal" and not metric.beyond
    ]
    assert judge.causes
    assert judge.family == len(noisy) + len(judge.causes)


def test_names_are_of_metrics_that_there_are():
    assert METRICS.keys() >= PREFILL | DECODE | SUMS | MEMORY | BOOT


BATCHES = (
    workload("batch-1", "batch", batch_size=1, repetitions=1),
    workload("batch-32", "batch", batch_size=32, repetitions=1),
)


def test_sums_of_parts_that_are_judged_are_derived_and_no_members(tmp_path):
    found = made(tmp_path, ["latency", "prefill_time", "decode_step"], *BATCHES)
    assert set(found) == {"prefill", "decode", "speed", "moe", "host"}
    assert ids(found["decode"].members) == {
        f"{model} {batch} decode_step" for model in ("llama-3", "mixtral") for batch in ("batch-1", "batch-32")
    }
    assert not any("latency" in text for text in ids(found["speed"].members))
    assert ids(found["speed"].derived) == ids(found["prefill"].derived) == ids(found["decode"].derived)
    assert ids(found["moe"].members) == {
        f"mixtral {batch} {part}" for batch in ("batch-1", "batch-32") for part in ("prefill_time", "decode_step")
    }
    assert ids(found["host"].members) == {"llama-3 batch-1 decode_step", "mixtral batch-1 decode_step"}


def test_a_sum_of_which_one_part_is_not_judged_tells_of_that(tmp_path):
    found = made(tmp_path, ["latency", "tpot_p50"], *BATCHES)
    assert ids(found["decode"].derived) == {text for text in ids(found["speed"].members) if text.endswith("latency")}


def test_causes_that_would_have_the_same_members_are_one(tmp_path):
    found = made(tmp_path, ["decode_step"], *BATCHES, models=["llama-3.1-8b-twin"])
    assert list(found) == ["decode"], "one dense model: no experts, and what is small is a single cell"


def test_one_cell_has_nothing_in_common(tmp_path):
    assert made(tmp_path, ["latency", "prefill_time", "decode_step"], BATCHES[0], models=["llama-3.1-8b-twin"]) == {}


def test_ratios_to_the_dense_model_are_of_the_experts_and_those_to_one_card_of_communication():
    chosen = dataclasses.replace(load("cpu", ENGINES), gated=())
    every = [(cell, metric) for cell in cells(chosen) for metric in metrics_of(cell.workload.kind)]
    found = {cause.name: {metric.name for _, metric in cause.members} for cause in causes(every, {"mixtral-8x7b-twin"})}
    assert {"latency_to_dense", "throughput_to_dense"} <= found["moe"]
    assert found["dense"] == {"latency_of_dense", "throughput_of_dense", "cpu_time_of_dense"}
    assert not found["dense"] & found["moe"]
    assert {"latency_to_tp_1", "throughput_to_tp_1"} <= found["communication"]
    assert "latency_to_batch_1" not in set().union(*found.values())
    assert found.keys() <= MEANINGS.keys()

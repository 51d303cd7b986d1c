"""Which term of a step moved: found in made-up steps of known terms."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.causes.steps import ALL_REDUCE, EXPERTS, HBM, HOST, SEQUENCE, WORDS, common_before, step, steps_in
from fixtures.causes.terms import FEWEST_STEPS, explain
from fixtures.deployments.cell import cells
from fixtures.deployments.deployment import load
from fixtures.engines.registry import ENGINES
from fixtures.metrics import METRICS

pytestmark = pytest.mark.cpu
ERROR = 5e-6


@pytest.fixture(scope="module")
def columns():
    """The steps of vLLM's batches and online cells on one H200, by term."""
    deployment = load("h200x1", ENGINES)
    found = [step(deployment, cell, "NVIDIA H200", "0.26.0") for cell in cells(deployment, ["vllm/*"])]
    return {name: [one.columns[name] for one in found if one] for name in WORDS}


def test_what_a_sequence_took_is_told_only_where_all_steps_are_streamed_or_none_is():
    deployment = load("h200x1", ENGINES)
    found = {
        stream: [
            made
            for cell in cells(deployment, ["vllm/llama-3.1-8b/tp1/batch-*"])
            if cell.workload.stream == stream and (made := step(deployment, cell, "NVIDIA H200", "0.26.0"))
        ]
        for stream in (True, False)
    }
    assert all(len(steps) > 1 for steps in found.values())
    for steps in found.values():
        assert common_before(steps) == steps[0].before
    assert common_before(found[True] + found[False]).keys() == {HOST}


def moved(columns, **sizes):
    names = {"host": HOST, "sequence": SEQUENCE, "hbm": HBM, "experts": EXPERTS}
    return sum((size * np.array(columns[names[name]]) for name, size in sizes.items()), np.zeros(len(columns[HOST])))


@pytest.mark.parametrize(
    ("sizes", "terms"),
    [
        ({"host": 2.1e-4}, [HOST]),
        ({"sequence": 4e-6}, [SEQUENCE]),
        ({"hbm": 0.05}, [HBM]),
        ({"experts": 0.05}, [EXPERTS]),
        ({"experts": 0.05, "host": 1e-4}, [EXPERTS, HOST]),
    ],
)
def test_what_moved_is_named_with_its_size(columns, sizes, terms):
    noise = np.random.default_rng(4).normal(0, ERROR, len(columns[HOST]))
    found = explain(moved(columns, **sizes) + noise, np.full(len(noise), ERROR), columns, {HOST: 3e-4})
    assert [one.term for one in found.moved] == terms
    for one in found.moved:
        size = sizes[{HOST: "host", SEQUENCE: "sequence", HBM: "hbm", EXPERTS: "experts"}[one.term]]
        low, high = one.interval
        assert one.size == pytest.approx(size, rel=0.1)
        assert low < one.size < high
    assert found.rivals == ()
    assert [one.before for one in found.moved if one.term == HOST] == [3e-4] * terms.count(HOST)


@given(st.integers(0, 2**32 - 1))
def test_the_interval_holds_the_size_and_nothing_is_named_without_a_change(seed):
    random = np.random.default_rng(seed)
    given_ = {HOST: np.ones(12), SEQUENCE: np.arange(1, 13), HBM: random.uniform(1, 9, 12)}
    noise = random.normal(0, 1, 12)
    found = explain(50 + noise, np.ones(12), given_, {})
    (one,) = [one for one in found.moved if one.term == HOST]
    assert abs(one.size - 50) < 6 * one.error + 3
    worse = explain(noise - 5, np.ones(12), given_, {})
    assert worse is None or all(one.interval[0] > 0 for one in worse.moved)


def test_terms_that_these_steps_do_not_tell_apart_are_rivals():
    """Of one model alone, experts are nearly all that is read."""
    found = explain([1.0, 2.0, 3.0], [0.1] * 3, {HBM: [1.0, 2.0, 3.0], EXPERTS: [0.9, 1.8, 2.7]}, {})
    assert {found.moved[0].term, *found.rivals} == {HBM, EXPERTS}


def test_what_all_boots_share_is_no_better_known_than_that():
    """Errors that are too small for the misfit are scaled by it."""
    y, columns = np.array([1.0, 3.0, 1.0, 3.0, 1.0, 3.0]), {HOST: np.ones(6)}
    trusted, scaled = explain(y, np.full(6, 1.0), columns, {}), explain(y, np.full(6, 0.01), columns, {})
    assert scaled.moved[0].error == pytest.approx(trusted.moved[0].error, rel=0.1)


def test_few_steps_or_none_that_the_model_knows_tell_nothing():
    assert (
        explain([1.0] * (FEWEST_STEPS - 1), [0.1] * (FEWEST_STEPS - 1), {HOST: [1.0] * (FEWEST_STEPS - 1)}, {}) is None
    )
    assert explain([1.0] * 5, [0.1] * 5, {ALL_REDUCE: [0.0] * 5}, {}) is None


def test_a_step_is_known_of_cards_and_traffic_that_the_model_knows():
    deployment = load("h200x2", ENGINES)
    known = {cell.id: step(deployment, cell, "NVIDIA H200", "0.26.0") for cell in cells(deployment)}
    assert known["vllm/mixtral-8x7b/tp2/batch-8"].columns[ALL_REDUCE] > 0
    assert known["vllm/mixtral-8x7b/tp2/batch-8"].columns[SEQUENCE] == 8
    assert known["vllm/llama-3.1-8b/tp1/batch-1"].columns[EXPERTS] == 0
    assert known["vllm/llama-3.1-8b/tp2/online-8"].columns[SEQUENCE] > 1
    assert known["vllm/llama-3.1-8b/tp2/startup"] is known["vllm/llama-3.1-8b/tp2/offline-150"] is None
    assert known["vllm/llama-3.1-8b/tp2/shared-prefix"] is None
    assert step(deployment, cells(deployment, ["*/batch-8"])[0], "NVIDIA B300", "0.26.0") is None
    without = load("cpu", ENGINES)
    assert all(step(without, cell, "cpu", "0.32.0") is None for cell in cells(without))


def test_how_many_steps_a_metric_has_the_time_of():
    (cell,) = cells(load("h200x1", ENGINES), ["vllm/llama-3.1-8b/tp1/batch-8"])[-1:]
    names = ("decode_step", "tpot_p50", "itl_p50", "latency", "prefill_time", "total_throughput")
    assert [steps_in(cell, METRICS[name]) for name in names] == [1, 1, 1, cell.workload.output_len - 1, 0, 0]

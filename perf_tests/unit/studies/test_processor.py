"""What of a cell's times goes with the processor time of its engine."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.store.export import MeasuredSample
from fixtures.store.sample import Sample
from fixtures.studies import processor
from fixtures.studies.processor import MIN_BOOTS, fit, fits
from perf_tests.documentation import evidence

pytestmark = pytest.mark.cpu
SAMPLE = Sample("b", "h", "", {}, {}, {})


def sample(cpu, ttft, release="0.33.0", weights="random", workload=None, **others):
    made = dataclasses.replace(
        SAMPLE, metrics={"cpu_time": cpu, "ttft_p50": ttft}, provenance={"engine_version": release}, **others
    )
    return MeasuredSample("vllm/m/tp1/batch-1", workload or {}, made, "NVIDIA H200", weights)


@given(
    st.lists(st.floats(0.001, 0.01), min_size=MIN_BOOTS, max_size=20, unique_by=lambda x: round(math.log(x), 2)),
    st.floats(0.05, 3),
)
def test_what_is_proportional_is_told_with_its_slope_and_leaves_nothing(times, slope):
    found = fit(times, [0.02 * time**slope for time in times])
    assert found.slope == pytest.approx(slope)
    assert found.correlation == pytest.approx(1)
    assert found.left == pytest.approx(0, abs=1e-9)
    assert found.cv == pytest.approx(slope * np.std(np.log(times), ddof=1))


def test_what_has_nothing_to_do_with_it_has_an_interval_that_holds_zero_as_often_as_it_says():
    rng, held = np.random.default_rng(1), 0
    for _ in range(400):
        low, high = fit(*np.exp(rng.normal(0, 0.1, (2, 10)))).interval
        held += low < 0 < high
    assert 360 <= held <= 396


def test_the_noise_that_is_left_is_what_was_added():
    rng = np.random.default_rng(2)
    host, own = rng.normal(0, 0.1, 4_000), rng.normal(0, 0.03, 4_000)
    found = fit(np.exp(host), np.exp(host + own))
    assert (found.cv, found.left) == (pytest.approx(0.104, rel=0.05), pytest.approx(0.03, rel=0.05))


def test_constant_times_have_no_line():
    assert fit([1.0] * 5, [1.0, 2.0, 3.0, 4.0, 5.0]) is None
    assert fit([1.0, 2.0, 3.0, 4.0, 5.0], [1.0] * 5) is None


def test_boots_of_other_machines_and_invalid_ones_are_no_part_of_it():
    same = [sample(cpu, 2 * cpu) for cpu in (1.0, 1.1, 1.2, 1.3, 1.4)]
    others = [sample(1.0, 50.0, host_id="other"), sample(1.0, 50.0, invalid="disturbed")]
    found = fits(same + others)["vllm/m/tp1/batch-1", "0.33.0", "ttft_p50"]
    assert (found.boots, found.correlation) == (5, pytest.approx(1))
    assert not fits(same[1:])


def test_another_release_and_other_weights_have_lines_of_their_own():
    times = (1.0, 1.1, 1.2, 1.3, 1.4)
    served = {"0.33.0": {}, "0.26.0": {"release": "0.26.0"}, "0.33.0 dummy": {"weights": "dummy"}}
    mixed = [sample(level * cpu, cpu, **how) for level, how in enumerate(served.values(), 1) for cpu in times]
    few = [sample(7.0, 0.1, workload={"input_len": 9})] * 4
    found = fits(mixed + few)
    assert {engine for _, engine, _ in found} == set(served)
    for one in found.values():
        assert (one.boots, one.slope) == (5, pytest.approx(1))


def test_a_directory_without_enough_boots_is_told(capsys):
    assert processor.main([str(evidence.SETS / "sglang-0.5.23-random")]) == 2
    assert "5 boots of one machine" in capsys.readouterr().err

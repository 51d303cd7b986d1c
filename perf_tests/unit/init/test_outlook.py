"""What a first boot tells of the noise, and what could then be detected."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.gate.noise import Noise
from fixtures.gate.rule import detectable
from fixtures.init.outlook import BOOTS, outlook, spread, tolerances

pytestmark = pytest.mark.cpu


def test_tolerances_are_as_wide_as_the_noisiest_cell():
    seen = [("latency", 0.01), ("latency", 0.03), ("ttft_p50", 0.09), ("tpot_p50", math.nan)]
    assert tolerances(seen) == {"latency": 0.1, "ttft_p50": 0.25, "tpot_p50": 0.05}


@given(st.floats(0.001, 0.2), st.integers(1, 5))
def test_more_boots_find_smaller_changes_and_none_below_the_tolerance(noise, cells):
    limits = tolerances([("latency", noise)])
    found = outlook("c", "latency", 1.0, noise, cells, limits).detectable
    assert list(found) == sorted(found, reverse=True)
    assert found[-1] > limits["latency"]


def test_it_is_what_the_gate_calls_detectable():
    found = outlook("c", "latency", 1.0, 0.02, 2, {"latency": 0.05}).detectable
    # Of two cells of so many boots the kind has twice as many degrees of freedom as each.
    assert found[0] == detectable(0.05, Noise(1.0, BOOTS[0], 0.02, degrees=3 * (BOOTS[0] - 1)))


def test_too_few_repetitions_tell_no_noise():
    assert math.isnan(spread([1.0]))
    assert math.isnan(spread([]))
    assert all(map(math.isnan, outlook("c", "latency", 1.0, math.nan, 2, {"latency": 0.05}).detectable))

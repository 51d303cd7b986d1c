"""What makes a card's measurements invalid, and a repetition no repetition."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.hardware.health import IDLE_BYTES, Held, held, invalid_reason, occupied, without
from fixtures.hardware.nvml import State
from fixtures.session.steadiness import LIMIT, outlier

pytestmark = pytest.mark.cpu

IDLE = State(index=0, memory_used=0, processes=0)
UP = State(
    index=0,
    memory_used=70 * 2**30,
    processes=1,
    ecc_errors=2,
    thermal_seconds=5.0,
    power_seconds=9.0,
    sm_clock=1980,
    temperature=60,
    power=600.0,
    pcie_generation=5,
    pcie_width=16,
)


def test_an_idle_card_is_free():
    assert occupied([IDLE, dataclasses.replace(IDLE, index=1, memory_used=IDLE_BYTES)]) == ""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"processes": 2}, "GPU 0 is in use by 2 other process"),
        ({"memory_used": 3 * 2**30}, "GPU 0 has 3.0 GiB in use before the boot"),
    ],
)
def test_a_card_in_use_is_named(change, message):
    assert message in occupied([dataclasses.replace(IDLE, **change)])


def test_what_a_server_beside_holds_is_nobody_elses():
    """By card: what it has of one says nothing of another."""
    before = [State(0, 0, 0), State(1, 0, 0)]
    after = [State(0, 50 * 2**30, 1), State(1, 0, 0)]
    beside = held(before, after)
    assert beside == (Held(0, 50 * 2**30, 1), Held(1, 0, 0))
    assert occupied(without(after, beside)) == ""
    assert "in use by 1 other" in occupied(without([after[0], State(1, 0, 1)], beside))
    assert "GiB in use before" in occupied(without([State(0, 60 * 2**30, 1), after[1]], beside))


def test_nothing_that_happened_before_counts():
    assert invalid_reason([UP], [UP], 10) == ""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"processes": 2}, "another process came onto the card"),
        ({"ecc_errors": 3}, "uncorrected ECC errors"),
        ({"slowdowns": ("SW power cap", "HW thermal slowdown")}, "GPU 0: HW thermal slowdown at the end of the run"),
        ({"thermal_seconds": 5.2}, "held down by its temperature for 0.20 s of 10.0 s"),
    ],
)
def test_what_happened_meanwhile_is_named(change, message):
    assert message in invalid_reason([UP], [dataclasses.replace(UP, **change)], 10)


@pytest.mark.parametrize(
    "change",
    [
        {"slowdowns": ("SW power cap",)},
        {"power_seconds": 19.0},
        {"thermal_seconds": 5.05},
        {"sm_clock": 1500},
        {"ecc_errors": None, "thermal_seconds": None},
    ],
)
def test_what_every_card_meets_under_load_is_let_pass(change):
    assert invalid_reason([UP], [dataclasses.replace(UP, **change)], 10) == ""


def test_a_first_repetition_that_compiled_is_found():
    assert outlier([3.1, 1.0, 1.02, 0.99]) == 0


@given(st.lists(st.floats(0.9, 1.1), min_size=3, max_size=9))
def test_noise_is_no_outlier(values):
    assert outlier(values) is None


@given(st.lists(st.floats(0.95, 1.05), min_size=3, max_size=9), st.data())
def test_the_outlier_is_the_one_that_was_moved(values, data):
    place = data.draw(st.integers(0, len(values) - 1))
    values[place] = data.draw(st.sampled_from([0.3, 2.0, 10.0]))
    assert outlier(values) == place


def test_two_values_cannot_tell_which_is_off():
    assert outlier([1.0, 1.0 + 4 * LIMIT]) is None

"""Energy by NVML's counters: what lies between two steps, and what is known of any other time."""

import itertools
import json
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.hardware.energy import WITHIN, Counter, Energy, Watch, taken
from perf_tests.fakes.shared_object import Cards, compiled
from perf_tests.paths import ROOT

pytestmark = pytest.mark.cpu
# Watches two cards, of which it changes what the library shows, and says what they took in the middle, and for how long.
WATCH = """
import json, os, sys, time
from fixtures.hardware.energy import Watch
with Watch([0, 1]) as watch:
    told = watch.moves()
    begin = time.perf_counter()
    time.sleep(0.4)
    if more := sys.argv[1]:
        with open(os.environ["FAKE_NVML"], "a") as state:
            state.write(more)
        time.sleep(0.4)
    end = time.perf_counter()
    found = watch.settle(begin, end) if told else None
print(json.dumps(found and (found.joules, found.low, found.high, found.seconds)))
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return compiled("fake_nvml.c", tmp_path_factory.mktemp("nvml") / "libnvidia-ml.so.1")


def took(library, directory, more="", **values):
    """What a process found that watched cards of such a library; ``more`` is what its file says later."""
    cards = Cards(library, directory / "nvml")
    cards.show(count=2, **values)
    command = [sys.executable, "-c", WATCH, more]
    done = subprocess.run(
        command, env=os.environ | cards.variables, cwd=ROOT, capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout)
    return found and Energy(*found)


def test_all_cards_are_summed_each_by_its_own_steps(library, tmp_path):
    found = took(library, tmp_path, watts=300, watts_of_1=500, energy_step_ms=100, energy_step_ms_of_1=70)
    assert found.low <= 800 * found.seconds <= found.high
    assert found.low < found.joules < found.high
    # Either end may be off by a step of each card, and by a poll.
    assert found.high - found.low >= 2 * (300 * 0.1 + 500 * 0.07)


@pytest.mark.parametrize(
    "values",
    [
        {"untold_energy": 3},
        {"untold_energy_of_1": 3},
        {"init": 9},
        {"init": 18},
        {"error": 15},
        {"energy_step_ms": 10**9},
        {"energy_step_ms_of_1": 10**9},
    ],
    ids=["none tells", "one does not", "no driver", "another driver", "lost", "both stand still", "one stands still"],
)
def test_what_one_card_does_not_tell_is_not_told(library, tmp_path, values):
    assert took(library, tmp_path, **{"watts": 300, "energy_step_ms": 20} | values) is None


@pytest.mark.parametrize("more", ["watts 1\n", "energy_step_ms.1 1000000000\n"], ids=["begins anew", "stands still"])
def test_a_counter_that_fails_in_the_middle_tells_nothing(library, tmp_path, more):
    """Less power than before is less energy in all, as the library has it: as after the driver was loaded anew."""
    assert took(library, tmp_path, more, watts=300, energy_step_ms=20) is None


def test_without_cards_there_is_nothing_to_tell():
    with Watch([]) as watch:
        assert not watch.moves()
        assert watch.settle(0.0, 1.0) is None


def polled(powers, step, phase, polls):
    """A counter that moves every ``step`` seconds, polled; and what it counts by a time. A power lasts for 0.1 s."""

    def energy(when):
        whole = int(when / 0.1)
        return 0.1 * sum(powers[:whole]) + (when - 0.1 * whole) * (powers[whole] if whole < len(powers) else 0.0)

    def shown(when):
        last = phase + step * ((when - phase) // step)
        return energy(max(last, 0.0))

    counter, now = Counter(), 0.0
    for pause, call in itertools.cycle(polls):
        begun = now + pause
        now = begun + call
        if now >= 0.1 * len(powers):
            return counter, energy
        counter.read(begun, now, shown(begun + call / 2))


# A pause and how long the call takes, over and over.
POLLS = st.lists(st.tuples(st.floats(0.002, 0.03), st.floats(1e-5, 0.004)), min_size=1, max_size=12)
POWERS = st.lists(st.floats(1.0, 700.0), min_size=30, max_size=30)


@given(
    POWERS,
    POWERS,
    st.floats(0.02, 0.25),
    st.floats(0.0, 0.25),
    POLLS,
    st.floats(0.3, 1.2),
    st.floats(0.05, 1.2),
)
def test_what_was_taken_lies_between_the_bounds_whatever_the_power_was(one, other, step, phase, polls, begin, seconds):
    """Two cards, whose steps come at other times, by a clock that is read before and after each poll."""
    cards = [polled(one, step, phase, polls), polled(other, 0.8 * step, 0.0, polls)]
    end = begin + seconds
    found = taken([counter for counter, _ in cards], begin, end)
    if found is None:
        assert any(counter.at(begin) is None or counter.at(end) is None for counter, _ in cards)
        return
    true = sum(energy(end) - energy(begin) for _, energy in cards)
    assert found.low - 1e-6 <= true <= found.high + 1e-6
    assert found.low - 1e-6 <= found.joules <= found.high + 1e-6
    assert found.known == (true > 0 and found.within <= WITHIN)
    if found.known:
        assert abs(found.joules / true - 1) <= WITHIN / (1 - WITHIN) + 1e-9


def test_it_is_known_from_as_many_steps_on_as_leave_little_between():
    """Even power, steps of 0.1 s and polls every 10 ms: of nine seconds an end each is known well enough, of four it isn't."""
    counter, _ = polled([300.0] * 110, 0.1, 0.05, [(0.01, 0.0)])
    assert taken([counter], 1.0, 10.0).known
    assert not taken([counter], 1.0, 5.0).known
    assert taken([counter], 1.02, 9.97).joules == pytest.approx(300 * 8.95, rel=0.002)


def test_before_the_first_step_and_after_the_last_nothing_is_known():
    counter = Counter()
    for when, joules in ((0.0, 5.0), (0.1, 5.0), (0.2, 8.0), (0.3, 8.0), (0.4, 11.0), (0.5, 11.0)):
        counter.read(when, when + 0.01, joules)
    assert counter.at(0.15) is None
    assert counter.at(0.255) == (pytest.approx(9.5), 8.0, 11.0)
    # It moved between 0.3 and 0.41: by then it may have moved or not, and what comes after isn't known yet.
    assert counter.at(0.35) is None
    assert counter.at(0.45) is None

"""Energy by NVML's counter, as the library shows it: told where it is known well enough, and absent else."""

import json
import os
import subprocess
import sys

import pytest

from fixtures.hardware import energy
from fixtures.hardware.energy import STEP_SECONDS, WITHIN, Meter, spent
from perf_tests.fakes.shared_object import Cards, compiled
from perf_tests.paths import ROOT

pytestmark = pytest.mark.cpu
# Reads the counters of two cards twice, and says what they took and for how long.
READ = """
import json, sys, time
from fixtures.hardware import energy
energy.STEP_SECONDS = float(sys.argv[1])
before = energy.read([0, 1])
time.sleep(0.3)
print(json.dumps(energy.spent(before, energy.read([0, 1]))))
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return compiled("fake_nvml.c", tmp_path_factory.mktemp("nvml") / "libnvidia-ml.so.1")


def took(library, directory, step=0.001, **values):
    cards = Cards(library, directory / "nvml")
    cards.show(count=2, **values)
    command = [sys.executable, "-c", READ, str(step)]
    done = subprocess.run(
        command, env=os.environ | cards.variables, cwd=ROOT, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def test_all_cards_are_summed(library, tmp_path):
    joules, seconds = took(library, tmp_path, watts=300, watts_of_1=500, energy_step_ms=1)
    assert joules / seconds == pytest.approx(800, rel=WITHIN)


@pytest.mark.parametrize(
    "values",
    [{"untold_energy": 3}, {"untold_energy_of_1": 3}, {"init": 9}, {"error": 15}],
    ids=["none tells", "one does not tell", "no driver", "lost"],
)
def test_what_one_card_does_not_tell_is_not_told(library, tmp_path, values):
    assert took(library, tmp_path, watts=300, energy_step_ms=1, **values) is None


def test_what_two_steps_of_the_counter_leave_unknown_is_not_told(library, tmp_path):
    assert took(library, tmp_path, step=STEP_SECONDS, watts=300, energy_step_ms=100) is None
    needed = 2 * STEP_SECONDS / WITHIN
    assert spent(Meter(5.0, 100.0), Meter(5.0 + 1.01 * needed, 900.0)) == (800.0, pytest.approx(1.01 * needed))
    assert spent(Meter(5.0, 100.0), Meter(5.0 + 0.99 * needed, 900.0)) is None


def test_a_driver_that_was_loaded_anew_has_counted_nothing():
    assert spent(Meter(0.0, 900.0), Meter(100.0, 100.0)) is None
    assert spent(None, Meter(100.0, 100.0)) is None
    assert spent(Meter(0.0, 0.0), None) is None


def test_without_cards_nothing_is_read():
    assert energy.read([]) is None

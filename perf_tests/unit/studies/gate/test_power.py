"""Operating characteristics of the gate, simulated."""

import pytest

from fixtures.gate import rule
from fixtures.gate.noise import Noise
from fixtures.studies.gate import power
from fixtures.studies.gate.power import World

pytestmark = pytest.mark.cpu
# Nights that meet the same baseline, where its boots are alike: making one takes as long as two nights.
NIGHTS_A_BASELINE = 5


@pytest.mark.parametrize(
    ("world", "metrics", "nights", "boots"),
    [
        (World(0.002), 40, 1000, 1.1),
        (World(0.01, slow_boots=0.05), 40, 1000, 3.0),
        (World(0.02), 40, 1500, 3.0),
        (World(0.02, slow_boots=0.05), 40, 1500, 3.0),
        (World(0.02, tails=power.TAILS), 40, 1000, 3.3),
        (World(0.02, slow_boots=0.05), 200, 200, 4.5),
    ],
)
def test_false_alarms_and_cost_of_a_night_without_a_change(world, metrics, nights, boots):
    baselines = nights if world.slow_boots or world.tails else nights // NIGHTS_A_BASELINE
    found = power.characteristics(world, metrics=metrics, nights=nights, seed=3, baselines=baselines)
    assert found.alarms_per_metric <= 0.001
    assert found.alarms_per_night <= 0.01
    assert found.boots <= boots


@pytest.mark.parametrize(
    ("cv", "boots", "most"), [(0.005, 10, 0.01), (0.02, 10, 0.015), (0.01, 5, 0.04), (0.01, 3, 0.10)]
)
def test_one_metric_that_is_noisier_than_its_kind_raises_few_alarms(cv, boots, most):
    """Judged by its kind's noise it raised one in 3 to 12% of nights."""
    found = power.characteristics(
        power.uneven(cv), baseline_boots=boots, nights=500, seed=3, baselines=500 // NIGHTS_A_BASELINE
    )
    assert found.alarms_per_night <= most


@pytest.mark.parametrize(
    ("cv", "effect", "least"), [(0.002, 0.015, 0.9), (0.005, 0.02, 0.9), (0.01, 0.03, 0.75), (0.02, 0.06, 0.75)]
)
def test_three_deviations_are_found_and_no_tolerance_hides_them(cv, effect, least):
    assert power.characteristics(World(cv), effect=effect, nights=150, seed=4).alarms_per_metric >= least


@pytest.mark.parametrize("cv", [0.01, 0.02])
def test_the_detectable_effect_is_found_about_four_times_out_of_five(cv):
    effect = rule.detectable(0.01, Noise(1.0, 10, cv))
    assert 0.6 < power.characteristics(World(cv), effect, nights=150, seed=5).alarms_per_metric < 0.95


def test_the_trade_off_goes_through_the_rule_that_is_used():
    choices = power.trade_off(nights=1)
    used = next(c for c in choices if (c.cv, c.max_boots, c.strictness) == (0.01, 5, 1.0))
    assert used.power > 0.9
    lenient, strict = (
        next(c for c in choices if (c.cv, c.max_boots, c.strictness) == (0.02, 5, s)) for s in (0.6, 1.4)
    )
    assert lenient.power > strict.power

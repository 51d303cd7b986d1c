"""Boots that are judged by the boot beside them: what both have in common moves nothing, and noise is that of ratios."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.gate.noise import Noise, PooledNoise, paired, pool, pool_pairs
from fixtures.gate.rule import MAX_BOOTS, Step
from fixtures.gate.trial import Question, Trial
from fixtures.gate.verdict import Outcome, conclude, paired_standard
from fixtures.metrics import METRICS

pytestmark = pytest.mark.cpu
LATENCY, THROUGHPUT = METRICS["latency"], METRICS["output_throughput"]
TOLERANCE = 0.01
NOTHING = PooledNoise(0.0, 0)


def questions(values, partners, metric=LATENCY):
    """What is asked of metrics [metrics, boots] beside partners, by the noise that all of these pairs tell."""
    ratios = (values / partners).tolist()
    kind = pool_pairs(pool(ratios), NOTHING, NOTHING)
    return [
        Question(paired_standard(metric, TOLERANCE, beside.tolist(), own, kind), i)
        for i, (own, beside) in enumerate(zip(ratios, partners, strict=True))
    ]


def tried(values, partners, metric=LATENCY):
    """A trial to which all boots were added."""
    trial = Trial(questions(values, partners, metric), family=len(values))
    for own, beside in zip(values.T, partners.T, strict=True):
        trial.add(own, partners=beside)
    return trial


def test_the_noise_of_pairs_is_that_of_two_boots_unless_the_pairs_say_otherwise():
    assert pool_pairs(NOTHING, PooledNoise(0.0004, 10), NOTHING) == PooledNoise(pytest.approx(0.0008), 10)
    assert pool_pairs(pool([[1.0, 1.0]]), NOTHING, NOTHING) == PooledNoise(0.0, 1)
    assert pool_pairs(NOTHING, NOTHING, NOTHING) == NOTHING
    assert pool_pairs(pool([[1.0, 1.0, 1.0]]), PooledNoise(0.0004, 2), NOTHING).variance == pytest.approx(0.0004)


def test_where_no_machine_was_booted_on_twice_what_machines_differ_by_stands_for_it_and_soon_counts_little():
    machines = PooledNoise(0.0004, 60)
    assert pool_pairs(NOTHING, NOTHING, machines) == PooledNoise(pytest.approx(0.0008), 60)
    assert pool_pairs(pool([[1.0, 1.0, 1.0]]), NOTHING, machines) == PooledNoise(pytest.approx(0.0008 * 4 / 6), 16)
    assert pool_pairs(NOTHING, PooledNoise(0.0001, 9), machines) == PooledNoise(pytest.approx(0.0002), 9)
    assert pool_pairs(pool([[1.0] * 5] * 9), NOTHING, machines).variance == pytest.approx(0.0008 * 4 / 40)


def test_the_centre_of_pairs_is_known_and_only_the_ratios_add_noise():
    found = paired([1.05, 1.07], 3.0, PooledNoise(0.0008, 30), 0.05)
    assert (found.centre, found.boots, found.paired) == (3.0, 2, True)
    assert found.error(4) == pytest.approx(found.sigma / 2)
    assert Noise(1.0, 4, 0.02).error(4) == pytest.approx(0.02 * math.sqrt(1 / 4 + 1 / 4))
    alone = paired([1.05], 3.0, PooledNoise(0.0, 0), 0.05)
    assert alone.sigma == pytest.approx(0.05 / 2.5 * math.sqrt(2)), "assumed of each of two boots"


@given(st.integers(0, 2**32 - 1), st.floats(0.5, 2.0))
@settings(max_examples=25)
def test_what_both_boots_of_a_pair_have_in_common_changes_no_verdict(seed, factor):
    """A machine that drifts from pair to pair, by a tenth and more, in all that it measures."""
    random = np.random.default_rng(seed)
    values, partners = random.normal(1, 0.003, (2, 8, MAX_BOOTS))
    values[::2] *= 1.03
    drift = np.linspace(1, factor, MAX_BOOTS)
    still, drifting = tried(values, partners), tried(values * drift, partners * drift)
    if not still.slow and not drifting.slow:  # a boot that noise alone makes stand out is set aside in either
        assert [still.verdict(i).change for i in range(8)] == pytest.approx(
            [drifting.verdict(i).change for i in range(8)]
        )
        assert still.steps.tolist() == drifting.steps.tolist()


def test_a_change_is_found_where_pairs_agree_though_boots_do_not():
    machine = np.array([1.0, 1.2, 0.9])
    calm = np.array([[1.0, 1.001, 0.999], [1.001, 0.999, 1.0]])
    trial = tried(calm * machine * 1.03, calm[::-1] * machine)
    assert trial.steps.tolist() == [Step.REGRESSION] * 2
    found = trial.verdict(0)
    assert (found.outcome, found.change) == (Outcome.REGRESSION, pytest.approx(0.03, abs=0.002))
    assert found.value == pytest.approx(1.03 * np.mean(calm[0] * machine)), "among what its boots measured"
    assert found.baseline == pytest.approx(found.value / (1 + found.change))
    assert "3 pairs of boots" in found.reason
    faster = tried(calm * machine * 1.03, calm[::-1] * machine, THROUGHPUT)
    assert faster.verdict(0).outcome is Outcome.IMPROVEMENT


@pytest.mark.parametrize("slow", ["values", "partners"])
def test_a_pair_of_which_either_boot_is_slow_as_a_whole_is_set_aside(slow):
    """A slow partner would make its pair look fast, and hide what the others show."""
    random = np.random.default_rng(1)
    values, partners = random.normal(1, 0.002, (2, 6, 4))
    values *= 1.03
    {"values": values, "partners": partners}[slow][:, 1] *= 1.15
    trial = tried(values, partners)
    assert list(trial.slow) == [1]
    assert trial.steps.tolist() == [Step.REGRESSION] * 6
    assert list(trial.set_aside(0)) == [1]
    assert trial.verdict(0).change == pytest.approx(0.03, abs=0.005)


def of_ratios(*ratios, sigma=0.001):
    """A trial of one metric in so many pairs whose noise is known."""
    kind = PooledNoise(sigma**2, 30)
    asked = [paired_standard(LATENCY, TOLERANCE, [1.0] * n, ratios[:n], kind) for n in range(1, len(ratios) + 1)]
    trial = Trial([Question(asked[0], 0)], family=40)
    for ratio, one in zip(ratios, asked, strict=True):
        trial.add([ratio], [one], [1.0])
    return trial


def test_the_change_of_pairs_is_that_of_all_whichever_decided():
    """The first pair alone would call it better."""
    first, all_three = of_ratios(0.985, sigma=0.004), of_ratios(0.985, 1.003, 0.999, sigma=0.004)
    assert first.verdict(0).outcome is Outcome.IMPROVEMENT
    assert (all_three.verdict(0).outcome, all_three.steps[0]) == (Outcome.PASS, Step.CLEARED)
    assert all_three.verdict(0).change == pytest.approx(-0.004, abs=0.001)
    assert "3 pairs of boots" in all_three.verdict(0).reason


def test_what_the_first_pair_cleared_may_still_be_told():
    trial = of_ratios(1.004, 1.03, 1.031, 1.03)
    assert of_ratios(1.004).steps[0] == Step.CLEARED
    assert (trial.steps[0], trial.verdict(0).outcome) == (Step.REGRESSION, Outcome.REGRESSION)


def test_what_was_cleared_and_is_open_by_all_pairs_passes():
    """Cleared by the first, and by all three too little for a regression: nothing that another pair was asked for."""
    trial = of_ratios(1.0, 1.02, 1.025, sigma=0.01)
    found = trial.verdict(0)
    assert (trial.steps[0], found.outcome, found.suspicious) == (Step.CLEARED, Outcome.PASS, False)
    assert found.reason.startswith("tolerance 1.0%")
    assert of_ratios(1.02, 1.02, 1.025, sigma=0.01).verdict(0).suspicious


def test_what_was_cleared_and_is_worse_beyond_doubt_by_all_pairs_is_open_again():
    trial = of_ratios(1.0, 1.05, 1.05, sigma=0.01)
    assert of_ratios(1.0, sigma=0.01).steps[0] == Step.CLEARED
    assert (trial.steps[0], trial.verdict(0).outcome) == (Step.OPEN, Outcome.INCONCLUSIVE)
    assert trial.verdict(0).reason.startswith("worse by 3.3%, not yet confirmed; ")


@pytest.mark.parametrize(("degrees", "found"), [(2, Outcome.PASS), (200, Outcome.IMPROVEMENT)])
def test_better_beyond_noise_is_so_by_the_degrees_that_the_pairs_know_it_by(degrees, found):
    """Four errors of a mean over three pairs."""
    ratios = [0.9763, 0.9769, 0.9775]
    asked = paired_standard(LATENCY, TOLERANCE, [1.0] * 3, ratios, PooledNoise(0.01**2, degrees, degrees))
    asked = dataclasses.replace(asked, noise=dataclasses.replace(asked.noise, sigma=0.01))
    assert conclude(asked, ratios).outcome is found


def test_a_boot_without_a_partner_does_not_count():
    values, partners = np.array([[1.0, 5.0]]), np.array([[1.0, math.nan]])
    trial = Trial(questions(values[:, :1], partners[:, :1]), family=1)
    for own, beside in zip(values.T, partners.T, strict=True):
        trial.add(own, partners=beside)
    assert trial.verdict(0).change == pytest.approx(0.0)


def test_pairs_seldom_raise_an_alarm():
    """Nights of seven cells and three metrics on a machine that drifts, five pairs, the noise known from these alone."""
    random, alarms, nights = np.random.default_rng(7), 0, 400
    for _ in range(nights):
        drift = np.exp(np.cumsum(random.normal(0, 0.01, MAX_BOOTS)))
        values, partners = random.normal(1, 0.01, (2, 21, MAX_BOOTS)) * drift
        alarms += bool((tried(values, partners).steps == Step.REGRESSION).any())
    assert alarms <= 0.01 * nights + 3 * math.sqrt(0.01 * nights)

"""The retest procedure, step by step and by its properties."""

import math

import numpy as np
import pytest

from fixtures.gate.noise import PooledNoise
from fixtures.gate.rule import MAX_BOOTS, Step
from fixtures.gate.trial import Question, Trial, retest
from fixtures.gate.verdict import Outcome, judge, standard
from fixtures.metrics import METRICS

pytestmark = pytest.mark.cpu
LATENCY, THROUGHPUT, COMPLETED = METRICS["latency"], METRICS["output_throughput"], METRICS["completed"]
QUIET = PooledNoise(0.01**2, 30)
BEFORE = [1.0] * 10
TOLERANCE = 0.05


def questions(*metrics, groups=None):
    own = [standard(metric, TOLERANCE, BEFORE, QUIET) for metric in metrics]
    return [Question(one, i if groups is None else groups[i]) for i, one in enumerate(own)]


def test_what_the_first_boot_clears_is_not_measured_again():
    trial = Trial(questions(LATENCY, LATENCY), family=2)
    trial.add([1.01, 0.9])
    assert trial.steps.tolist() == [Step.CLEARED, Step.CLEARED]
    assert trial.again() == []
    assert [trial.verdict(i).outcome for i in (0, 1)] == [Outcome.PASS, Outcome.IMPROVEMENT]


@pytest.mark.parametrize(("metric", "worse"), [(LATENCY, 1.3), (THROUGHPUT, 0.7)])
def test_three_boots_that_agree_are_a_regression_and_the_verdict_is_the_rules(metric, worse):
    trial = Trial(questions(metric), family=1)
    for boots in (1, 2, 3):
        assert trial.again() == [0]
        trial.add([worse])
        assert trial.verdict(0) == judge(metric, TOLERANCE, BEFORE, [worse] * boots, QUIET, 1)
    assert trial.steps.tolist() == [Step.REGRESSION]
    assert trial.again() == []


def test_what_is_decided_is_not_opened_again():
    trial = Trial(questions(LATENCY, LATENCY), family=2)
    trial.add([1.0, 1.3])
    trial.add([9.0, 1.3])
    assert trial.verdict(0) == judge(LATENCY, TOLERANCE, BEFORE, [1.0], QUIET, 2), "the first boot had cleared it"
    assert trial.again() == [0, 1], "it is a control"


def test_a_boot_at_a_faster_speed_clears_nothing_that_a_slower_one_has_opened():
    before = [1.0] * 8 + [0.96] * 2
    quiet = PooledNoise(0.002**2, 30)
    trial = Trial([Question(standard(LATENCY, 0.01, before, quiet), 0)], family=1)
    assert trial.again() == [0]
    night = [1.02, 0.98, 1.02, 0.98, 1.02]
    for boots, value in enumerate(night, 1):
        assert trial.again() == [0]
        trial.add([value])
        assert trial.verdict(0) == judge(LATENCY, 0.01, before, night[:boots], quiet, 1)
    assert trial.steps.tolist() == [Step.REGRESSION]
    assert trial.set_aside(0) == {}, "not slow"
    cleared = Trial([Question(standard(LATENCY, 0.01, before, quiet), 0)], family=1)
    cleared.add([0.98])
    assert cleared.again() == [], "by itself it counts"


def test_a_boot_that_is_slow_as_a_whole_does_not_stand_beside_a_fast_one():
    """Of four metrics the first has two speeds. The first boot is slow in all, the second fast in that one: alone it counts."""
    quiet = PooledNoise(0.002**2, 30)
    two = standard(LATENCY, 0.01, [1.0] * 8 + [0.96] * 2, quiet)
    others = [standard(LATENCY, 0.01, [1.0] * 10, quiet)] * 3
    trial = Trial([Question(one, i) for i, one in enumerate([two, *others])], family=4)
    trial.add([1.2] * 4)
    trial.add([0.96, 1.0, 1.0, 1.0])
    assert list(trial.slow) == [0]
    assert trial.steps.tolist() == [Step.CLEARED] * 4


def elsewhere(machines, *metrics):
    return [standard(metric, TOLERANCE, [1.0] * machines, QUIET, elsewhere=True) for metric in metrics]


@pytest.mark.parametrize(("machines", "decides"), [(1, False), (4, False), (5, True)])
def test_on_a_machine_that_the_baseline_lacks_two_boots_say_all_that_can_be_said(machines, decides):
    """Beside a few machines nothing is called the engine's, however often this one is booted."""
    trial = Trial([Question(one, 0) for one in elsewhere(machines, LATENCY)], family=1)
    for boots in (1, 2):
        trial.add([1.3])
        open_ = decides or boots < 2
        assert trial.again() == ([0] if open_ else [])
        found = trial.verdict(0)
        assert (found.outcome, found.suspicious) == (Outcome.INCONCLUSIVE, open_)
        assert ("machine or engine" in found.reason) is not open_


def test_there_a_first_boot_that_was_slow_as_a_whole_is_set_aside():
    standards = elsewhere(3, *[LATENCY] * 8)
    trial = Trial([Question(one, i) for i, one in enumerate(standards)], family=8)
    trial.add([1.3] * 8)
    assert trial.again() == list(range(8))
    trial.add([1.0] * 8)
    assert (trial.again(), set(trial.slow)) == ([], {0})
    assert {trial.verdict(i).outcome for i in range(8)} == {Outcome.PASS}


def test_there_a_further_boot_that_others_asked_for_counts():
    trial = Trial([*(Question(one, 0) for one in elsewhere(3, LATENCY)), *questions(LATENCY, groups=[1])], family=2)
    for _ in range(2):
        trial.add([1.07, 1.3])
    assert trial.again() == [1], "what is open is no control"
    trial.add([0.95, 1.3])
    assert trial.verdict(0).outcome is Outcome.PASS
    assert trial.verdict(1).outcome is Outcome.REGRESSION


def test_a_metric_without_a_value_that_counts_stays_open():
    trial = Trial(questions(LATENCY, COMPLETED), family=1)
    trial.add([math.nan, math.nan])
    assert (trial.verdict(0), trial.verdict(1), trial.again()) == (None, None, [0, 1])
    trial.add([1.0, 1.0])
    assert trial.again() == []


def test_a_count_is_judged_by_its_first_boot_and_one_that_differs_is_no_control():
    trial = Trial(questions(COMPLETED, LATENCY, LATENCY, groups=[0, 0, 1]), family=2)
    trial.add([2.0, 1.0, 1.3])
    assert trial.verdict(0).outcome is Outcome.REGRESSION
    assert trial.again() == [1]


def test_controls_are_the_first_groups_that_nothing_is_wrong_with_up_to_six_metrics():
    trial = Trial(questions(*[LATENCY] * 10), family=10)
    trial.add([1.3] + [1.0] * 9)
    assert trial.again() == [0, 1, 2, 3, 4, 5, 6]
    trial.add([1.3] + [1.3] * 9)
    assert trial.again() == [0, 1, 2, 3, 4, 5, 6], "chosen once"


def test_what_regressed_is_no_control():
    trial = Trial(questions(*[LATENCY] * 3), family=3)
    for values in ([1.3, 1.07, 1.07], [1.3, 1.07, 1.07], [1.3, 1.07, 1.07]):
        trial.add(values)
    assert trial.steps.tolist() == [Step.REGRESSION] * 3
    mixed = Trial(questions(*[LATENCY] * 2), family=2)
    for values in ([1.3, 1.3], [1.3, 1.3], [1.3, 1.03]):
        mixed.add(values)
    assert mixed.steps.tolist() == [Step.REGRESSION, Step.OPEN]
    assert mixed.again() == [1]


def test_a_boot_that_is_slow_as_a_whole_is_set_aside():
    trial = Trial(questions(*[LATENCY] * 4), family=4)
    trial.add([1.3, 1.3, 1.3, 1.3])
    trial.add([1.0, 1.0, 1.0, 1.0])
    assert trial.slow == {0: pytest.approx(0.3)}
    assert trial.steps.tolist() == [Step.CLEARED] * 4
    assert trial.verdict(0) == judge(LATENCY, TOLERANCE, BEFORE, [1.0], QUIET, 4)
    assert trial.set_aside(0) == {0: pytest.approx(0.3)}


def test_what_a_slow_boot_had_cleared_stays_cleared():
    """Eight metrics, the first boot 7% slow: one is cleared all the same, the others by the second boot."""
    first = [1.045] + [1.07] * 7
    trial = Trial(questions(*[LATENCY] * 8), family=8)
    trial.add(first)
    assert trial.steps.tolist() == [Step.CLEARED] + [Step.OPEN] * 7
    trial.add([1.0] * 8)
    assert trial.slow == {0: pytest.approx(0.07, abs=0.01)}
    assert trial.steps.tolist() == [Step.CLEARED] * 8
    assert trial.verdict(0).outcome is Outcome.PASS


def test_a_new_standard_puts_all_boots_on_trial_again():
    trial = Trial(questions(LATENCY, LATENCY), family=2)
    trial.add([1.0, 1.3])
    assert trial.steps.tolist() == [Step.CLEARED, Step.OPEN]
    lower = [standard(LATENCY, TOLERANCE, [0.8] * 10, QUIET), standard(LATENCY, TOLERANCE, [1.3] * 10, QUIET)]
    trial.add([1.0, 1.3], lower)
    assert trial.steps.tolist() == [Step.OPEN, Step.CLEARED]
    assert trial.verdict(0) == judge(LATENCY, TOLERANCE, [0.8] * 10, [1.0, 1.0], QUIET, 2)
    assert trial.verdict(1) == judge(LATENCY, TOLERANCE, [1.3] * 10, [1.3], QUIET, 2), "cleared by the first boot"


def test_a_standard_that_comes_after_the_first_boot_counts_for_all_of_them():
    trial = Trial([Question(standard(LATENCY, TOLERANCE, []), 0)], family=1)
    trial.add([math.nan])
    known = [standard(LATENCY, TOLERANCE, BEFORE, QUIET)]
    for boots in (1, 2, 3):
        assert trial.again() == [0]
        trial.add([1.3], known)
        assert trial.verdict(0) == judge(LATENCY, TOLERANCE, BEFORE, [1.3] * boots, QUIET, 1)
    assert trial.steps.tolist() == [Step.REGRESSION]


def test_a_count_that_a_slow_boot_decided_was_not_set_aside():
    trial = Trial(questions(COMPLETED, *[LATENCY] * 4), family=4)
    trial.add([math.nan, 1.0, 1.0, 1.0, 1.06])
    trial.add([1.0, 1.3, 1.3, 1.3, 1.06])
    assert trial.slow == {1: pytest.approx(0.3)}
    assert trial.verdict(0).outcome is Outcome.PASS
    assert trial.set_aside(0) == {}


def test_without_a_baseline_there_is_nothing_to_wait_for():
    trial = Trial([Question(standard(LATENCY, TOLERANCE, []), 0)], family=1)
    trial.add([5.0])
    assert trial.verdict(0).outcome is Outcome.NO_BASELINE
    assert trial.again() == []


def test_nothing_on_trial_is_decided():
    trial = Trial([], family=0)
    trial.add([])
    assert (trial.again(), trial.slow) == ([], {})


def test_a_retest_ends_with_the_boots_or_as_soon_as_one_fails():
    asked = []

    def measure(trial, well):
        def boot(groups):
            asked.append(groups)
            trial.add([1.3])
            return well

        return boot

    for well, boots in ((True, MAX_BOOTS), (False, 2)):
        asked.clear()
        trial = Trial([Question(standard(LATENCY, TOLERANCE, [1.0, 1.1, 0.9]), 0)], family=40)
        trial.add([1.3])
        retest(trial, measure(trial, well), MAX_BOOTS)
        assert len(asked) == boots - 1
        assert trial.verdict(0).suspicious


def test_a_single_boot_never_decides_for_the_worse():
    random = np.random.default_rng(1)
    trial = Trial(questions(*[LATENCY] * 40), family=40)
    trial.add(1.5 + 0.01 * random.standard_normal(40))
    assert set(trial.steps.tolist()) == {Step.OPEN}


def test_a_higher_metric_is_worse_by_as_much_as_it_fell():
    trial = Trial(questions(THROUGHPUT), family=1)
    trial.add([0.951])
    assert trial.steps.tolist() == [Step.CLEARED], "worse by less than the tolerance"
    further = Trial(questions(THROUGHPUT), family=1)
    further.add([0.949])
    assert further.steps.tolist() == [Step.OPEN]


def test_metrics_with_values_of_different_boots_are_judged_by_their_own():
    trial = Trial(questions(LATENCY, LATENCY), family=2)
    trial.add([1.3, math.nan])
    trial.add([1.3, 1.07])
    assert trial.verdict(0) == judge(LATENCY, TOLERANCE, BEFORE, [1.3, 1.3], QUIET, 2)
    assert trial.verdict(1) == judge(LATENCY, TOLERANCE, BEFORE, [1.07], QUIET, 2)


def test_counts_say_nothing_about_a_boot_and_one_that_is_right_is_cleared():
    trial = Trial(questions(*[COMPLETED] * 4), family=0)
    trial.add([1.0] * 4)
    assert trial.steps.tolist() == [Step.CLEARED] * 4
    trial.add([9.0] * 4)
    assert trial.slow == {}


def test_a_large_night_asks_for_more_evidence_of_each_metric():
    loud = PooledNoise(0.05**2, 30)
    for family in (40, 400):
        trial = Trial([Question(standard(LATENCY, TOLERANCE, BEFORE, loud), 0)], family)
        for _ in range(3):
            trial.add([1.5])
        assert trial.verdict(0) == judge(LATENCY, TOLERANCE, BEFORE, [1.5] * 3, loud, family)
    assert trial.verdict(0) != judge(LATENCY, TOLERANCE, BEFORE, [1.5] * 3, loud)


@pytest.mark.parametrize(("strictness", "step"), [((), Step.REGRESSION), ((2.0,), Step.OPEN)])
def test_the_rule_asks_for_its_evidence_once_unless_it_is_stricter(strictness, step):
    loud = PooledNoise(0.02**2, 30)
    trial = Trial([Question(standard(LATENCY, TOLERANCE, BEFORE, loud), 0)], 1, *strictness)
    for _ in range(3):
        trial.add([1.07])
    assert trial.steps.tolist() == [step]


def test_a_value_of_nothing_says_nothing_about_a_boot():
    trial = Trial(questions(*[LATENCY] * 4), family=4)
    trial.add([1.3, 1.3, 1.3, 1.3])
    trial.add([0.0, 0.0, 0.0, 0.0])
    assert trial.slow == {}

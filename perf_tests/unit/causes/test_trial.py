"""A cause on trial: by the rule that judges metrics."""

import math

import numpy as np
import pytest

from fixtures.causes.trial import CauseTrial
from fixtures.gate.rule import Step
from fixtures.gate.verdict import Outcome, conclude
from perf_tests.unit.causes.panels import drawn, panel

pytestmark = pytest.mark.cpu
KNOWN = np.random.default_rng(7).normal(0, 0.005, (10, 10))


def judged(*boots, known=KNOWN, members=range(10)):
    """The trial after each of these boots, which all metrics of have this change."""
    trial = CauseTrial(members, 40)
    for count in range(1, len(boots) + 1):
        trial.judge(panel(known, np.tile(boots[:count], (len(known), 1)), sigma=0.005))
    return trial


def test_a_change_too_small_for_any_cell_is_found_by_ten_and_the_verdict_is_the_rules():
    """1% in each of ten cells whose boots differ by 0.5%: the tolerance of each is 1%."""
    trial = judged(0.01, 0.01, 0.01)
    found = trial.verdict()
    assert found.outcome is Outcome.REGRESSION
    assert found.change == pytest.approx(0.01, abs=0.002)
    seen = panel(KNOWN, np.full((10, 3), 0.01), sigma=0.005)
    assert found == conclude(seen.standard(range(10)), seen.values(range(10)).tolist(), 40)
    one = judged(0.01, 0.01, 0.01, members=[0])
    assert one.verdict().outcome is not Outcome.REGRESSION


def test_it_takes_three_boots():
    assert judged(0.02).step == judged(0.02, 0.02).step == Step.OPEN
    assert judged(0.02, 0.02).verdict().suspicious


def test_what_the_first_boot_clears_stays_cleared():
    assert judged(0.0, 0.05, 0.05, 0.05).step == Step.CLEARED
    assert judged(0.0, 0.05, 0.05, 0.05).verdict().outcome is Outcome.PASS


def test_a_boot_that_turns_out_slow_counts_no_more_where_nothing_is_decided():
    trial = CauseTrial(range(10), 40)
    trial.judge(panel(KNOWN, np.full((10, 1), 0.05), sigma=0.005))
    assert trial.step == Step.OPEN
    trial.judge(panel(KNOWN, np.tile([math.nan, 0.0], (10, 1)), sigma=0.005))
    assert trial.step == Step.CLEARED


def test_without_a_baseline_in_common_or_a_boot_there_is_no_verdict_and_nothing_to_measure():
    known = np.full((3, 3), np.nan)
    np.fill_diagonal(known, 0.0)
    apart = CauseTrial(range(3), 40)
    apart.judge(panel(known, np.zeros((3, 1)), sigma=0.01))
    assert (apart.verdict(), apart.step) == (None, Step.CLEARED)
    assert CauseTrial([0], 40).verdict() is None
    without = CauseTrial(range(3), 40)
    without.judge(panel(np.zeros((3, 9)), np.full((3, 1), math.nan), sigma=0.01))
    assert without.verdict() is None


def test_held_against_something_else_it_is_judged_anew():
    trial = judged(0.0)
    assert trial.step == Step.CLEARED
    trial.judge(panel(KNOWN - 0.05, np.zeros((10, 1)), sigma=0.005))
    assert trial.step == Step.OPEN


def test_a_drawn_night_without_a_change_is_cleared():
    trial = CauseTrial(range(12), 40)
    trial.judge(drawn(2, [0.0] * 12, boots=1))
    assert trial.verdict().outcome is Outcome.PASS


def test_of_pairs_none_decides_before_the_others_are_there():
    trial = CauseTrial(range(10), 40)
    for count in range(1, 4):
        trial.judge(panel(KNOWN, np.tile([0.0, 0.03, 0.03][:count], (10, 1)), sigma=0.005, paired=True))
    assert trial.verdict().change == pytest.approx(0.02, abs=0.003)
    assert (trial.verdict().suspicious, trial.step) == (True, Step.OPEN)


def test_three_pairs_that_agree_are_a_regression_and_one_is_not():
    trial = CauseTrial(range(10), 40)
    steps = []
    for count in range(1, 4):
        trial.judge(panel(KNOWN, np.full((10, count), 0.02), sigma=0.005 * math.sqrt(2), paired=True))
        steps.append(trial.step)
    assert steps == [Step.OPEN, Step.OPEN, Step.REGRESSION]
    assert "3 pairs of boots" in trial.verdict().reason


def test_pairs_that_are_nearly_enough_by_themselves_ask_for_one_more():
    known = np.tile(0.1 * (np.arange(10) % 3 == 0), (10, 1)) + np.random.default_rng(7).normal(0, 0.001, (10, 10))
    trial, quiet = CauseTrial(range(10), 40), np.tile([0.0199, 0.0201, 0.02, 0.02, 0.0199], (10, 1))
    found = []
    for count in (1, 3, 4):
        trial.judge(panel(known, quiet[:, :count], sigma=0.02, paired=True))
        found.append((trial.step, trial.verdict().outcome))
    assert found == [
        (Step.CLEARED, Outcome.PASS),
        (Step.OPEN, Outcome.INCONCLUSIVE),
        (Step.REGRESSION, Outcome.REGRESSION),
    ]
    trial.judge(panel(known, quiet[:, :3] - 0.02, sigma=0.02, paired=True))
    assert trial.verdict().outcome is Outcome.PASS


def test_what_one_more_pair_would_tell_is_said():
    known = np.tile(0.1 * (np.arange(10) % 3 == 0), (10, 1)) + np.random.default_rng(7).normal(0, 0.001, (10, 10))
    trial = CauseTrial(range(10), 40)
    trial.judge(panel(known, np.tile([0.0199, 0.0201, 0.02], (10, 1)), sigma=0.02, paired=True))
    assert trial.verdict().reason.startswith("worse by 2.0%, which one more pair")


def test_pairs_of_which_two_more_would_tell_are_no_pass():
    """Three pairs of a card's first tokens, 2 ms planted, beside a baseline whose boots differ by a tenth."""
    known = np.tile(0.2 * (np.arange(10) % 3 == 0), (10, 1)) + np.random.default_rng(7).normal(0, 0.001, (10, 10))
    trial = CauseTrial(range(10), 40, 3)
    trial.judge(panel(known, np.tile([0.096, 0.109, 0.103], (10, 1)), sigma=0.1, paired=True))
    assert (trial.verdict().outcome, trial.step) == (Outcome.INCONCLUSIVE, Step.OPEN)
    assert trial.verdict().reason.startswith("worse by 10.3%, which 2 more pairs like these would confirm; ")
    trial.judge(panel(known, np.tile([-0.03, 0.09, 0.06], (10, 1)), sigma=0.1, paired=True))
    assert (trial.verdict().outcome, trial.step) == (Outcome.PASS, Step.CLEARED)


def test_without_a_pair_there_is_no_verdict():
    trial = CauseTrial(range(3), 40)
    trial.judge(panel(KNOWN[:3], np.full((3, 2), math.nan), sigma=0.01, paired=True))
    assert (trial.verdict(), trial.step) == (None, Step.CLEARED)


def test_a_cause_that_is_not_by_pairs_any_more_is_judged_as_it_is_now():
    trial = CauseTrial(range(10), 40)
    trial.judge(panel(KNOWN, np.full((10, 1), 0.02), sigma=0.005, paired=True))
    assert "pair" in trial.verdict().reason
    trial.judge(panel(KNOWN, np.zeros((10, 1)), sigma=0.005))
    assert (trial.step, "pair" in trial.verdict().reason) == (Step.CLEARED, False)

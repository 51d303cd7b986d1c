"""The composite of many metrics: its weights, its noise, and what a boot that lacks some of them tells."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.causes.panel import (
    LEAST_WEIGHT,
    MOST_TIMES,
    MOST_WEIGHT,
    OWN_NOISE,
    SHARE_OF_TOLERANCE,
    composite,
    weights,
)
from fixtures.gate.noise import Noise
from perf_tests.unit.causes.panels import drawn, panel

pytestmark = pytest.mark.cpu
SIGMAS = st.lists(st.floats(0, 0.5), min_size=1, max_size=40)


@given(SIGMAS)
def test_weights_add_up_none_rules_and_what_is_noisier_has_less(sigmas):
    found = weights(sigmas)
    assert found.sum() == pytest.approx(1)
    assert (found > 0).all()
    most = max(min(MOST_WEIGHT, MOST_TIMES / len(sigmas)), 1 / len(sigmas))
    assert found.max() <= most * (1 + 1e-9)
    order = np.argsort(sigmas)
    assert (np.diff(found[order]) <= 1e-12).all()


def test_weights_are_by_variance_where_none_is_capped():
    assert weights([0.01, 0.01, 0.012, 0.012]) == pytest.approx(np.array([1.44, 1.44, 1, 1]) / 4.88)
    assert weights([0.001, 0.01, 0.01, 0.01]) == pytest.approx([0.5, 1 / 6, 1 / 6, 1 / 6])


@given(st.integers(0, 2**32 - 1), st.floats(-0.5, 0.5))
def test_what_moves_all_moves_the_composite_by_as_much(seed, shift):
    random = np.random.default_rng(seed)
    changes, shares = random.normal(0, 0.1, (6, 4)), weights(random.uniform(0.001, 0.1, 6))
    assert composite(changes + shift, shares) == pytest.approx(composite(changes, shares) + shift)


def test_a_boot_is_judged_by_what_it_has_and_not_by_half_or_less():
    shares = [0.25] * 4
    changes = [[0.1, 0.1, 0.1], [0.1, 0.1, math.nan], [0.1, 0.4, math.nan], [0.1, math.nan, 0.1]]
    found = composite(changes, shares)
    assert found[:2] == pytest.approx([0.1, 0.2])
    assert math.isnan(found[2])
    assert LEAST_WEIGHT == 0.5


@given(st.integers(0, 2**32 - 1))
def test_noise_that_all_share_is_in_the_composites_and_what_they_do_not_share_averages_out(seed):
    random = np.random.default_rng(seed)
    common, own = random.normal(0, 0.01, 200), random.normal(0, 0.01, (16, 200))
    shared = panel(np.tile(common, (16, 1)), np.zeros((16, 1))).standard(range(16))
    apart = panel(own, np.zeros((16, 1))).standard(range(16))
    assert shared.noise.sigma == pytest.approx(common.std(ddof=1), rel=0.1)
    assert apart.noise.sigma < 0.4 * shared.noise.sigma, "a quarter of it"


def test_the_tolerance_is_a_share_of_its_metrics():
    found = panel(np.zeros((2, 3)), np.zeros((2, 1)), sigma=0.01, tolerance=[0.01, 0.05]).standard([0, 1])
    assert found.tolerance == pytest.approx(SHARE_OF_TOLERANCE * 0.03)


@pytest.mark.parametrize("boots", range(1, OWN_NOISE + 1))
def test_with_few_boots_the_noise_is_the_most_that_it_can_be(boots):
    known = np.random.default_rng(0).normal(0, 0.01, (4, boots))
    noise = panel(known, np.zeros((4, 1)), sigma=0.01).standard(range(4)).noise
    assert (noise.sigma == pytest.approx(0.01)) == (boots < OWN_NOISE)
    assert ("moved together" in noise.note) == (boots < OWN_NOISE)
    assert noise.boots == boots


def test_noise_that_few_boots_tell_counts_for_its_share():
    def degrees(*known):
        noises = [Noise(1.0, 3, 0.01, degrees=one) for one in known]
        made = dataclasses.replace(
            panel(np.zeros((len(known), 3)), np.zeros((len(known), 1)), sigma=0.01), noises=noises
        )
        return made.standard(range(len(known))).noise.degrees

    assert degrees(30, 30, 30) == pytest.approx(30)
    assert degrees(math.inf, math.inf) == math.inf
    assert 2 < degrees(2, 30, 30, 30) < 30
    assert degrees(2, *[30] * 9) > degrees(2, 30, 30, 30)


def test_a_baseline_whose_boots_hold_too_little_in_common_has_no_standard():
    known = np.full((3, 3), np.nan)
    np.fill_diagonal(known, 0.0)
    found = panel(known, np.zeros((3, 1)), sigma=0.01)
    assert found.standard([0, 1, 2]).noise is None
    assert found.standard([0, 1, 2]).baseline == ()
    assert found.effect([0, 1, 2]) is None
    assert found.standard([0]).baseline == (1.0,)


def test_boots_of_the_nights_machine_are_compared_with_or_else_each_machine_as_one():
    known, hosts = np.array([[0.0, 0.0, 0.1, 0.1, 0.2, 0.2]] * 2), ["a", "a", "b", "b", "c", "c"]
    given_ = {"sigma": 0.01, "hosts": hosts}
    own = panel(known, [[0.1]] * 2, host="b", **given_).standard([0, 1])
    assert (own.baseline, own.noise.elsewhere) == ((1.1, 1.1), False)
    other = panel(known, [[0.1]] * 2, host="d", **given_).standard([0, 1])
    assert (other.baseline, other.noise.elsewhere) == (pytest.approx((1.0, 1.1, 1.2)), True)
    sizes = panel(known, [[0.1]] * 2, host="d", timed=[False, False], **given_).standard([0, 1])
    assert (len(sizes.baseline), sizes.noise.elsewhere) == (6, False)


def test_the_noise_of_boots_of_other_machines_counts_where_the_own_ones_are_compared_with():
    random = np.random.default_rng(3)
    known = random.normal(0, 0.001, (2, 6 + 20))
    known[:, 6:] = np.tile([0.05, -0.05], 10)  # of one machine, far apart
    hosts = ["own"] * 6 + ["other"] * 20
    alone = panel(known[:, :6], [[0.0]] * 2, sigma=0.01, hosts=hosts[:6], host="own").standard([0, 1])
    both = panel(known, [[0.0]] * 2, sigma=0.01, hosts=hosts, host="own").standard([0, 1])
    assert both.noise.degrees > alone.noise.degrees


def test_the_effect_is_the_shift_and_its_error_shrinks_with_metrics_and_boots():
    many, few = drawn(1, [0.03] * 16, boots=5), drawn(1, [0.03] * 2, boots=5)
    assert many.effect(range(16)).change == pytest.approx(0.03, abs=0.002)
    assert many.effect(range(16)).error < few.effect(range(2)).error < few.member(0).error
    assert many.effect(range(16)).moved
    assert many.effect([]) is None


def test_a_metric_that_has_no_value_that_counts_has_no_effect():
    assert panel(np.zeros((1, 3)), [[math.nan]], sigma=0.01).member(0) is None


def pairs(night, known=None, sigma=0.01):
    """Metrics that are judged by pairs, [metrics, pairs], beside a baseline's boots."""
    night = np.asarray(night, dtype=float)
    return panel(np.empty((len(night), 0)) if known is None else known, night, sigma=sigma, paired=True)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_centre_of_pairs_is_known_so_that_only_their_own_noise_is_in_the_error(count):
    seen = pairs(np.full((4, count), 0.03) + 0.03 * (-1) ** np.arange(count) * (count > 2))
    noise = seen.standard(range(4)).noise
    assert (noise.centre, noise.paired, "moved together" in noise.note) == (1.0, True, True)
    assert seen.effect(range(4)).change == pytest.approx(0.03 + (0.006 if count > 2 else 0), abs=0.004)
    assert seen.effect(range(4)).error == pytest.approx(0.01 / math.sqrt(count))


def test_a_baselines_boots_tell_how_much_pairs_of_them_differ_and_not_where_the_centre_is():
    random = np.random.default_rng(5)
    known = random.normal(0.02, 0.004, (16, 40))
    seen = pairs(np.zeros((16, 3)), known, sigma=0.004 * math.sqrt(2))
    noise = seen.standard(range(16)).noise
    assert noise.sigma == pytest.approx(0.004 * math.sqrt(2) / 4, rel=0.25), "of 16 metrics that are independent"
    assert noise.centre == 1.0
    assert seen.standard(range(16)).baseline == (1.0, 1.0, 1.0)


def test_the_rarer_of_two_speeds_is_noise_and_one_boot_of_eight_that_was_disturbed_is_not():
    known = np.tile(np.random.default_rng(6).normal(0, 0.001, 10), (4, 1))
    slow, fast = known.copy(), known.copy()
    slow[:, 3] += 0.2
    fast[:, 3:5] -= 0.03

    def noise(boots):
        return pairs(np.zeros((4, 1)), boots).standard(range(4)).noise.sigma

    assert noise(slow) < 0.003
    assert noise(fast) > 0.01


def test_pairs_that_are_more_alike_than_a_baselines_boots_tell_their_noise_alone_from_four_on():
    known = np.tile(0.03 * (np.arange(10) % 3 == 0), (4, 1)) + np.random.default_rng(7).normal(0, 0.001, (4, 10))
    quiet = np.tile([0.019, 0.021, 0.02, 0.0205, 0.0195], (4, 1))
    three, five = (pairs(quiet[:, :count], known).standard(range(4)).noise for count in (3, 5))
    assert three.sigma > 0.01
    assert (five.sigma, five.degrees) == (pytest.approx(np.std(quiet[0], ddof=1)), 4)
    loud = pairs(quiet + 0.05 * np.array([-1, 1, 0, 1, -1]), known).standard(range(4)).noise
    assert loud.sigma > 0.01
    assert loud.note != five.note


def test_pairs_that_are_all_the_same_are_not_without_noise():
    assert pairs(np.full((4, 5), 0.03), np.zeros((4, 0))).standard(range(4)).noise.sigma >= 1e-4


def test_pairs_that_hold_too_little_in_common_have_no_standard():
    seen = pairs([[math.nan], [math.nan], [0.1]])
    assert seen.standard([0, 1, 2]).noise is None
    assert seen.effect([0, 1, 2]) is None

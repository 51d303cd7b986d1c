"""Noise of metrics and kinds: drawn, and by numbers worked out by hand."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.gate import noise as noise_module
from fixtures.gate.noise import Noise, PooledNoise, comparable, noise, pool
from fixtures.gate.verdict import Outcome, judge
from fixtures.metrics import METRICS

pytestmark = pytest.mark.cpu
LATENCY, THROUGHPUT, COMPLETED = METRICS["latency"], METRICS["output_throughput"], METRICS["completed"]
QUIET = PooledNoise(0.01**2, 30)


@given(st.floats(0.002, 0.05), st.integers(0, 10_000))
@settings(max_examples=20)
def test_the_noise_of_a_kind_is_found_and_slow_boots_do_not_inflate_it(cv, seed):
    random = np.random.default_rng(seed)
    groups = random.normal(1.0, cv, size=(30, 10))
    assert math.sqrt(pool(groups.tolist()).variance) == pytest.approx(cv, rel=0.2)
    groups[:, 3] += 20 * cv
    kind = pool(groups.tolist())
    assert math.sqrt(kind.variance) == pytest.approx(cv, rel=0.25)
    found = noise(groups[0].tolist(), kind, 0.05)
    assert 7 <= found.boots <= 9
    assert found.centre == pytest.approx(1.0, abs=1.5 * cv)


def test_the_pooled_noise():
    own = 2 * (0.1 / 1.1) ** 2
    assert pool([[1.0, 1.2]]) == PooledNoise(pytest.approx(own), 1)
    assert pool([[1.0, 1.2], [5.0, 5.0, 5.0]]) == PooledNoise(pytest.approx(own / 3), 3)
    assert pool([[1.0], [7.0], [0.0, 0.0]]) == pool([]) == PooledNoise(0.0, 0)
    calm = [0.99, 1.0, 1.01] * 3
    assert pool([[*calm, 2.0]]) == PooledNoise(pytest.approx(6 * 0.01**2 / 8), 8), (
        "an outlier is no sample of the noise"
    )


def test_the_noise_of_a_metric():
    found = noise([1.0, 1.2], PooledNoise(0.04, 10), 0.05)
    sigma = math.sqrt((10 * 0.04 + 2 * (0.1 / 1.1) ** 2) / 11)
    assert found == Noise(1.1, 2, pytest.approx(sigma), found.note, degrees=11)
    assert found.note == "noise shrunk to its kind's"
    assert noise([1.0] * 5, QUIET, 0.05).note == ""
    assert noise([3.0], PooledNoise(0.0, 0), 0.05) == Noise(3.0, 1, 0.02, "noise assumed: one boot tells none")
    assert noise([1.0] * 9 + [1.5], PooledNoise(0.01**2, 60), 0.05) == Noise(
        1.0, 9, pytest.approx(0.01 * math.sqrt(30 / 38)), degrees=38
    )
    assert Noise(1.0, 4, 0.02).error(12) == pytest.approx(0.02 * math.sqrt(1 / 12 + 1 / 4))


def test_a_metric_that_is_noisier_than_its_kind_has_its_own_noise():
    """As the pace of a server near its limit: its boots are no outliers, though each is by what its kind is used to."""
    apart = noise([0.9, 1.0, 1.1], QUIET, 0.05)
    assert apart == Noise(pytest.approx(1.0), 3, pytest.approx(0.1), "noisier than its kind", True, 2)
    assert judge(LATENCY, 0.05, [0.9, 1.0, 1.1], [1.15] * 3, QUIET).outcome is Outcome.INCONCLUSIVE
    # One that was disturbed shows nothing, beside two that are close together or not; nor do two.
    assert noise([1.0, 1.001, 1.1], QUIET, 0.05).boots == 2
    assert not noise([1.0, 1.03, 1.3], QUIET, 0.05).noisier
    assert not noise([1.0, 1.1], QUIET, 0.05).noisier
    # Of three that are evenly spaced the median deviation says too much: the variance decides.
    assert not noise([0.981, 1.0, 1.019], QUIET, 0.05).noisier
    assert noise([0.979, 1.0, 1.021], QUIET, 0.05).noisier
    assert noise([1.0, 1.0, 1.0, 1.1, 0.9, 1.1, 0.9, 2.0], QUIET, 0.05).boots == 7
    assert noise([0.0, 0.0, 10.0], QUIET, 0.05).boots == 3, "of nothing there is no share"


def test_the_median_deviation_is_unbiased_for_few_values_and_many():
    assert noise_module.median_deviation([1.0, 3.0]) == pytest.approx(1.7725)
    eleven = [float(i) for i in range(11)]
    assert noise_module.median_deviation(eleven) == pytest.approx(1.4826 * 11 / 10.2 * 3)


def test_what_a_night_is_compared_with():
    values, hosts = [1.0, 1.2, 2.0, 3.0, 5.0], ["a", "a", "b", "c", "c"]
    assert comparable(values, hosts, "a") == ([1.0, 1.2], False)
    assert comparable(values, hosts, "c") == ([3.0, 5.0], False)
    assert comparable(values, hosts, "b") == comparable(values, hosts, "new") == ([1.1, 2.0, 4.0], True)
    assert comparable(values, hosts, "") == (values, False)
    assert comparable([1.0], ["a"], "a") == ([1.0], False)
    assert comparable([1.0], ["a"], "new") == ([1.0], True)


def test_the_kinds_noise_counts_for_less_where_its_metrics_are_unlike():
    random = np.random.default_rng(2)
    alike = random.normal(1.0, 0.01, size=(40, 10))
    unlike = random.normal(1.0, np.repeat([0.005, 0.02], 20)[:, None], size=(40, 10))
    weights = [pool(groups.tolist()).prior for groups in (alike, unlike)]
    assert weights[0] > 15
    # The logarithms of 0.005^2 and 0.02^2 vary by 1.97: trigamma(d / 2) is that at d = 1.8, below the least weight.
    assert weights[1] == noise_module.LEAST_PRIOR
    few = random.normal(1.0, np.repeat([0.005, 0.02], 20)[:, None], size=(40, 3))
    assert pool(few.tolist()).prior == noise_module.PRIOR_DEGREES, "three boots a metric don't show it"
    found = noise(unlike[0].tolist(), pool(unlike.tolist()), 0.05)
    assert found.sigma < 0.75 * math.sqrt(pool(unlike.tolist()).variance)


@pytest.mark.parametrize(("x", "value"), [(0.5, math.pi**2 / 2), (1.0, math.pi**2 / 6), (1.5, math.pi**2 / 2 - 4)])
def test_trigamma_is_that_of_the_tables(x, value):
    assert noise_module._trigamma(x) == pytest.approx(value, abs=1e-6)


def test_models_with_few_boots_are_filled_up_with_the_others_noise():
    own, others = PooledNoise(0.0001, 4, 12), PooledNoise(0.0004, 40, 30)
    assert noise_module.filled(own, others) == PooledNoise(pytest.approx((4 * 0.0001 + 6 * 0.0004) / 10), 10, 30)
    assert noise_module.filled(PooledNoise(0.0001, 10, 12), others) == PooledNoise(pytest.approx(0.0001), 10, 12)
    assert noise_module.filled(own, own) == PooledNoise(pytest.approx(0.0001), 8, 12)
    nothing = PooledNoise(0.0, 0)
    assert noise_module.filled(nothing, nothing) == nothing


def test_each_model_has_its_own_noise_and_one_with_few_boots_the_others_too():
    random = np.random.default_rng(4)
    quiet, loud = random.normal(1.0, 0.005, size=(3, 10)).tolist(), random.normal(1.0, 0.05, size=(3, 10)).tolist()
    found = noise_module.by_model({"a": quiet, "b": loud, "c": [[1.0, 1.0]], "d": []})
    assert (found["a"], found["b"]) == (pool(quiet), pool(loud))
    assert found["c"] == noise_module.filled(pool([[1.0, 1.0]]), pool([*quiet, *loud]))
    assert found["d"] == noise_module.filled(pool([]), pool([*quiet, *loud, [1.0, 1.0]]))
    assert noise_module.by_model({"a": quiet}) == {"a": pool(quiet)}


def test_what_comes_at_once_does_not_borrow_noise_from_what_arrives_at_a_rate():
    """On an H200 gaps between tokens vary by 0.1% in batches and by 12% near the capacity: together by 2% and more."""
    random = np.random.default_rng(5)
    batches, online = random.normal(1.0, 0.001, size=(3, 10)).tolist(), random.normal(1.0, 0.1, size=(1, 10)).tolist()
    others = random.normal(1.0, 0.002, size=(3, 10)).tolist()
    of_a = [*((False, own) for own in batches), *((True, own) for own in online)]
    found = noise_module.by_traffic({"a": of_a, "b": [(False, others[0][:3])]})
    assert found["a", False] == pool(batches)
    assert found["a", True] == pool([*batches, *online])
    # Of a batch of which one pair of boots is all that is known, online cells tell some of its noise.
    few = noise_module.by_traffic({"a": [(False, batches[0][:2]), *of_a[3:]]})
    assert few["a", False] == noise_module.filled(pool([batches[0][:2]]), pool(online), noise_module.LEAST_PRIOR)
    assert noise_module.by_traffic({"a": of_a[3:], "b": []})["b", False].degrees == noise_module.LEAST_PRIOR
    assert found["b", False] == noise_module.filled(pool([others[0][:3]]), pool(batches))
    assert found["b", True] == noise_module.filled(pool([others[0][:3]]), pool([*batches, *online]))
    assert noise(batches[0], found["a", False], 0.01).sigma < 0.0015 < noise(batches[0], found["a", True], 0.01).sigma

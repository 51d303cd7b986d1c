"""Every field of a verdict, and the noise behind it, by numbers worked out by hand."""

import json
import math

import pytest

from fixtures.gate import noise as noise_module
from fixtures.gate import results
from fixtures.gate.noise import Noise, PooledNoise, noise, pool
from fixtures.gate.results import Samples
from fixtures.gate.verdict import Outcome, Verdict, judge
from fixtures.metrics import METRICS, Metric, metrics_of
from fixtures.session.steadiness import outlier
from fixtures.studies.gate.components import Components, components

pytestmark = pytest.mark.cpu
LATENCY, THROUGHPUT, COMPLETED = METRICS["latency"], METRICS["output_throughput"], METRICS["completed"]
BEFORE = [1.0] * 10
QUIET = PooledNoise(0.01**2, 30)
# Ten equal boots beside thirty degrees of a kind with a CV of 1%.
SIGMA = 0.01 * math.sqrt(30 / 39)
DETECTABLE = 1.12 * 0.05 + 1.2 * SIGMA * math.sqrt(1 + 1 / 10)
LIMITS = "tolerance 5.0%, noise 0.9%, detectable 6.7%, "


def error(boots):
    return SIGMA * math.sqrt(1 / boots + 1 / 10)


def same(found, expected):
    """Equal but for rounding."""
    for name in ("value", "baseline", "change", "detectable", "error"):
        wanted = getattr(expected, name)
        assert getattr(found, name) == (wanted if wanted is None else pytest.approx(wanted, rel=1e-9)), name
    assert (found.outcome, found.reason, found.suspicious) == (expected.outcome, expected.reason, expected.suspicious)


@pytest.mark.parametrize(
    ("metric", "current", "expected"),
    [
        (
            LATENCY,
            [1.3] * 3,
            Verdict(
                Outcome.REGRESSION,
                1.3,
                1.0,
                0.3,
                f"worse by 30.0%; {LIMITS}3 boots against 10 boots",
                DETECTABLE,
                False,
                error(3),
            ),
        ),
        (
            LATENCY,
            [1.3],
            Verdict(
                Outcome.INCONCLUSIVE,
                1.3,
                1.0,
                0.3,
                f"worse by 30.0%, not yet confirmed; {LIMITS}1 boot against 10 boots",
                DETECTABLE,
                True,
                error(1),
            ),
        ),
        (
            THROUGHPUT,
            [0.8],
            Verdict(
                Outcome.INCONCLUSIVE,
                0.8,
                1.0,
                -0.2,
                f"worse by 20.0%, not yet confirmed; {LIMITS}1 boot against 10 boots",
                DETECTABLE,
                True,
                error(1),
            ),
        ),
        (
            THROUGHPUT,
            [1.2],
            Verdict(
                Outcome.IMPROVEMENT,
                1.2,
                1.0,
                0.2,
                f"better by 20.0%; {LIMITS}1 boot against 10 boots",
                DETECTABLE,
                False,
                error(1),
            ),
        ),
        (
            LATENCY,
            [1.0, 1.02],
            Verdict(Outcome.PASS, 1.01, 1.0, 0.01, f"{LIMITS}2 boots against 10 boots", DETECTABLE, False, error(2)),
        ),
    ],
)
def test_every_field(metric, current, expected):
    same(judge(metric, 0.05, BEFORE, current, QUIET), expected)


def test_a_note_on_the_noise_ends_the_reason():
    reason = judge(LATENCY, 0.05, [1.0], [1.0], QUIET).reason
    assert reason.endswith("1 boot against 1 boot; noise shrunk to its kind's")


def test_what_is_missing_is_said():
    same(judge(LATENCY, 0.05, BEFORE, []), Verdict(Outcome.INCONCLUSIVE, None, None, None, "nothing was measured"))
    missing = Verdict(Outcome.NO_BASELINE, 2.0, None, None, "the baseline has no such metric")
    same(judge(LATENCY, 0.05, [], [1.0, 2.0, 9.0]), missing)


@pytest.mark.parametrize(
    ("metric", "before", "now", "expected"),
    [
        (COMPLETED, 4.0, 4.0, Verdict(Outcome.PASS, 4.0, 4.0, 0.0, "")),
        (COMPLETED, 4.0, 5.0, Verdict(Outcome.REGRESSION, 5.0, 4.0, 0.25, "5 instead of 4")),
        (LATENCY, 0.0, 0.0, Verdict(Outcome.PASS, 0.0, 0.0, 0.0, "")),
        (LATENCY, 0.0, 5.0, Verdict(Outcome.REGRESSION, 5.0, 0.0, math.inf, "5 instead of 0")),
        (LATENCY, 0.0, -5.0, Verdict(Outcome.PASS, -5.0, 0.0, -math.inf, "")),
        (THROUGHPUT, 0.0, 5.0, Verdict(Outcome.PASS, 5.0, 0.0, math.inf, "")),
        (THROUGHPUT, 0.0, -5.0, Verdict(Outcome.REGRESSION, -5.0, 0.0, -math.inf, "-5 instead of 0")),
        (COMPLETED, 0.0, 1.0, Verdict(Outcome.REGRESSION, 1.0, 0.0, math.inf, "1 instead of 0")),
    ],
)
def test_counts_and_baselines_of_nothing(metric, before, now, expected):
    same(judge(metric, 0.0, [before], [now]), expected)


def test_an_improvement_exceeds_tolerance_and_noise():
    loud = PooledNoise(0.1**2, 30)  # two standard errors of one boot: 18%
    assert judge(LATENCY, 0.05, BEFORE, [0.80], loud).outcome is Outcome.IMPROVEMENT
    assert judge(LATENCY, 0.05, BEFORE, [0.83], loud).outcome is Outcome.PASS
    assert judge(LATENCY, 0.25, BEFORE, [0.77], QUIET).outcome is Outcome.PASS


def test_evidence_grows_with_the_night_and_with_a_small_baseline():
    kind = PooledNoise(0.03**2, 30)
    assert judge(LATENCY, 0.05, BEFORE, [1.09] * 3, kind).outcome is Outcome.REGRESSION
    large = judge(LATENCY, 0.05, BEFORE, [1.09] * 3, kind, family=100_000)
    assert large.outcome is Outcome.INCONCLUSIVE
    assert large.detectable > judge(LATENCY, 0.05, BEFORE, [1.09] * 3, kind).detectable
    assert judge(LATENCY, 0.05, BEFORE[:2], [1.09] * 3, kind).outcome is Outcome.INCONCLUSIVE


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
    assert found == Noise(1.1, 2, pytest.approx(math.sqrt((10 * 0.04 + 2 * (0.1 / 1.1) ** 2) / 11)), found.note)
    assert found.note == "noise shrunk to its kind's"
    assert noise([1.0] * 5, QUIET, 0.05).note == ""
    assert noise([3.0], PooledNoise(0.0, 0), 0.05) == Noise(3.0, 1, 0.02, "noise assumed from the tolerance")
    assert noise([1.0] * 9 + [1.5], PooledNoise(0.01**2, 60), 0.05) == Noise(
        1.0, 9, pytest.approx(0.01 * math.sqrt(30 / 38))
    )
    assert Noise(1.0, 4, 0.02).error(12) == pytest.approx(0.02 * math.sqrt(1 / 12 + 1 / 4))


def test_a_metric_that_is_noisier_than_its_kind_has_its_own_noise():
    """As the pace of a server near its limit: its boots are no outliers, though each is by what its kind is used to."""
    apart = noise([0.9, 1.0, 1.1], QUIET, 0.05)
    assert apart == Noise(pytest.approx(1.0), 3, pytest.approx(0.1), "noisier than its kind", noisier=True)
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
    assert noise_module._mad([1.0, 3.0]) == pytest.approx(1.7725)
    eleven = [float(i) for i in range(11)]
    assert noise_module._mad(eleven) == pytest.approx(1.4826 * 11 / 10.2 * 3)


def test_ratios_are_recorded_in_x():
    for one in METRICS.values():
        if one.reference:
            assert (one.unit, one.factor, one.tolerance, one.gated) == ("x", 1, 0.05, False)
            assert one.of in METRICS


def test_metrics_of_a_kind_come_in_the_order_of_the_report():
    names = [metric.name for metric in metrics_of("startup")]
    assert names == [
        "weight_memory",
        "kv_capacity",
        "startup_memory",
        "boot_time",
        "load_time",
        "compile_time",
        "capture_time",
    ]
    assert metrics_of("nothing") == []


def test_repetitions_of_nothing_and_those_at_the_limit_are_steady():
    assert outlier([0.0, 0.0, 0.0]) is None
    assert outlier([1.0, 1.0, 1.25]) is None
    assert outlier([1.0, 1.0, 1.26]) == 2


def test_the_components_of_variance():
    # Within: (0.02 + 0.02) / 2 over two pairs; one boot alone has no spread.
    groups = [
        Samples([0.0], ["a"]),
        Samples([0.9, 1.1, 0.8, 1.2], ["a", "a", "b", "b"]),
        Samples([1.0, 1.0], ["a", "b"]),
    ]
    found = components(groups)
    assert found.within == pytest.approx(math.sqrt((0.02 + 0.08) / 2))
    assert found.between == 0.0
    assert (found.boots, found.machines) == (4, 2)
    apart = components([Samples([0.9, 0.9, 1.1, 1.1], ["a", "a", "b", "b"])])
    assert (apart.within, apart.between) == (0.0, pytest.approx(math.sqrt(0.04 / 2)))
    assert components([]) == Components(None, None, 0, 0, 0)


def test_samples_of_anybodys_files(tmp_path):
    path = tmp_path / "a.json"
    rounds = {"fullname": "r", "stats": {"data": [1.0, 2.0], "median": 1.5}}
    declared = {"fullname": "d", "stats": {"median": 1.5}, "extra_info": {"qps": 7, "name": "x"}}
    boots = [
        {"metrics": {"latency": 1, "unknown": 2}, "host_id": "h"},
        {"metrics": {"latency": 3}, "host_id": "i", "invalid": "hot"},
    ]
    ours = {"fullname": "o", "stats": {}, "extra_info": {"boots": boots}}
    path.write_text(json.dumps({"benchmarks": [rounds, declared, ours]}))
    qps = Metric("qps", "", 1, "higher", 0.05, True, (), "declared")
    expected = {
        "r": {results.DURATION: Samples([1.0, 2.0], ["", ""])},
        "d": {qps: Samples([7.0], [""])},
        "o": {LATENCY: Samples([1.0], ["h"])},
    }
    assert results.read(path, {"qps": "higher", "name": "lower", "absent": "equal"}) == expected
    assert results.read(path)["d"] == {results.DURATION: Samples([1.5], [""])}

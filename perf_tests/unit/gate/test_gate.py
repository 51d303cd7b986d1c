"""Verdicts of the gate: direction, tolerance, evidence, and what counts as no verdict."""

import itertools
import json
import math
import statistics
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.gate import comparison, sequential
from fixtures.gate.__main__ import main
from fixtures.gate.noise import Noise, PooledNoise, noise, pool
from fixtures.gate.results import Samples
from fixtures.gate.sequential import MAX_BOOTS, Step
from fixtures.gate.slow_boots import slow_boots
from fixtures.gate.verdict import Outcome, judge
from fixtures.metrics import METRICS
from fixtures.studies.gate import power, rivals
from fixtures.studies.gate.__main__ import main as study
from fixtures.studies.gate.components import components
from fixtures.studies.gate.power import World
from perf_tests.paths import ROOT

pytestmark = pytest.mark.cpu
positive = st.floats(1e-6, 1e9)
EXACT = ("completed", "input_tokens", "output_tokens", "model_error", "routed_tokens")
QUIET = PooledNoise(0.01**2, 30)


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_direction_of_every_metric(metric):
    """Three boots of twice as much are judged by what the metric's name promises, written out here a second time."""
    higher = "throughput" in metric.name or metric.name in ("kv_capacity", "goodput", "hbm_floor_share")
    tolerance = min(metric.tolerance, 0.3)
    doubled, halved = (judge(metric, tolerance, [1.0], [value] * 3, QUIET).outcome for value in (2.0, 0.5))
    better = Outcome.REGRESSION if metric.name in EXACT else Outcome.IMPROVEMENT
    assert doubled is (better if higher else Outcome.REGRESSION)
    assert halved is (Outcome.REGRESSION if higher or metric.name in EXACT else better)


@given(positive, st.floats(0.01, 0.5), st.sampled_from(list(METRICS.values())), st.integers(1, 5))
def test_no_change_passes(value, tolerance, metric, boots):
    verdict = judge(metric, tolerance, [value], [value] * boots, QUIET)
    assert verdict.outcome is Outcome.PASS
    assert verdict.change == pytest.approx(0, abs=1e-12)


@given(positive, st.floats(0.01, 0.5), st.floats(0, 10))
def test_no_change_for_the_worse_within_the_tolerance_is_ever_a_regression(value, tolerance, share):
    verdict = judge(METRICS["latency"], tolerance, [value] * 10, [value * (1 + share * tolerance)] * MAX_BOOTS, QUIET)
    if share < 1:
        assert verdict.outcome is Outcome.PASS
    assert verdict.change == pytest.approx(share * tolerance, rel=1e-6, abs=1e-9)
    assert (verdict.outcome is Outcome.REGRESSION) <= (share > sequential.AGREE * (1 - 1e-9))


def test_one_boot_is_suspicion_and_three_are_evidence():
    outcomes = [judge(METRICS["latency"], 0.05, [1.0] * 10, [1.3] * boots, QUIET) for boots in (1, 2, 3)]
    assert [v.outcome for v in outcomes] == [Outcome.INCONCLUSIVE, Outcome.INCONCLUSIVE, Outcome.REGRESSION]
    assert [v.suspicious for v in outcomes] == [True, True, False]
    assert "not yet confirmed" in outcomes[0].reason


def test_two_slow_boots_among_five_do_not_make_a_regression():
    current = [1.4, 1.4, 1.01, 0.99, 1.0]
    for boots in range(1, 6):
        assert judge(METRICS["latency"], 0.05, [1.0] * 10, current[:boots], QUIET).outcome is not Outcome.REGRESSION
    assert judge(METRICS["latency"], 0.05, [1.0] * 10, current, QUIET).outcome is Outcome.PASS


def test_noise_explains_what_is_within_it():
    loud = PooledNoise(0.10**2, 30)
    verdict = judge(METRICS["latency"], 0.05, [1.0] * 10, [1.07, 1.08, 1.09], loud)
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert judge(METRICS["latency"], 0.05, [1.0] * 10, [1.07, 1.08, 1.09], QUIET).outcome is Outcome.REGRESSION


def test_a_count_that_differs_needs_no_second_boot():
    verdict = judge(METRICS["completed"], 0.0, [100.0], [99.0])
    assert (verdict.outcome, verdict.reason) == (Outcome.REGRESSION, "99 instead of 100")


@given(
    st.lists(st.floats(0.5, 2), min_size=1, max_size=9),
    st.lists(st.floats(0.5, 2), min_size=1, max_size=5),
    st.floats(1e-3, 1e3),
)
def test_units_do_not_matter(baseline, current, scale):
    before = judge(METRICS["latency"], 0.05, baseline, current, QUIET)
    after = judge(METRICS["latency"], 0.05, [v * scale for v in baseline], [v * scale for v in current], QUIET)
    assert after.change == pytest.approx(before.change, rel=1e-6, abs=1e-9)
    if abs(before.change) > 0.07:
        assert after.outcome is before.outcome


@pytest.mark.parametrize("current", [[], [math.nan], [1.0, math.inf]])
def test_nothing_measured_is_inconclusive(current):
    verdict = judge(METRICS["latency"], 0.05, [1.0], current)
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert not verdict.suspicious


def test_no_baseline_is_said():
    assert judge(METRICS["latency"], 0.05, [], [1.0]).outcome is Outcome.NO_BASELINE


def test_few_boots_are_said_and_lean_on_their_kind():
    assert "shrunk to its kind's" in judge(METRICS["latency"], 0.05, [1.0, 1.01], [1.0], QUIET).reason
    assert "assumed from the tolerance" in judge(METRICS["latency"], 0.05, [1.0], [1.0]).reason


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


@given(st.floats(0.001, 0.1), st.integers(1, 20), st.floats(0.005, 0.1))
def test_what_is_detectable_shrinks_with_boots_and_noise(sigma, boots, tolerance):
    found = sequential.detectable(tolerance, Noise(1.0, boots, sigma))
    assert found > tolerance
    assert sequential.detectable(tolerance, Noise(1.0, boots + 1, sigma)) <= found
    assert sequential.detectable(tolerance, Noise(1.0, boots, sigma * 2)) > found


# -- operating characteristics, by simulation with fixed seeds ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("world", "metrics", "nights", "boots"),
    [
        (World(0.01), 40, 1000, 1.3),
        (World(0.01, slow_boots=0.05), 40, 1000, 1.4),
        (World(0.02), 40, 1500, 3.0),
        (World(0.02, slow_boots=0.05), 40, 1500, 3.0),
        (World(0.02, slow_boots=0.05), 200, 200, 4.5),
    ],
)
def test_false_alarms_and_cost_of_a_night_without_a_change(world, metrics, nights, boots):
    found = power.characteristics(world, metrics=metrics, nights=nights, seed=3)
    assert found.alarms_per_metric <= 0.001
    assert found.alarms_per_night <= 0.01
    assert found.boots <= boots


@pytest.mark.parametrize(
    ("cv", "boots", "most"), [(0.005, 10, 0.01), (0.005, 5, 0.02), (0.01, 5, 0.03), (0.01, 3, 0.08)]
)
def test_one_metric_that_is_noisier_than_its_kind_raises_few_alarms(cv, boots, most):
    """Judged by its kind's noise it raised one in 3 to 12% of nights."""
    found = power.characteristics(power.uneven(cv), baseline_boots=boots, nights=500, seed=3)
    assert found.alarms_per_night <= most


@pytest.mark.parametrize(("cv", "least"), [(0.005, 0.99), (0.01, 0.95), (0.02, 0.70)])
def test_a_regression_of_5_percent_is_found(cv, least):
    assert power.characteristics(World(cv), effect=0.05, nights=150, seed=4).alarms_per_metric >= least


@pytest.mark.parametrize("cv", [0.01, 0.02])
def test_the_detectable_effect_is_found_about_four_times_out_of_five(cv):
    effect = sequential.detectable(0.025, Noise(1.0, 10, cv))
    assert 0.6 < power.characteristics(World(cv), effect, nights=150, seed=5).alarms_per_metric < 0.95


def test_a_single_boot_never_decides_for_the_worse():
    known = power.baseline_noise(World(0.01).boots(np.random.default_rng(0), 40, 10), 0.025)
    steps, taken = power.night(np.random.default_rng(1), World(0.01), known, 0.5, 0.025, max_boots=1)
    assert (set(steps.tolist()), taken) == ({Step.OPEN}, 1)


def test_a_boot_that_is_slow_as_a_whole_is_found_and_a_regression_is_not_one():
    random = np.random.default_rng(0)
    changes = random.normal(0, 0.01, size=(12, 4))
    sigma = [0.01] * 12
    assert not slow_boots(changes, sigma, 0.025)
    assert not slow_boots(changes + 0.10, sigma, 0.025), "every boot is worse: that is no disturbance"
    changes[:3] += 0.10
    assert not slow_boots(changes, sigma, 0.025), "some metrics are worse in every boot: neither is that"
    changes[:, 2] += 0.10
    assert slow_boots(changes, sigma, 0.025) == {2: pytest.approx(0.10, abs=0.015)}
    assert not slow_boots(changes, sigma, 0.25), "too little to make anything suspicious"
    changes[4:, 3] = math.nan
    assert list(slow_boots(changes, sigma, 0.025)) == [2], "later boots measure less"
    assert not slow_boots(changes[:2], [0.01] * 2, 0.025), "two metrics tell nothing about a boot"


@given(st.integers(3, 12), st.integers(1, 5), st.floats(0.001, 0.05), st.floats(0, 0.7), st.integers(0, 1000))
def test_one_boot_always_stays(metrics, boots, sigma, missing, seed):
    random = np.random.default_rng(seed)
    changes = random.normal(0, 0.1, size=(metrics, boots))
    changes[random.random(changes.shape) < missing] = math.nan
    assert len(slow_boots(changes, [sigma] * metrics, 0.0)) < boots


def test_more_metrics_ask_for_more_evidence():
    assert [sequential.evidence(n) for n in (3, 4, 5, 9)] == [4.3, 4.1, 3.6, 3.6]
    assert sequential.evidence(5, 10) == 3.6
    normal = statistics.NormalDist()
    for family in (80, 200, 1000):
        assert normal.cdf(-sequential.evidence(5, family)) * family == pytest.approx(normal.cdf(-3.6) * 40, rel=1e-6)


def test_boots_are_judged_together_as_they_are_alone():
    random = np.random.default_rng(3)
    changes, sigma = random.normal(0.04, 0.02, size=(50, 4)), random.uniform(0.005, 0.03, 50)
    together = sequential.decide(changes, 0.025, sigma, np.full(50, 10))
    assert together.tolist() == [int(sequential.decide(changes[i], 0.025, sigma[i], 10)) for i in range(50)]
    assert len(set(together.tolist())) == 3


def test_variance_components_are_found():
    random = np.random.default_rng(5)
    hosts = [str(i) for i in range(8) for _ in range(4)]
    groups = []
    for _ in range(200):
        machines = np.repeat(random.normal(0, 0.03, 8), 4)
        groups.append(Samples((7 * (1 + machines + random.normal(0, 0.01, 32))).tolist(), hosts))
    found = components(groups)
    assert found.within == pytest.approx(0.01, rel=0.05)
    assert found.between == pytest.approx(0.03, rel=0.1)
    assert (found.cells, found.boots, found.machines) == (200, 32, 8)
    alone = components([Samples([1.0], ["a"])])
    assert (alone.within, alone.between) == (None, None)


def test_the_exact_distribution_of_mann_whitney():
    every = [
        sum(a > b for a in chosen for b in range(7) if b not in chosen)
        for chosen in itertools.combinations(range(7), 3)
    ]
    tail = rivals._upper_tail(3, 4)
    for u in range(13):
        assert tail[u] == pytest.approx(sum(one >= u for one in every) / len(every))


def test_what_other_rules_do_on_the_same_nights():
    rates = {rival.name: rivals.alarms(rival, World(0.02), nights=100)[1] for rival in rivals.RIVALS}
    assert rates["pytest-benchmark, mean:5%, one run against one"] > 0.5
    assert rates["beyond the 95th percentile of 10 boots"] > 0.9
    asv = next(rival for rival in rivals.RIVALS if rival.name.startswith("asv"))
    assert rivals.alarms(asv, World(0.01), effect=0.05, nights=50)[0] > 0.9


# -- the command -------------------------------------------------------------------------------------------------------------


def result(path, values, extra=None):
    stats = {"data": values, "median": statistics.median(values)}
    path.write_text(json.dumps({"benchmarks": [{"fullname": "test_x", "stats": stats, "extra_info": extra or {}}]}))
    return str(path)


def test_anybodys_files_are_compared_by_duration(tmp_path, capsys):
    before = result(tmp_path / "a.json", [1.0, 1.01, 0.99, 1.0, 1.02])
    assert main([before, result(tmp_path / "b.json", [1.01, 1.0, 0.99, 1.0, 1.0])]) == 0
    assert main([before, result(tmp_path / "c.json", [1.3, 1.31, 1.29, 1.3, 1.32])]) == 1
    assert "regression" in capsys.readouterr().out
    assert main([before, result(tmp_path / "d.json", [1.3])]) == 2, "one sample confirms nothing"


def test_declared_extra_info_is_compared_in_its_direction(tmp_path):
    before, after = (result(tmp_path / f"{n}.json", [1.0], {"tokens": n}) for n in (100, 200))
    assert main([before, after, "--direction", "tokens=higher"]) == 0
    assert main([before, after, "--direction", "tokens=equal"]) == 1
    assert main([before, after, "--direction", "tokens=lower"]) == 2


def test_our_own_baselines_compared_with_themselves_pass():
    path = str(ROOT / "baselines" / "h200x1" / "vllm-tp1-random" / "mixtral-8x7b.json")
    assert main([path, path]) == 0


def test_benchmarks_of_one_file_alone_are_listed(tmp_path):
    before = tmp_path / "a.json"
    before.write_text('{"benchmarks": []}')
    lines, missing = comparison.compare(before, tmp_path / result(tmp_path / "b.json", [1.0]), {})
    assert (lines, missing) == ([], [f"test_x: only in {tmp_path / 'b.json'}"])
    assert comparison.exit_status(lines) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "not valid JSON"), ("{}", "no list of benchmarks"), ('{"benchmarks": [1]}', r"benchmarks\[0\]: not a")],
)
def test_a_file_that_is_no_result_is_named(tmp_path, capsys, text, message):
    bad = tmp_path / "bad.json"
    bad.write_text(text)
    assert main([str(bad), str(bad)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {bad}")
    assert error.count("\n") == 1
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(error)


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        (["power", "--cv", "0.01", "--baseline-boots", "10", "--nights", "5"], ["40 metrics a night", "1.0%  10"]),
        (
            ["power", "--baselines", str(ROOT / "baselines" / "h200x1" / "vllm-tp1-random"), "--nights", "5"],
            ["latency ", "28 gated metrics"],
        ),
        (["rivals", "--nights", "20"], ["this gate", "pytest-benchmark", "asv"]),
    ],
)
def test_operating_characteristics_are_printed(capsys, arguments, lines):
    assert study(arguments) == 0
    printed = capsys.readouterr().out
    for line in lines:
        assert line in printed


def test_cells_with_few_boots_are_listed(capsys, tmp_path):
    data = json.loads((ROOT / "baselines" / "h200x1" / "vllm-tp1-random" / "llama-3.1-8b.json").read_text())
    for count, record in zip((1, 2, 3), data["benchmarks"][:3], strict=True):
        record["extra_info"]["boots"] = record["extra_info"]["boots"][:1] * count
    data["benchmarks"] = data["benchmarks"][:3]
    (tmp_path / "b.json").write_text(json.dumps(data))
    assert study(["power", "--baselines", str(tmp_path), "--nights", "2"]) == 0
    one, two, three = (record["fullname"] for record in data["benchmarks"])
    printed = capsys.readouterr().out
    assert f"1 of the 3 boots that make a beginning, 1 cells: {one}\n" in printed
    assert f"2 of the 3 boots that make a beginning, 1 cells: {two}\n" in printed
    assert three not in printed


def test_the_trade_off_goes_through_the_rule_that_is_used():
    choices = power.trade_off(nights=20)
    used = next(c for c in choices if (c.cv, c.max_boots, c.strictness) == (0.01, 5, 1.0))
    assert used.power > 0.9
    lenient, strict = (
        next(c for c in choices if (c.cv, c.max_boots, c.strictness) == (0.02, 5, s)) for s in (0.6, 1.4)
    )
    assert lenient.power > strict.power


def test_the_module_runs(tmp_path):
    path = result(tmp_path / "a.json", [1.0, 1.0, 1.0])
    done = subprocess.run(
        [sys.executable, "-m", "fixtures.gate", path, path], cwd=ROOT, capture_output=True, check=False
    )
    assert done.returncode == 0

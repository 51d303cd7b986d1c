"""Verdicts of the gate: direction, tolerance, evidence, and what counts as no verdict."""

import json
import math
import statistics
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.gate import comparison, power, sequential
from fixtures.gate.__main__ import main
from fixtures.gate.metric import METRICS
from fixtures.gate.noise import Kind, Noise, noise, pool
from fixtures.gate.power import World
from fixtures.gate.sequential import MAX_BOOTS, Step
from fixtures.gate.verdict import Outcome, judge
from perf_tests.harness.server_process import ROOT

pytestmark = pytest.mark.cpu
positive = st.floats(1e-6, 1e9)
EXACT = ("completed", "input_tokens", "output_tokens", "model_error")
QUIET = Kind(0.01**2, 30)


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
    assert (verdict.outcome is Outcome.REGRESSION) <= (share > sequential.AGREE)


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
    loud = Kind(0.10**2, 30)
    verdict = judge(METRICS["latency"], 0.05, [1.0] * 10, [1.07, 1.08, 1.09], loud)
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert judge(METRICS["latency"], 0.05, [1.0] * 10, [1.07, 1.08, 1.09], QUIET).outcome is Outcome.REGRESSION


def test_a_count_that_differs_needs_no_second_boot():
    verdict = judge(METRICS["completed"], 0.0, [100.0], [99.0])
    assert (verdict.outcome, verdict.reason) == (Outcome.REGRESSION, "99 instead of 100")


@given(
    st.lists(st.floats(0.5, 2), min_size=1, max_size=9), st.lists(st.floats(0.5, 2), min_size=1, max_size=5),
    st.floats(1e-3, 1e3),
)  # fmt: skip
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
    assert found.boots == 9
    assert found.centre == pytest.approx(1.0, abs=1.5 * cv)


@given(st.floats(0.001, 0.1), st.integers(1, 20), st.floats(0.005, 0.1))
def test_what_is_detectable_shrinks_with_boots_and_noise(sigma, boots, tolerance):
    found = sequential.detectable(tolerance, Noise(1.0, boots, sigma))
    assert found > tolerance
    assert sequential.detectable(tolerance, Noise(1.0, boots + 1, sigma)) <= found
    assert sequential.detectable(tolerance, Noise(1.0, boots, sigma * 2)) > found


# -- operating characteristics, by simulation with fixed seeds ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("world", "per_metric", "per_night", "boots"),
    [
        (World(0.01), 0.001, 0.01, 1.3),
        (World(0.01, slow_boots=0.05), 0.001, 0.01, 1.4),
        (World(0.02), 0.001, 0.0125, 3.0),
    ],
)
def test_false_alarms_and_cost_of_a_night_without_a_change(world, per_metric, per_night, boots):
    found = power.characteristics(world, nights=1500, seed=3)
    assert found.alarms_per_metric <= per_metric
    assert found.alarms_per_night <= per_night
    assert found.boots <= boots


@pytest.mark.parametrize(("cv", "least"), [(0.005, 0.99), (0.01, 0.95), (0.02, 0.68)])
def test_a_regression_of_5_percent_is_found(cv, least):
    assert power.characteristics(World(cv), effect=0.05, nights=150, seed=4).alarms_per_metric >= least


@pytest.mark.parametrize("cv", [0.01, 0.02])
def test_the_detectable_effect_is_found_about_four_times_out_of_five(cv):
    effect = sequential.detectable(0.025, Noise(1.0, 10, cv))
    assert 0.6 < power.characteristics(World(cv), effect, nights=150, seed=5).alarms_per_metric < 0.95


def test_a_single_boot_never_decides_for_the_worse():
    known = power.baseline_noise(World(0.01).boots(np.random.default_rng(0), 40, 10), 0.025)
    steps, taken = power.night(np.random.default_rng(1), World(0.01), known, 0.5, 0.025, max_boots=1)
    assert (set(steps), taken) == ({Step.OPEN}, 1)


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


def test_the_module_runs(tmp_path):
    path = result(tmp_path / "a.json", [1.0, 1.0, 1.0])
    done = subprocess.run(
        [sys.executable, "-m", "fixtures.gate", path, path], cwd=ROOT, capture_output=True, check=False
    )
    assert done.returncode == 0

"""Two engines side by side: the better one, its interval, and machines as blocks."""

import dataclasses
import json
import math
import random
import statistics

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fixtures.comparison.__main__ import main as set_side_by_side
from fixtures.comparison.engines import compare
from fixtures.comparison.student import student
from fixtures.gate.noise import PRIOR_DEGREES, REJECT, pool
from fixtures.gate.results import Samples
from fixtures.metrics import METRICS
from fixtures.report.engines import pairs
from perf_tests.documentation import evidence
from perf_tests.fakes.samples import dealt, results
from perf_tests.fakes.synthetic_run import synthetic_run

pytestmark = pytest.mark.cpu


def boots(values, hosts=None):
    return Samples(list(values), hosts or [""] * len(values))


def arm(values, cells=1, metric="latency", hosts=None):
    return {f"m/tp1/batch-{i}": {metric: boots(values, hosts)} for i in range(cells)}


def test_which_is_better_depends_on_the_metrics_direction():
    slow, fast = [1.0, 1.01, 0.99], [0.9, 0.91, 0.89]
    for metric, better in (("latency", 1), ("output_throughput", -1)):
        (found,) = compare(arm(slow, metric=metric), arm(fast, metric=metric))
        assert found.change == pytest.approx(-0.1)
        assert found.low < -0.1 < found.high < 0
        assert found.better == better
    (same,) = compare(arm(slow), arm(slow))
    assert (same.change, same.better) == (0, 0)
    assert compare(arm(slow), {"m/tp1/other": {"latency": boots(fast)}}) == []
    assert compare(arm([float("nan")]), arm(fast)) == []


@given(
    st.lists(st.floats(0.5, 2), min_size=2, max_size=5),
    st.lists(st.floats(0.5, 2), min_size=2, max_size=5),
    st.floats(1e-3, 1e3),
)
def test_units_do_not_matter_and_the_interval_holds_the_change(first, second, unit):
    (found,) = compare(arm(first), arm(second))
    (scaled,) = compare(arm([unit * v for v in first]), arm([unit * v for v in second]))
    assert found.low <= found.change <= found.high
    for key in ("change", "low", "high"):
        assert getattr(scaled, key) == pytest.approx(getattr(found, key), abs=1e-9)


def night(rng, level, drift, hosts, differ):
    """Boots of cells that differ by 1%, by the ``drift`` of their machine and, a machine in the i-th cell, by differ[i]."""
    cells = {}
    for i, own in enumerate(differ):
        values = [level * drift[host] * rng.gauss(1, own) * rng.gauss(1, 0.01) for host in hosts]
        cells[f"m/tp1/batch-{i}"] = {"latency": boots(values, hosts)}
    return cells


@pytest.mark.parametrize(("machines", "cells"), [(False, 14), (True, 14), (True, 4)])
def test_intervals_hold_the_true_change_about_19_times_out_of_20(machines, cells):
    """Simulated: boots differ by 1%, machines by 5%, where every machine measures both engines."""
    rng = random.Random(7)
    inside, widths, quiet = [], [], (0.0,) * cells
    for _ in range(60 * 14 // cells):
        hosts = ["a", "b", "c"] if machines else ["a"] * 3
        drift = {host: rng.gauss(1, 0.05) for host in hosts}
        for one in compare(night(rng, 1.0, drift, hosts, quiet), night(rng, 0.95, drift, hosts, quiet)):
            inside.append(one.low <= -0.05 <= one.high)
            widths.append(one.high - one.low)
            assert one.machines == (3 if machines else 0)
    assert 0.92 < statistics.fmean(inside) < 0.975
    assert statistics.median(widths) < 0.04, "what machines differ by drops out"


QUIET = 4 * ([0.99, 1.0, 1.01], [1.0, 1.02, 1.01], [0.97, 0.985, 0.98])
RATIOS = st.one_of(*(st.lists(st.floats(*ends), min_size=2, max_size=5) for ends in ((0.98, 1.02), (0.5, 2))))


def paired(blocks, order=None):
    """How a cell is compared where the engines' ratio on each machine is one of ``blocks``; in QUIET cells it hardly varies."""
    first, second = {}, {}
    for i, values in enumerate((blocks, *QUIET)):
        hosts = [f"machine-{j}" for j in range(len(values))]
        turns = order if order and not i else range(len(values))
        first[f"m/tp1/batch-{i}"] = {"latency": boots([1.0] * len(values), hosts)}
        second[f"m/tp1/batch-{i}"] = {"latency": boots([values[j] for j in turns], [hosts[j] for j in turns])}
    return compare(first, second)[0]


def explained(blocks):
    """Whether the noise of QUIET cells explains how ``blocks`` scatter."""
    middle, kind = statistics.median(blocks), pool([blocks, *QUIET])
    return max(abs(one / middle - 1) for one in blocks) <= REJECT * kind.variance**0.5


@pytest.mark.parametrize(
    ("blocks", "mean", "quantile"), [([1.650, 1.935, 1.559], 1.70741, 4.3027), ([1.0, 1.3], 1.14018, 12.7062)]
)
def test_a_machine_where_the_engines_differ_by_more_is_part_of_the_answer(blocks, mean, quantile):
    found = paired(blocks)
    assert found.machines == len(blocks)
    assert 1 + found.change == pytest.approx(mean, abs=1e-5)
    assert 1 + found.low < min(blocks) < max(blocks) < 1 + found.high
    factor = math.exp(quantile * statistics.stdev(map(math.log, blocks)) / len(blocks) ** 0.5)
    assert (mean / factor, mean * factor) == pytest.approx((1 + found.low, 1 + found.high), rel=1e-4)


@given(RATIOS, st.randoms(use_true_random=False))
@example([1.650, 1.935, 1.559], random.Random(1))
def test_every_machine_counts_and_their_order_does_not_matter(blocks, rng):
    order = rng.sample(range(len(blocks)), len(blocks))
    found = paired(blocks)
    mean = statistics.fmean if explained(blocks) else statistics.geometric_mean
    assert 1 + found.change == pytest.approx(mean(blocks))
    for other in (paired(blocks, order), paired([blocks[i] for i in order])):
        for key in ("change", "low", "high"):
            assert getattr(other, key) == pytest.approx(getattr(found, key), rel=1e-6, abs=1e-9)


@given(RATIOS.filter(explained))
@example([1.01, 1.0, 0.99])
def test_the_kinds_noise_speaks_for_a_cell_whose_machines_scatter_no_more(blocks):
    found, kind = paired(blocks), pool([blocks, *QUIET])
    mean, own, count = statistics.fmean(blocks), statistics.variance(blocks), len(blocks)
    weight = min(kind.degrees, PRIOR_DEGREES)
    own = (weight * kind.variance * mean**2 + (count - 1) * own) / (weight + count - 1)
    reach = student(kind.degrees) * (own / count) ** 0.5
    assert (found.high - found.low) / 2 == pytest.approx(reach, rel=1e-6, abs=1e-9)


def test_a_cell_whose_machines_differ_has_an_interval_of_its_own():
    """Simulated: machines differ in the engines' ratio by 10% in one cell, by 1% in the other 13."""
    rng, hosts = random.Random(7), ["a", "b", "c"]
    differs, others = [], []
    for _ in range(100):
        drift = {host: rng.gauss(1, 0.05) for host in hosts}
        second = night(rng, 0.95, drift, hosts, (0.1, *[0.01] * 13))
        for one in compare(night(rng, 1.0, drift, hosts, (0.0,) * 14), second):
            (differs if one.cell.endswith("-0") else others).append(one.low <= -0.05 <= one.high)
    assert 0.7 < statistics.fmean(differs) < 0.9, "all, unless three happen to be close together"
    assert 0.92 < statistics.fmean(others) < 0.975
    assert statistics.fmean(differs + others) > 0.93


def test_without_blocks_a_noisier_cell_has_its_own_noise():
    """Of the first engine the boots of one cell are ten times as far apart as the others'."""
    quiet, apart = [0.99, 1.0, 1.01], [0.9, 1.0, 1.1]
    first, second = arm(quiet, cells=12), arm(quiet, cells=12)
    calm = compare(first, second)[-1]
    first["m/tp1/batch-0"] = arm(apart)["m/tp1/batch-0"]
    noisy, *_ = compare(first, second)
    assert (calm.high - calm.low) / 2 == pytest.approx(student(2 * 12 * 2) * 0.01 * (2 / 3) ** 0.5, rel=0.02)
    # Two degrees of freedom, and beside its own noise the other engine's of the kind, to which this cell adds some.
    assert (noisy.high - noisy.low) / 2 == pytest.approx(student(2) * 0.1 / 3**0.5, rel=0.04)
    # Where machines are blocks, what they differ by drops out.
    hosts = ["a", "b", "c"]
    first["m/tp1/batch-0"] = arm(apart, hosts=hosts)["m/tp1/batch-0"]
    second["m/tp1/batch-0"] = arm([1.01 * v for v in apart], hosts=hosts)["m/tp1/batch-0"]
    paired_, *_ = compare(first, second)
    assert paired_.high - paired_.low < 0.02


def test_one_boot_each_is_judged_by_known_noise_or_the_tolerance():
    one, other = arm([1.0]), arm([0.95])
    (assumed,) = compare(one, other)
    assert assumed.better == 0, "5% of tolerance assumes 2% of noise"
    (known,) = compare(one, other, {"latency": [[1.0, 1.002, 0.998, 1.001]] * 3})
    assert known.better == 1


def test_recorded_boots_are_set_side_by_side_offline(tmp_path, capsys):
    for engine, factor in (("vllm", 1.0), ("sglang", 0.9)):
        data = json.loads((evidence.block("h200x1", "vllm") / "llama-3.1-8b.json").read_text())
        for benchmark in data["benchmarks"]:
            benchmark["fullname"] = engine + benchmark["fullname"].removeprefix("vllm")
            for boot in benchmark["extra_info"]["boots"]:
                if "latency" in boot["metrics"]:
                    boot["metrics"]["latency"] *= factor
        (tmp_path / engine).mkdir()
        (tmp_path / engine / "llama-3.1-8b.json").write_text(json.dumps(data))
    assert set_side_by_side([str(tmp_path / "vllm"), str(tmp_path / "sglang" / "llama-3.1-8b.json")]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert not any("only" in line for line in lines)
    changed = [line for line in lines if line[1] == "latency"]
    assert changed
    assert all(line[-1] == "second" and "-10.0%" in line for line in changed)
    assert all(line[-1] not in ("first", "second") for line in lines[2:] if line[1] != "latency")
    (tmp_path / "empty").mkdir()
    assert set_side_by_side([str(tmp_path / "vllm"), str(tmp_path / "empty")]) == 2
    assert "no *.json below this directory" in capsys.readouterr().err


def test_what_only_one_engine_has_is_named(tmp_path, capsys):
    both = {"latency": [1.0, 1.1]}
    first = results(
        tmp_path / "a.json", {"one/m/batch": dealt(both | {"ttft_p50": [1.0, 1.0]}), "one/m/gone": dealt(both)}
    )
    second = results(tmp_path / "b.json", {"two/m/batch": dealt(both), "two/m/new": dealt(both)})
    assert set_side_by_side([str(first), str(second)]) == 0
    assert capsys.readouterr().out.splitlines()[-3:] == [
        f"m/batch: ttft_p50: only in {first}",
        f"m/gone: only in {first}",
        f"m/new: only in {second}",
    ]


def test_one_model_spread_in_two_ways_is_set_side_by_side(tmp_path, capsys):
    split = results(tmp_path / "a.json", {"e/m/tp4/batch": dealt({"latency": [1.0, 1.01]})})
    whole = results(tmp_path / "b.json", {"e/m/tp4ep4/batch": dealt({"latency": [1.1, 1.11]})})
    assert set_side_by_side([str(split), str(whole)]) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.startswith("m/batch")
    assert "+10.0%" in line
    both = results(tmp_path / "c.json", {f"e/m/{spread}/batch": dealt({"latency": [1.0]}) for spread in ("tp1", "tp2")})
    assert set_side_by_side([str(split), str(both)]) == 2
    assert "m is spread in several ways, tp2 is one of them; name one's file" in capsys.readouterr().err


def test_single_boots_have_the_noise_of_other_baselines(tmp_path, capsys):
    first, second = (
        results(tmp_path / f"{name}.json", {f"{name}/m/tp1/batch": dealt({"latency": [value]})})
        for name, value in (("one", 1.0), ("two", 1.02))
    )
    others = {f"e/m/tp2/batch-{i}": dealt({"latency": [1.0, 1.001, 0.999]}) for i in range(9)}
    quiet = results(tmp_path / "noise.json", others)
    assert set_side_by_side([str(first), str(second)]) == 0
    assert "second" not in capsys.readouterr().out.splitlines()[-1].split()
    assert set_side_by_side([str(first), str(second), "--noise", str(quiet)]) == 0
    assert capsys.readouterr().out.splitlines()[-1].split()[-1] == "first"


def test_a_directory_of_two_engines_is_not_taken_for_one(tmp_path, capsys):
    one = results(tmp_path / "a.json", {"one/m/batch": dealt({"latency": [1.0]})})
    results(tmp_path / "b.json", {"two/m/batch": dealt({"latency": [2.0]})})
    assert set_side_by_side([str(one), str(tmp_path)]) == 2
    assert (
        capsys.readouterr().err == f"error: {tmp_path}: m/batch of two engines; name one engine's file or directory\n"
    )


def test_a_run_of_two_engines_is_set_side_by_side():
    run = synthetic_run(cells=8, models=("llama-3.1-8b-twin",))
    (pair,) = pairs(run)
    assert (pair.first, pair.second) == ("vllm", "sglang")
    assert {one.cell for one in pair.differences} == {f"llama-3.1-8b-twin/tp1/batch-{2**i}" for i in range(4)}
    for one in pair.differences:
        assert METRICS[one.metric]
        assert abs(one.change) < 0.1
    assert [(one.what, one.first, one.second) for one in pair.executions] == [("version", "0.26.0", "0.26.0")]
    new = dataclasses.replace(run, cells=tuple(dataclasses.replace(cell, judged=()) for cell in run.cells))
    assert len(pairs(new)[0].differences) == len(pair.differences), "without a baseline"
    unknown = [dataclasses.replace(one, known=()) for cell in run.cells for one in cell.judged]
    assert pairs(
        dataclasses.replace(run, cells=tuple(dataclasses.replace(c, judged=tuple(unknown)) for c in run.cells))
    )
    alone = tuple(block for block in run.blocks if block.engine == "vllm")
    cells = tuple(cell for cell in run.cells if cell.block == alone[0].id)
    assert pairs(dataclasses.replace(run, blocks=alone, cells=cells)) == []


def test_what_only_one_engine_says_of_its_execution_is_shown_beside_nothing():
    """As of a run that is older than a key: the model runner is named since a release of the suite."""
    run = synthetic_run(cells=2, models=("llama-3.1-8b-twin",))

    def named(cell):
        said = {"execution": {"model runner": "V2"}} if cell.id.startswith("vllm/") else {}
        return dataclasses.replace(
            cell,
            boots=tuple(dataclasses.replace(boot, provenance=boot.provenance | said) for boot in cell.boots),
        )

    (pair,) = pairs(dataclasses.replace(run, cells=tuple(map(named, run.cells))))
    assert ("model runner", "V2", "") in [(one.what, one.first, one.second) for one in pair.executions]

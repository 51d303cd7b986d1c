"""Two files compared, this suite's or anybody's, and what ``python -m fixtures.gate`` prints."""

import json
import math
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.errors import UsageError
from fixtures.gate import comparison
from fixtures.gate.__main__ import main
from fixtures.gate.verdict import Outcome
from perf_tests.documentation import evidence
from perf_tests.fakes.samples import dealt, results
from perf_tests.paths import ROOT

pytestmark = pytest.mark.cpu


def result(path, values, extra=None, name="test_x", rounds=True):
    stats = {"data": values if rounds else None, "median": statistics.median(values)}
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"benchmarks": [{"fullname": name, "stats": stats, "extra_info": extra or {}}]}))
    return str(path)


def runs(directory, values, key="x"):
    """A directory of runs, each with one value under a key."""
    for i, value in enumerate(values):
        result(directory / f"{i}.json", [1.0, 1.0 + i / 1000], {key: value})
    return str(directory)


def compared(before, after, directions=None, tolerance=None):
    """The verdicts by benchmark and metric, what is new, and the exit status."""
    lines, new = comparison.compare(Path(before), Path(after), directions or {}, tolerance)
    return {(line.benchmark, line.metric.name): line.verdict for line in lines}, new, comparison.exit_status(lines)


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


def test_equal_is_equal_whatever_is_tolerated_of_others(tmp_path):
    before, after = (result(tmp_path / f"{n}.json", [1.0], {"chunks": n}) for n in (54, 55))
    for more in ([], ["--tolerance", "0.5"]):
        assert main([before, after, "--direction", "chunks=equal", *more]) == 1
        assert main([before, before, "--direction", "chunks=equal", *more]) == 0
    several = runs(tmp_path / "several", [54, 54, 55, 54], "chunks")
    verdict = compared(before, several, {"chunks": "equal"})[0]["test_x", "chunks"]
    assert (verdict.outcome, verdict.reason) == (Outcome.REGRESSION, "55 instead of 54"), "one of four"
    assert compared(several, several, {"chunks": "equal"})[2] == 0, "what the baseline itself has had"


@pytest.mark.parametrize(
    ("name", "lost"),
    [
        ("other", {("test_x", "everything"): "not in {after}", ("other", "duration"): None}),
        ("test_x", {("test_x", "duration"): None}),
    ],
)
def test_what_only_the_baseline_has_is_named_and_no_pass(tmp_path, name, lost):
    before, after = result(tmp_path / "a.json", [1.0] * 3), result(tmp_path / "b.json", [1.0] * 3, name=name)
    verdicts, new, status = compared(before, after)
    for key, verdict in verdicts.items():
        reason = lost[key]
        assert verdict.outcome is (Outcome.INCONCLUSIVE if reason else Outcome.PASS)
        assert not reason or verdict.reason == reason.format(after=after)
    assert new == ([f"{name}: only in {after}"] if name != "test_x" else [])
    assert status == (2 if name != "test_x" else 0)


def test_a_metric_that_vanished_is_named_beside_those_that_did_not(tmp_path):
    cell = {"latency": [1.0] * 3, "completed": [4.0] * 3}
    before = results(tmp_path / "a.json", {"x": dealt(cell | {"kv_capacity": [9.0] * 3}), "y": dealt(cell)})
    after = results(tmp_path / "b.json", {"x": dealt(cell), "y": dealt(cell, invalid="GPU 0 is in use")})
    verdicts, new, status = compared(before, after)
    assert {key: verdict.reason for key, verdict in verdicts.items() if verdict.outcome is not Outcome.PASS} == {
        ("x", "kv_capacity"): f"not in {after}",
        ("y", "latency"): f"{after}: every boot is invalid: GPU 0 is in use",
        ("y", "completed"): f"{after}: every boot is invalid: GPU 0 is in use",
    }
    assert (new, status) == ([], 2)
    # A regression beside it is one all the same.
    slow = results(tmp_path / "c.json", {"x": dealt(cell | {"latency": [2.0] * 3})})
    assert compared(before, slow)[2] == 1


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"fingerprint": {"engine": "vllm", "dtype": "float16"}}, "not comparable: fingerprint.dtype: None -> float16"),
        ({"fingerprint": {"engine": "sglang"}}, "not comparable: fingerprint.engine: vllm -> sglang"),
        ({"workload": {"kind": "batch", "input_len": 64}}, "not comparable: workload.input_len: None -> 64"),
        (
            {"fingerprint": dict.fromkeys("abc", "1\n2")},
            "not comparable: fingerprint.a: None -> 1 2; fingerprint.b: None -> 1 2; fingerprint.c: None -> 1 2; and 1 more",
        ),
    ],
)
def test_what_was_measured_otherwise_is_not_compared(tmp_path, changed, reason):
    """Be it as fast: another precision or another length is another thing."""
    cells = {"x": dealt({"latency": [1.0] * 3})}
    before, after = results(tmp_path / "a.json", cells), results(tmp_path / "b.json", cells, **changed)
    verdicts, new, status = compared(before, after)
    assert ({key: one.reason for key, one in verdicts.items()}, new, status) == ({("x", "everything"): reason}, [], 2)
    both = tmp_path / "runs"
    both.mkdir()
    for i, path in enumerate((before, after)):
        boots = json.loads(path.read_text())
        for boot in boots["benchmarks"][0]["extra_info"]["boots"]:
            boot["boot"] += f" of {i}"
        (both / path.name).write_text(json.dumps(boots))
    with pytest.raises(UsageError, match=r"b\.json: x: not measured like the runs before it: "):
        compared(both, before)


def test_a_file_without_a_fingerprint_is_said_to_have_none(tmp_path):
    cells = {"x": dealt({"latency": [1.0] * 3})}
    before, after = results(tmp_path / "a.json", cells), tmp_path / "b.json"
    after.write_text(json.dumps(json.loads(before.read_text()) | {"machine_info": {}}))
    _, new, status = compared(before, after)
    assert (new, status) == (
        [f"{after}: no fingerprint, as baselines have one: nothing tells whether both are of one deployment"],
        0,
    )


def test_a_direction_is_of_something_that_is_there(tmp_path, capsys):
    before = result(tmp_path / "a.json", [1.0] * 3, {"tps": "1000.0"})
    after = result(tmp_path / "b.json", [1.0] * 3, {"tps": "500.0"})
    assert main([before, after, "--direction", "tsp=higher"]) == 2
    assert f"error: --direction: tsp: no benchmark of {before} has this" in capsys.readouterr().err
    assert main([before, after, "--direction", "tps=higher"]) == 2, "one value confirms nothing"
    assert main([after, before, "--direction", "tps=higher"]) == 0
    # Another benchmark has no such entry: there the durations are judged, and where it went missing nothing is.
    bare = result(tmp_path / "c.json", [1.0] * 3)
    verdicts, _, status = compared(before, bare, {"tps": "higher"})
    assert ({key: one.reason for key, one in verdicts.items()}, status) == ({("test_x", "tps"): f"not in {bare}"}, 2)
    with pytest.raises(UsageError, match="no benchmark of .*c.json has this"):
        compared(bare, before, {"tps": "higher"})


@pytest.mark.parametrize("number", [2**53 + 1, 10**30 + 1, str(2**53 + 1), -(2**53) - 1])
def test_digits_that_would_be_lost_are_not_called_equal(tmp_path, number):
    one, other = (result(tmp_path / f"{i}.json", [1.0] * 3, {"sum": value}) for i, value in enumerate((2**53, number)))
    with pytest.raises(
        UsageError, match=r"test_x: extra_info\.sum: of whole numbers beyond 9,007,199,254,740,992 not every"
    ):
        compared(one, other, {"sum": "equal"})
    assert compared(one, one, {"sum": "equal"})[2] == 0
    assert compared(other, other, {"sum": "lower"})[2] == 0


def test_a_key_may_hold_an_equals_sign_and_a_name_a_line_end(tmp_path, capsys):
    path = result(tmp_path / "a.json", [1.0] * 3, {"p99[rate=4]": 5}, name="test_x[a\nb]")
    assert main([path, path, "--direction", "p99[rate=4]=lower"]) == 0
    (row,) = [line for line in capsys.readouterr().out.splitlines() if "p99[rate=4]" in line]
    assert row.startswith("test_x[a b] ")


def test_nan_matters_where_it_is_judged(tmp_path):
    odd = result(tmp_path / "a.json", [1.0] * 3, {"tpot": math.nan, "tps": 5})
    assert main([odd, odd]) == 0
    assert main([odd, odd, "--direction", "tps=higher"]) == 0
    verdicts, _, status = compared(odd, odd, {"tps": "higher", "tpot": "lower"})
    assert (verdicts["test_x", "tpot"].reason, status) == (f"{odd}: extra_info.tpot is NaN", 2)
    assert verdicts["test_x", "tps"].outcome is Outcome.PASS


@pytest.mark.parametrize(
    ("before", "after", "direction", "outcome", "change"),
    [
        (-2, -5, "higher", Outcome.REGRESSION, -1.5),
        (-5, -2, "higher", Outcome.IMPROVEMENT, 0.6),
        (-2, -5, "lower", Outcome.IMPROVEMENT, -1.5),
        (-5, -2, "lower", Outcome.REGRESSION, 0.6),
        (-5, 2, "higher", Outcome.IMPROVEMENT, 1.4),
        (-5, -5.1, "higher", Outcome.PASS, -0.02),
        (-5, -5, "lower", Outcome.PASS, 0.0),
    ],
)
def test_negative_values_are_compared_by_distance(tmp_path, before, after, direction, outcome, change):
    first, second = runs(tmp_path / "a", [before] * 4), runs(tmp_path / "b", [after] * 3)
    verdict = compared(first, second, {"x": direction})[0]["test_x", "x"]
    assert verdict.outcome is outcome
    assert (verdict.value, verdict.baseline, verdict.change) == pytest.approx((after, before, change))


def test_values_on_both_sides_of_zero(tmp_path):
    """Their mean may be zero: distances count relative to how far they are from it."""
    both, worse = runs(tmp_path / "a", [-1, 1, -1, 1]), runs(tmp_path / "b", [9, 11, 9, 11])
    assert compared(both, both, {"x": "lower"})[2] == 0
    verdict = compared(both, worse, {"x": "lower"})[0]["test_x", "x"]
    assert (verdict.outcome, verdict.baseline) == (Outcome.REGRESSION, pytest.approx(0, abs=0.5))


def test_tolerances_of_nothing_and_of_more_than_everything(tmp_path):
    before = result(tmp_path / "a.json", [1.0] * 5)
    slow = result(tmp_path / "b.json", [2.0] * 5, {"tps": 1})
    assert main([before, before, "--tolerance", "0"]) == 0
    assert main([before, result(tmp_path / "c.json", [1.001] * 5), "--tolerance", "0"]) == 1
    assert main([before, slow, "--tolerance", "1.5"]) == 0
    assert main([before, slow, "--tolerance", "0.5"]) == 1
    with pytest.raises(UsageError, match="--tolerance: 1: of tps higher is better: give less than 1"):
        compared(slow, slow, {"tps": "higher"}, 1.0)


@pytest.mark.parametrize("text", ["-0.1", "nan", "inf", "x"])
def test_what_is_no_tolerance(text, capsys):
    with pytest.raises(SystemExit):
        main(["a", "b", "--tolerance", text])
    assert "expected a number of 0 or more" in capsys.readouterr().err


def test_a_file_without_rounds_says_how_to_keep_them(tmp_path):
    before = result(tmp_path / "a.json", [1.0] * 5, rounds=False)
    slow = result(tmp_path / "b.json", [1.3] * 5, rounds=False)
    verdict = compared(before, slow)[0]["test_x", "duration"]
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert (
        "a file without rounds is one value: keep them with --benchmark-save-data, or name a directory of 3 runs or more"
        in verdict.reason
    )
    # Rounds on one side alone are one value: their median.
    assert (
        compared(before, result(tmp_path / "c.json", [1.3] * 5))[0]["test_x", "duration"].outcome
        is Outcome.INCONCLUSIVE
    )
    assert compared(before, before)[2] == 0


@pytest.mark.parametrize(
    ("slow", "outcome"), [([1.3, 1.31, 1.29], Outcome.REGRESSION), ([1.3, 1.31], Outcome.INCONCLUSIVE)]
)
def test_one_value_a_run_is_judged_over_several_runs(tmp_path, slow, outcome):
    before = runs(tmp_path / "a", [1.0, 1.01, 0.99, 1.0])
    verdict = compared(before, runs(tmp_path / "b", slow), {"x": "lower"})[0]["test_x", "x"]
    assert verdict.outcome is outcome
    assert ("values of 3 runs or more can confirm it" in verdict.reason) is (outcome is Outcome.INCONCLUSIVE)


@pytest.mark.parametrize(
    ("slow", "outcome"),
    [
        ([1.3, 1.3, 1.5], Outcome.REGRESSION),
        ([0.1, 1.3, 1.3, 1.3], Outcome.REGRESSION),
        ([0.1, 1.3, 1.3], Outcome.INCONCLUSIVE),
        ([1.0, 1.0, 5.0], Outcome.PASS),
    ],
)
def test_a_value_that_is_far_better_hides_none_that_are_worse(tmp_path, slow, outcome):
    before = result(tmp_path / "a.json", [1.0, 1.01, 0.99, 1.0, 1.01])
    assert compared(before, result(tmp_path / "b.json", slow))[0]["test_x", "duration"].outcome is outcome


@pytest.mark.parametrize("one", [0.01, 100.0])
def test_one_far_off_round_of_the_baseline_moves_nothing(tmp_path, one):
    before = result(tmp_path / "a.json", [1.0, 1.01, 0.99, 1.0, 1.01, 0.99, 1.0, one])
    outcomes = [
        compared(before, result(tmp_path / "b.json", [value] * count))[0]["test_x", "duration"].outcome
        for value, count in ((1.0, 1), (1.0, 3), (1.4, 1), (1.4, 3))
    ]
    assert outcomes == [Outcome.PASS, Outcome.PASS, Outcome.INCONCLUSIVE, Outcome.REGRESSION]


def test_what_is_judged_by_its_own_value_is_so_here_too(tmp_path):
    cell = {"check_time": [1.0] * 3}
    before = results(tmp_path / "a.json", {"x": dealt(cell | {"output_difference": [0.001] * 3})})
    for values, status in (([0.004] * 3, 0), ([0.0, 0.0, 0.06], 1)):
        after = results(tmp_path / "b.json", {"x": dealt(cell | {"output_difference": values})})
        assert compared(before, after)[2] == status
        assert compared(results(tmp_path / "c.json", {"x": dealt(cell)}), after)[2] == status, "without a baseline"
    assert compared(before, results(tmp_path / "d.json", {"x": dealt(cell)}))[2] == 2


def test_what_is_derived_is_judged_where_nothing_observes_it(tmp_path):
    derived, observed = {"decode_step": [0.01] * 3}, {"tpot_p50": [0.01] * 3}
    for cell, judged in ((derived, "decode_step"), (derived | observed, "tpot_p50")):
        path = results(tmp_path / "a.json", {"x": dealt(cell)})
        assert [name for _, name in compared(path, path)[0]] == [judged]


def test_energy_is_judged_in_cells_that_are_measured_for_it(tmp_path):
    for kind, judged in (("energy", {"energy_per_token": Outcome.REGRESSION}), ("online", {})):
        files = [
            results(tmp_path / f"{name}.json", {"x": dealt({"energy_per_token": [value] * 3})}, workload={"kind": kind})
            for name, value in (("a", 1.0), ("b", 1.1))
        ]
        assert {name: verdict.outcome for (_, name), verdict in compared(*files)[0].items()} == judged


def test_a_direction_is_not_of_what_this_suite_judges_anyway(tmp_path):
    path = results(tmp_path / "a.json", {"x": dealt({"latency": [1.0] * 3})})
    with pytest.raises(UsageError, match="--direction: latency: no benchmark"):
        compared(path, path, {"latency": "higher"})


@given(st.lists(st.floats(0.1, 10), min_size=1, max_size=30), st.floats(0, 2))
def test_rounds_against_themselves_are_no_change_however_skewed(tmp_path_factory, values, tolerance):
    path = result(tmp_path_factory.mktemp("skewed") / "a.json", values)
    verdicts, _, status = compared(path, path, tolerance=tolerance)
    assert (verdicts["test_x", "duration"].change, status) == (pytest.approx(0, abs=1e-6), 0)


def test_recorded_boots_compared_with_themselves_pass():
    path = str(evidence.block("h200x1", "vllm") / "mixtral-8x7b.json")
    assert main([path, path]) == 0


def test_benchmarks_of_one_file_alone_are_listed(tmp_path):
    before = tmp_path / "a.json"
    before.write_text('{"benchmarks": []}')
    lines, missing = comparison.compare(before, tmp_path / result(tmp_path / "b.json", [1.0]), {})
    assert (lines, missing) == ([], [f"test_x: only in {tmp_path / 'b.json'}"])
    assert comparison.exit_status(lines) == 2


@pytest.mark.parametrize("values", [[1.0, 0.0, 1e-300], [1.0, 1.0, 1e-300], [1e60, 1e-60, 1e-60], [-1e60, 1e-60, 1.0]])
def test_a_baseline_whose_values_are_of_different_sizes_is_inconclusive(tmp_path, values):
    """Squares of their ratios are no numbers."""
    before = result(tmp_path / "a.json", values)
    verdicts, _, status = compared(before, result(tmp_path / "b.json", [1.0, 1.01, 0.99]))
    (found,) = verdicts.values()
    assert status == 2
    assert found.outcome is Outcome.INCONCLUSIVE
    assert "no values of one metric" in found.reason
    assert f"{tmp_path / 'a.json'}: from " in found.reason


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


def test_batches_are_judged_without_the_noise_of_what_arrives_at_a_rate(tmp_path):
    apart = {"batch-1": 0.001, "batch-8": 0.001, "online-8": 0.03}

    def written(name):
        boots = {cell: dealt({"tpot_p50": [1 - by, 1.0, 1 + by] * 2}, "a") for cell, by in apart.items()}
        return results(tmp_path / name, boots, kinds={"online-8": "online"})

    verdicts, _, _ = compared(written("a.json"), written("b.json"))
    found = {cell: verdict.detectable for (cell, _), verdict in verdicts.items()}
    assert found["batch-1"] == found["batch-8"] < 0.015
    assert found["online-8"] > 0.05

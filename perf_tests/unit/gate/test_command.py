"""What ``python -m fixtures.gate`` prints."""

import pytest

from fixtures.gate import comparison
from fixtures.gate.__main__ import main
from fixtures.gate.noise import pool
from fixtures.gate.verdict import Outcome, conclude, standard
from fixtures.metrics import METRICS
from fixtures.studies.gate.__main__ import main as study
from perf_tests.fakes.samples import dealt, results

pytestmark = pytest.mark.cpu


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["power", "--nights", "0"], "--baseline-boots, --max-boots and --nights: expected positive numbers"),
        (["power", "--max-boots", "0"], "--baseline-boots, --max-boots and --nights: expected positive numbers"),
        (["power", "--baseline-boots", "0"], "--baseline-boots, --max-boots and --nights: expected positive numbers"),
        (["rivals", "--nights", "19"], "--nights: expected 20 or more"),
        (["a", "b", "--direction", "x=up"], "--direction: expected KEY=lower, KEY=higher or KEY=equal, found 'x=up'"),
        (["a", "b", "--direction", "x=lower", "--direction", "x=higher"], "--direction: x: both lower and higher"),
        (
            ["a", "b", "--direction", "=lower"],
            "--direction: expected KEY=lower, KEY=higher or KEY=equal, found '=lower'",
        ),
    ],
)
def test_mistakes_are_one_line(capsys, arguments, message):
    assert (study if arguments[0] in ("power", "rivals") else main)(arguments) == 2
    assert capsys.readouterr().err == f"error: {message}\n"


def test_a_tolerance_for_all(tmp_path):
    before = results(tmp_path / "a.json", {"x": dealt({"latency": [1.0] * 3})})
    after = results(tmp_path / "b.json", {"x": dealt({"latency": [1.3] * 3})})
    assert main([str(before), str(after)]) == 1
    assert main([str(before), str(after), "--tolerance", "0.4"]) == 0


def test_every_column_of_a_comparison(tmp_path, capsys):
    before = results(tmp_path / "a.json", {"x": dealt({"latency": [1.0] * 3}), "gone": dealt({"latency": [1.0]})})
    after = results(tmp_path / "b.json", {"x": dealt({"latency": [2.0] * 3, "kv_capacity": [7.0] * 3})})
    assert main([str(before), str(after)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["benchmark", "metric", "baseline", "current", "change", "verdict"]
    latency, gone, new = lines[2:]
    assert latency.split()[:7] == ["x", "latency", "1", "2", "+100.0%", "regression", "worse"]
    assert gone.split() == ["gone", "everything", "-", "-", "inconclusive", "not", "in", str(after)]
    assert new == f"x kv_capacity: only in {after}"


def test_a_comparison_takes_its_own_tolerance_and_the_size_of_the_night(tmp_path):
    names = [f"cell-{i}" for i in range(60)]
    values = [1.02, 0.98]
    before = results(
        tmp_path / "a.json",
        {name: dealt({"latency": values, "completed": [8.0] * 2, "input_tokens": [9.0] * 2}) for name in names},
    )
    slower = {name: dealt({"latency": [1.5] * 3, "completed": [8.0] * 3, "input_tokens": [9.0] * 3}) for name in names}
    after = results(tmp_path / "b.json", slower | {"new": dealt({"latency": [1.0]})})
    lines, missing = comparison.compare(before, after, {})
    assert missing == [f"new: only in {after}"]
    assert [line.benchmark for line in lines if line.metric.name == "latency"] == names
    against = standard(METRICS["latency"], METRICS["latency"].tolerance, values, pool([values] * 60))
    expected = conclude(against, [1.5] * 3, 60, max_boots=3)
    assert {line.verdict for line in lines if line.metric.name == "latency"} == {expected}
    assert expected.detectable > conclude(against, [1.5] * 3, max_boots=3).detectable, "a larger family"
    assert expected.detectable > conclude(against, [1.5] * 3, 60).detectable, "no more values will come"
    assert comparison.exit_status(lines) == 1
    lenient, _ = comparison.compare(before, after, {}, tolerance=0.6)
    assert {line.verdict.outcome for line in lenient} == {Outcome.PASS}
    faster = results(tmp_path / "c.json", {names[0]: dealt({"latency": [0.5], "completed": [8.0]})})
    better = [line for line in comparison.compare(before, faster, {})[0] if line.benchmark == names[0]]
    assert [line.verdict.outcome for line in better] == [Outcome.IMPROVEMENT, Outcome.PASS, Outcome.INCONCLUSIVE]
    assert better[0].verdict.detectable is None
    assert better[2].verdict.reason == f"not in {faster}", "input_tokens were no longer counted"

"""What ``python -m fixtures.gate`` prints, and the rules that it is held against.

Simulated nights have fixed seeds, so all of it is known; after a change that is meant, ``python -m
perf_tests.unit.gate.test_command`` writes the golden texts anew.
"""

import contextlib
import io
import json
from pathlib import Path

import numpy as np
import pytest

from fixtures.gate import comparison, sequential
from fixtures.gate.__main__ import main
from fixtures.gate.noise import PooledNoise, noise, pool
from fixtures.gate.verdict import Outcome, judge
from fixtures.metrics import METRICS
from fixtures.studies.gate import rivals
from fixtures.studies.gate.__main__ import main as study
from perf_tests.paths import GOLDEN

pytestmark = pytest.mark.cpu
COMMANDS = {
    "gate_power": [
        "power",
        "--nights",
        "40",
        "--cv",
        "0.02",
        "--baseline-boots",
        "4",
        "--max-boots",
        "4",
        "--tolerance",
        "0.05",
    ],
    "gate_committed": ["power", "--nights", "60", "--baselines"],
    "gate_rivals": ["rivals", "--nights", "120"],
    "gate_trade_off": ["trade-off", "--nights", "10"],
}


def boots(values, hosts=("a", "b"), invalid=""):
    """Boots of a cell by the values of each metric, dealt over hosts."""
    count = len(next(iter(values.values())))
    return [
        {"host_id": hosts[i % len(hosts)], "invalid": invalid, "metrics": {name: v[i] for name, v in values.items()}}
        for i in range(count)
    ]


def write(path, cells):
    """A file of this suite's kind: boots by the cell's name."""
    entries = [{"fullname": name, "stats": {}, "extra_info": {"boots": found}} for name, found in cells.items()]
    path.write_text(json.dumps({"benchmarks": entries}))
    return path


def baselines(directory):
    """Two cells of one file and one of another, with metrics that are gated, recorded, counted and all zero."""
    random = np.random.default_rng(4)
    calm, loud = (random.normal(5.0, 5.0 * cv, 9).tolist() for cv in (0.004, 0.03))
    one = boots({"latency": calm, "tpot_p50": loud, "completed": [8.0] * 9, "goodput": [0.0] * 9})
    two = boots({"latency": [v * 3 for v in loud], "weight_memory": [7e9] * 9}, hosts=("a",))
    write(directory / "a.json", {"batch-1": one, "batch-8": two})
    write(
        directory / "b.json",
        {"startup": boots({"weight_memory": [9e9]}) + boots({"weight_memory": [1e9]}, invalid="hot")},
    )
    return directory


def printed(name, directory):
    arguments = COMMANDS[name] + ([str(baselines(directory))] if COMMANDS[name][-1] == "--baselines" else [])
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        assert study(arguments) == 0
    return text.getvalue()


@pytest.mark.parametrize("name", COMMANDS)
def test_what_is_printed(name, tmp_path):
    assert printed(name, tmp_path) == (GOLDEN / f"{name}.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["power", "--nights", "0"], "--baseline-boots, --max-boots and --nights: expected positive numbers"),
        (["power", "--max-boots", "0"], "--baseline-boots, --max-boots and --nights: expected positive numbers"),
        (["power", "--baseline-boots", "0"], "--baseline-boots, --max-boots and --nights: expected positive numbers"),
        (["rivals", "--nights", "19"], "--nights: expected 20 or more"),
        (["a", "b", "--direction", "x=up"], "--direction: expected KEY=lower, KEY=higher or KEY=equal, found 'x=up'"),
        (
            ["a", "b", "--direction", "=lower"],
            "--direction: expected KEY=lower, KEY=higher or KEY=equal, found '=lower'",
        ),
    ],
)
def test_mistakes_are_one_line(capsys, arguments, message):
    assert (study if arguments[0] in ("power", "rivals") else main)(arguments) == 2
    assert capsys.readouterr().err == f"error: {message}\n"


@pytest.mark.parametrize(
    "arguments", [["--cv", "0"], ["--max-boots", "1"], ["--baseline-boots", "1"], ["--nights", "1"]]
)
def test_the_least_that_can_be_asked_for(capsys, arguments):
    given = ["--cv=0.01", "--baseline-boots=2", "--nights=2", "--max-boots=2"]
    given = [one for one in given if one.partition("=")[0] != arguments[0]]
    assert study(["power", *arguments, *given]) == 0
    assert "40 metrics a night" in capsys.readouterr().out


def test_a_tolerance_for_all(tmp_path):
    before = write(tmp_path / "a.json", {"x": boots({"latency": [1.0] * 3})})
    after = write(tmp_path / "b.json", {"x": boots({"latency": [1.3] * 3})})
    assert main([str(before), str(after)]) == 1
    assert main([str(before), str(after), "--tolerance", "0.4"]) == 0


def test_a_directory_without_baselines_is_named(tmp_path, capsys):
    assert study(["power", "--baselines", str(tmp_path)]) == 2
    expected = f"error: --baselines: {tmp_path}: no baselines there; expected a directory like baselines/h200x1\n"
    assert capsys.readouterr().err == expected


@pytest.mark.parametrize("value", ["1", "-0.1", "nan", "much"])
def test_shares_are_fractions(capsys, value):
    with pytest.raises(SystemExit) as stopped:
        study(["power", f"--cv={value}"])
    assert stopped.value.code == 2
    assert f"argument --cv: expected a fraction below 1, found {value!r}" in capsys.readouterr().err


def test_every_column_of_a_comparison(tmp_path, capsys):
    before = write(tmp_path / "a.json", {"x": boots({"latency": [1.0] * 3}), "gone": boots({"latency": [1.0]})})
    after = write(tmp_path / "b.json", {"x": boots({"latency": [2.0] * 3, "kv_capacity": [7.0] * 3})})
    assert main([str(before), str(after)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["benchmark", "metric", "baseline", "current", "change", "verdict"]
    kv_capacity, latency, missing = lines[2:]
    assert kv_capacity.split() == [
        "x",
        "kv_capacity",
        "-",
        "7",
        "no",
        "baseline",
        "the",
        "baseline",
        "has",
        "no",
        "such",
        "metric",
    ]
    assert latency.split()[:7] == ["x", "latency", "1", "2", "+100.0%", "regression", "worse"]
    assert missing == f"gone: only in {before}"


def test_a_comparison_takes_its_own_tolerance_and_the_size_of_the_night(tmp_path):
    names = [f"cell-{i}" for i in range(60)]
    values = [1.0, 1.06, 0.94, 1.0]
    before = write(
        tmp_path / "a.json",
        {name: boots({"latency": values, "completed": [8.0] * 4, "input_tokens": [9.0] * 4}) for name in names},
    )
    slower = {name: boots({"latency": [1.5] * 3, "completed": [8.0] * 3, "input_tokens": [9.0] * 3}) for name in names}
    after = write(tmp_path / "b.json", slower | {"new": boots({"latency": [1.0]})})
    lines, missing = comparison.compare(before, after, {})
    assert missing == [f"new: only in {after}"]
    assert [line.benchmark for line in lines if line.metric.name == "latency"] == names
    expected = judge(METRICS["latency"], 0.05, values, [1.5] * 3, pool([values] * 60), 60)
    assert {line.verdict for line in lines if line.metric.name == "latency"} == {expected}
    assert expected.detectable != judge(METRICS["latency"], 0.05, values, [1.5] * 3, pool([values] * 60)).detectable
    assert comparison.exit_status(lines) == 1
    lenient, _ = comparison.compare(before, after, {}, tolerance=0.5)
    assert {line.verdict.outcome for line in lenient} == {Outcome.PASS}
    faster = write(tmp_path / "c.json", {names[0]: boots({"latency": [0.5], "completed": [8.0]})})
    better, _ = comparison.compare(before, faster, {})
    assert {line.verdict.outcome for line in better} == {Outcome.PASS, Outcome.IMPROVEMENT}
    assert comparison.exit_status(better) == 0


def test_the_smallest_change_that_is_found():
    quiet, loud = noise([1.0] * 10, PooledNoise(1e-6, 30), 0.05), noise([1.0] * 10, PooledNoise(0.01, 30), 0.05)
    assert sequential.detectable(0.05, quiet) == pytest.approx(1.12 * 0.05 + 1.2 * quiet.error(1))
    assert sequential.detectable(0.05, loud) == pytest.approx((3.6 + 1.2) * loud.error(5))
    assert sequential.detectable(0.05, loud, 3) == pytest.approx((4.3 + 1.2) * loud.error(3))


ELEVEN = np.array([[float(i) for i in range(11)], [0.0] * 11])


def test_what_the_other_rules_call_worse():
    before = np.array([[1.0, 3.0, 2.0], [4.0, 4.0, 4.0]])
    assert rivals.mean_beyond(0.5)(before, np.array([[2.9, 3.3], [6.0, 6.0]])).tolist() == [True, False]
    assert rivals.mean_beyond(0.5)(before, np.array([[2.9, 3.1], [6.1, 6.1]])).tolist() == [False, True]
    beyond = rivals.beyond_history(0.9)
    assert beyond(ELEVEN, np.array([[9.0, 9.2], [0.0, 0.0]])).tolist() == [True, False]
    assert beyond(ELEVEN, np.array([[8.9, 9.0], [0.1, 0.2]])).tolist() == [False, True]


def test_the_rule_of_asv():
    before = np.array([[1.0 + i / 1000 for i in range(10)]] * 3)
    # All above; all above but too near; one below six of ten, where the exact p is 0.0047.
    now = np.array([[1.1] * 5, [1.02] * 5, [1.1] * 4 + [1.0035]])
    assert rivals.mann_whitney(before, now).tolist() == [True, False, False]
    assert rivals.mann_whitney(before, now, factor=1.01).tolist() == [True, True, False]
    assert rivals.mann_whitney(before, np.array([[1.1] * 4 + [1.0085]] * 3)).all(), "one below one: p is 0.0013"
    assert rivals.mann_whitney(before, np.array([[1.1] * 4] * 3)).all(), "p is just below 0.002"
    assert not rivals.mann_whitney(np.ones((1, 10)), np.ones((1, 5)), factor=0.5).any(), "ties are no evidence"


if __name__ == "__main__":
    import tempfile

    for one in COMMANDS:
        with tempfile.TemporaryDirectory() as place:
            (GOLDEN / f"{one}.txt").write_text(printed(one, Path(place)), encoding="utf-8")

"""What ``python -m fixtures.studies.gate`` prints.

Simulated nights have fixed seeds, so all of it is known; after a change that is meant, ``python -m
perf_tests.documentation.generate`` writes the golden texts anew.
"""

import contextlib
import io

import numpy as np
import pytest

from fixtures.metrics import METRICS
from fixtures.studies.gate import committed
from fixtures.studies.gate.__main__ import main as study
from perf_tests.fakes.samples import dealt, results, sample
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


def baselines(directory):
    """Two cells of one file and one of another, with metrics that are gated, recorded, counted and all zero."""
    random = np.random.default_rng(4)
    calm, loud = (random.normal(5.0, 5.0 * cv, 9).tolist() for cv in (0.004, 0.03))
    one = dealt({"latency": calm, "tpot_p50": loud, "completed": [8.0] * 9, "goodput": [0.0] * 9})
    two = dealt({"latency": [v * 3 for v in loud], "weight_memory": [7e9] * 9}, hosts=("a",))
    results(directory / "a.json", {"batch-1": one, "batch-8": two})
    results(
        directory / "b.json",
        {"startup": [*dealt({"weight_memory": [9e9]}), sample("hot", "hot", weight_memory=1e9)]},
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


@pytest.mark.parametrize("least", [{"--cv": 0, "--nights": 1}, {"--baseline-boots": 1, "--max-boots": 1}])
def test_the_least_that_can_be_asked_for(capsys, least):
    given = {"--cv": 0.01, "--baseline-boots": 2, "--nights": 2, "--max-boots": 2} | least
    assert study(["power", *(f"{option}={value}" for option, value in given.items())]) == 0
    assert "40 metrics a night" in capsys.readouterr().out


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


def test_cells_with_few_boots_are_listed(capsys, tmp_path):
    cells = {
        name: dealt({"latency": [1.0] * count}) for count, name in enumerate(("first", "second", "third"), start=1)
    }
    results(tmp_path / "b.json", cells)
    assert study(["power", "--baselines", str(tmp_path), "--nights", "2"]) == 0
    printed = capsys.readouterr().out
    assert "\n1 boot (3 recommended), 1 cell: first\n" in printed
    assert "\n2 boots (3 recommended), 1 cell: second\n" in printed
    assert "third" not in printed


def test_the_noise_of_a_batch_is_not_that_of_what_arrives_at_a_rate(tmp_path):
    apart = {"batch-1": 0.001, "batch-8": 0.001, "online-8": 0.03}
    boots = {cell: dealt({"tpot_p50": [1 - by, 1.0, 1 + by] * 2}, "a") for cell, by in apart.items()}
    results(tmp_path / "a.json", boots, kinds={"online-8": "online"})
    found = committed.read(tmp_path).noises(METRICS["tpot_p50"])
    assert [noise.sigma < 0.0015 for noise in found] == [True, True, False]


@pytest.mark.parametrize("text", ['{"foo": 1}', '{"benchmarks": [{"x": 1}]}'])
def test_what_is_no_baseline_is_named(tmp_path, capsys, text):
    (tmp_path / "other.json").write_text(text)
    assert study(["power", "--baselines", str(tmp_path)]) == 2
    assert str(tmp_path / "other.json") in capsys.readouterr().err

"""What ``python -m fixtures.studies.gate`` prints.

Simulated nights have fixed seeds, so all of it is known; after a change that is meant, ``python -m
perf_tests.documentation.generate`` writes the golden texts anew.
"""

import contextlib
import io
import json

import numpy as np
import pytest

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
    "arguments", [["--cv", "0"], ["--max-boots", "1"], ["--baseline-boots", "1"], ["--nights", "1"]]
)
def test_the_least_that_can_be_asked_for(capsys, arguments):
    given = ["--cv=0.01", "--baseline-boots=2", "--nights=2", "--max-boots=2"]
    given = [one for one in given if one.partition("=")[0] != arguments[0]]
    assert study(["power", *arguments, *given]) == 0
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

"""Any two result files: nothing passes unless all of the baseline was seen, and nothing ends in a traceback.

`pytest perf_tests/unit/gate/test_any_files.py --hypothesis-profile=thorough` tries 20,000 of each.
"""

import contextlib
import io
import json
import math
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.gate.__main__ import main
from perf_tests.fakes.mutations import damaged, misfilled

pytestmark = pytest.mark.cpu

NUMBERS = st.sampled_from(
    [1.0, 1.01, 0.99, 1.3, 2, 0, -1.5, 1e-300, 1e90, 10**400, math.nan, math.inf, "1.0", "nan", "x", None]
)
KEY = "tps"


def durations():
    return st.fixed_dictionaries(
        {"median": NUMBERS},
        optional={"data": st.lists(NUMBERS, max_size=4) | st.lists(st.floats(0.9, 1.1), min_size=3, max_size=6)},
    )


def boots():
    metrics = st.dictionaries(st.sampled_from(["latency", "kv_capacity", "completed", "boot_time"]), NUMBERS)
    own = st.fixed_dictionaries(
        {"boot": st.sampled_from("abcd"), "metrics": metrics, "host_id": st.just("h")},
        optional={"invalid": st.sampled_from(["", "hot"])},
    )
    return st.fixed_dictionaries({"boots": st.lists(own, max_size=3)})


def files():
    """Files of a few benchmarks, this suite's or anybody's, most of them sound and like each other."""
    sound = st.just({KEY: 5.0}) | st.just({})
    entry = st.fixed_dictionaries(
        {
            "fullname": st.sampled_from(["a", "b", "c"]),
            "stats": st.just({"median": 1.0, "data": [1.0, 1.01, 0.99]}) | durations(),
            "extra_info": sound | st.dictionaries(st.just(KEY), NUMBERS) | boots(),
        }
    )
    return st.fixed_dictionaries(
        {"benchmarks": st.lists(entry, min_size=1, max_size=3, unique_by=lambda e: e["fullname"])}
    )


def seen(before, now, keyed):
    """By the files alone: whether all that is judged of the baseline is there now, and a finite number in both."""
    current = {entry["fullname"]: entry for entry in now["benchmarks"]}
    for entry in before["benchmarks"]:
        other = current.get(entry["fullname"])
        if other is None:
            return False
        if "boots" in entry["extra_info"]:
            for name in ("latency", "kv_capacity", "completed"):  # boot_time is recorded
                mine, its = (values_of_boots(one, name) for one in (entry, other))
                if values_of_boots(entry, name, invalid=True) and not (finite(mine) and finite(its)):
                    return False
        elif keyed and KEY in entry["extra_info"]:
            if not finite([one["extra_info"].get(KEY) for one in (entry, other)]):
                return False
        elif "boots" in other["extra_info"] or not all(finite(rounds(one)) for one in (entry, other)):
            return False
    return True


def rounds(entry):
    return entry["stats"].get("data") or [entry["stats"]["median"]]


def values_of_boots(entry, name, invalid=False):
    own = entry["extra_info"].get("boots", [])
    return [one["metrics"][name] for one in own if name in one["metrics"] and (invalid or not one.get("invalid"))]


def finite(values):
    try:
        return bool(values) and all(abs(float(value)) <= 1e100 for value in values)
    except (TypeError, ValueError, OverflowError):
        return False


def run(*arguments):
    """Exit status, output and errors."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(list(map(str, arguments)))
    return status, out.getvalue(), err.getvalue()


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return tmp_path_factory.mktemp("any")


def write(path: Path, document) -> Path:
    path.write_text(json.dumps(document))
    return path


@given(
    files(), files(), st.booleans(), st.booleans(), st.sampled_from([(), ("--tolerance", "0"), ("--tolerance", "3")])
)
def test_nothing_passes_unless_all_of_the_baseline_was_seen(directory, one, other, same, keyed, more):
    before, after = write(directory / "before.json", one), write(directory / "after.json", one if same else other)
    status, out, err = run(before, after, *(("--direction", f"{KEY}=lower") if keyed else ()), *more)
    assert status in (0, 1, 2)
    if err:
        assert (status, out) == (2, "")
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        return
    assert "nan" not in out.replace("is NaN", "")
    for entry in one["benchmarks"]:
        judged = "boots" not in entry["extra_info"] or not entry["extra_info"]["boots"]
        assert not judged or any(line.startswith(f"{entry['fullname']} ") for line in out.splitlines())
    if not seen(one, one if same else other, keyed):
        assert status != 0
        assert status == 1 or "inconclusive" in out


SOUND = {
    "machine_info": {"node": "n"},
    "benchmarks": [
        {
            "fullname": "a",
            "stats": {"median": 1.0, "data": [1.0, 1.01, 0.99], "ops": math.inf},
            "extra_info": {KEY: 100},
        },
        {"fullname": "b", "stats": {"median": 1.0}, "extra_info": {"text": "x", "odd": math.nan}},
        {
            "fullname": "c",
            "stats": {"median": 1.0},
            "extra_info": {
                "workload": {"kind": "batch"},
                "boots": [
                    {
                        "boot": str(i),
                        "host_id": "h",
                        "metrics": {"latency": 1.0 + i / 100, "completed": 4.0},
                        "invalid": "",
                    }
                    for i in range(4)
                ],
            },
        },
    ],
}


@pytest.fixture(scope="module")
def sound(directory):
    return write(directory / "sound.json", SOUND)


def check(sound, mutant, runs):
    """Whatever the mutant is: a verdict or a line, in its place before, after, and among several runs."""
    shutil.rmtree(runs, ignore_errors=True)
    runs.mkdir()
    shutil.copy(sound, runs / "1.json")
    shutil.copy(mutant, runs / "2.json")
    for pair in ((sound, mutant), (mutant, sound), (sound, runs)):
        status, out, err = run(*pair, "--direction", f"{KEY}=higher")
        assert status in (0, 1, 2)
        assert bool(err) == (not out)
        assert err.count("\n") == bool(err)
        assert status == 2 or not err
    return run(sound, mutant)


@given(damaged(json.dumps(SOUND, indent=1).encode()))
def test_damaged_bytes_of_a_result(directory, sound, data):
    mutant = directory / "mutant.json"
    mutant.write_bytes(data)
    check(sound, mutant, directory / "runs")


@given(misfilled(SOUND))
def test_misfilled_results(directory, sound, document):
    status, _, _ = check(sound, write(directory / "mutant.json", document), directory / "runs")
    if status == 0:
        assert {"a", "b", "c"} <= {entry["fullname"] for entry in document["benchmarks"]}, "a benchmark that vanished"


def test_the_sound_one_passes(sound):
    assert run(sound, sound, "--direction", f"{KEY}=higher")[0] == 0

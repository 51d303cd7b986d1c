"""The history on disk: what is appended is read back, and damage is named."""

import dataclasses
import json
import os
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fixtures.errors import UsageError
from fixtures.store import history
from fixtures.store.baseline import rounded
from perf_tests.fakes.history_entries import ENTRY, nights
from perf_tests.paths import ROOT

pytestmark = pytest.mark.cpu
PLAIN = {"suppress_health_check": [HealthCheck.function_scoped_fixture], "max_examples": 30}
NUMBERS = st.floats(allow_nan=False, allow_infinity=False, width=32)


@settings(**PLAIN)
@given(
    st.lists(st.tuples(st.text(), st.text(), NUMBERS, st.none() | NUMBERS), unique_by=lambda row: row[:2]), st.data()
)
def test_what_is_appended_is_read_back(tmp_path, rows, data):
    path = tmp_path / "kept" / "history.jsonl"
    path.unlink(missing_ok=True)
    entries = [dataclasses.replace(ENTRY, cell=c, commit=c, run=r, value=v, baseline=b) for c, r, v, b in rows]
    cut = data.draw(st.integers(0, len(entries)))
    history.append(path, entries[:cut])
    history.append(path, entries[cut:])
    assert [dataclasses.asdict(e) for e in history.read(path)] == [rounded(dataclasses.asdict(e)) for e in entries]
    assert [list(json.loads(line)) for line in path.read_text().splitlines()] == [
        sorted(["v", *dataclasses.asdict(ENTRY)])
    ] * len(entries)


def test_no_file_is_a_history_of_no_nights(tmp_path):
    assert history.read(tmp_path / "none.jsonl") == []


@settings(**PLAIN)
@given(st.data())
def test_a_torn_line_is_named_and_costs_no_other(tmp_path, data):
    path = tmp_path / "history.jsonl"
    path.unlink(missing_ok=True)
    history.append(path, nights([1.0, 2.0, 3.0]))
    whole = path.read_bytes()
    start = whole.rindex(b"\n", 0, -1) + 1
    path.write_bytes(whole[: data.draw(st.integers(start + 1, len(whole) - 2))])
    with pytest.raises(UsageError, match="not valid JSON") as caught:
        history.read(path)
    assert str(caught.value).startswith(f"{path}:3: ")
    history.append(path, [dataclasses.replace(ENTRY, run="next")])
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:2] + lines[3:]))
    assert [entry.run for entry in history.read(path)] == ["r0", "r1", "next"]


def test_a_last_line_without_its_newline_is_no_damage(tmp_path):
    path = tmp_path / "history.jsonl"
    history.append(path, nights([1.0]))
    path.write_bytes(path.read_bytes()[:-1])
    history.append(path, [dataclasses.replace(ENTRY, run="next")])
    assert [entry.run for entry in history.read(path)] == ["r0", "next"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"v": 1', '"v": 2', "version 2, expected 1"),
        (', "v": 1', "", "version None, expected 1"),
        ('"metric"', '"metrik"', "unknown key 'metrik'; did you mean 'metric'"),
        ('"value": 2.0', '"value": "2.0"', "value: expected a number, found '2.0'"),
        ('"value": 2.0', '"value": NaN', "NaN is not a JSON number"),
        ('"value": 2.0', '"value": 1e999', "1e999 is too large"),
        ('"boots": 1', '"boots": 1.5', "boots: expected an integer"),
        ('"boots": 1, ', "", "missing key 'boots'"),
        ('"boots": 1', '"boots": 1, "boots": 1', "'boots' appears twice"),
        ('+00:00"', '"', "time: expected ISO 8601 with an offset from UTC"),
        ('"time": "2026', '"time": "today', "time: expected ISO 8601 with an offset from UTC"),
        ('"run": "r1"', '"run": "r0"', "vllm/m/tp2/batch-8 latency of run r0 is in line 1 too"),
        ('"c0"', '"\udcff"', "not UTF-8 at byte"),
        ("{", "<<<<<<< ours\n{", "not valid JSON"),
        ("{", "\n{", "not valid JSON"),
        ("{", "[{", "not valid JSON"),
    ],
)
def test_damage_is_named_with_file_and_line(tmp_path, old, new, message):
    path = tmp_path / "history.jsonl"
    history.append(path, nights([1.0, 2.0, 3.0]))
    lines = path.read_text().splitlines(keepends=True)
    assert old in lines[1]
    lines[1] = lines[1].replace(old, new, 1)
    path.write_bytes("".join(lines).encode("utf-8", "surrogateescape"))
    with pytest.raises(UsageError) as caught:
        history.read(path)
    assert str(caught.value).startswith(f"{path}:2: ")
    assert message in str(caught.value)
    assert "remove" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_nights_that_end_at_once_leave_whole_lines(tmp_path):
    path = tmp_path / "history.jsonl"
    code = (
        "import sys; from pathlib import Path; from fixtures.store import history; path, who = Path(sys.argv[1]), sys.argv[2]\n"
        f"plain = {dataclasses.asdict(ENTRY) | {'commit': 'c' * 999}}\n"
        "for i in range(20):\n"
        "    night = [plain | {'run': f'{who}{i}', 'metric': f'm{j}'} for j in range(20)]\n"
        "    history.append(path, [history.Entry(**fields) for fields in night])"
    )
    both = [subprocess.Popen([sys.executable, "-c", code, str(path), who], cwd=ROOT) for who in "ab"]
    assert [process.wait() for process in both] == [0, 0]
    runs = [entry.run for entry in history.read(path)]
    assert len(runs) == 2 * 20 * 20
    together = [runs[i : i + 20] for i in range(0, len(runs), 20)]
    assert all(len(set(night)) == 1 for night in together), "a night's lines are not torn apart"


def test_a_failed_append_leaves_the_history_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "history.jsonl"
    history.append(path, nights([1.0]))
    before = path.read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UsageError, match=r"history\.jsonl: cannot be written: No space left on device"):
        history.append(path, nights([2.0]))
    assert path.read_bytes() == before


def test_a_history_that_cannot_be_written_is_named_without_writing(tmp_path):
    (tmp_path / "file").write_text("")
    history.check(tmp_path / "a" / "b" / "history.jsonl")
    with pytest.raises(UsageError, match=r"history\.jsonl: cannot be written: look at .*/file"):
        history.check(tmp_path / "file" / "history.jsonl")
    with pytest.raises(UsageError, match="cannot be read: Is a directory"):
        history.check(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]

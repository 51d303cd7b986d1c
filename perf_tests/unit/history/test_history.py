"""The history on disk and what is read out of it. Otava itself runs in an environment of its own: history-bench --check."""

import dataclasses
import datetime
import json
import os
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fixtures.deployments.cell import cells
from fixtures.deployments.deployment import load
from fixtures.engines.registry import ENGINES
from fixtures.errors import UsageError
from fixtures.history import findings
from fixtures.history.series import CLIP, NEIGHBOURS, clipped, series
from fixtures.session.record import entries
from fixtures.session.session import Session
from fixtures.store import history
from fixtures.store.baseline import rounded
from fixtures.store.history import Entry
from fixtures.store.sample import Sample
from perf_tests.fakes.judging import judge_beside
from perf_tests.paths import ROOT

pytestmark = pytest.mark.cpu
FIRST = datetime.datetime(2026, 3, 1, 2, 17, tzinfo=datetime.UTC)
ANY_TIME = datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC)
ENTRY = Entry(
    FIRST.isoformat(),
    "run",
    "0123456789abcdef",
    "vllm/m/tp2/batch-8",
    "latency",
    1.0,
    1,
    1.0,
    0.05,
    "pass",
    "f",
    "0.26.0",
)
PLAIN = {"suppress_health_check": [HealthCheck.function_scoped_fixture], "max_examples": 30}
NUMBERS = st.floats(allow_nan=False, allow_infinity=False, width=32)


def nights(values, **others):
    return [
        dataclasses.replace(
            ENTRY,
            time=(FIRST + datetime.timedelta(days=i)).isoformat(),
            run=f"r{i}",
            commit=f"c{i // 2}",
            value=value,
            **others,
        )
        for i, value in enumerate(values)
    ]


# -- on disk ---------------------------------------------------------------------------------------------------------------


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


# -- a night's entries -----------------------------------------------------------------------------------------------------


def test_a_night_keeps_what_was_judged_by_valid_boots_only(tmp_path):
    deployment = load("cpu", ENGINES)
    cell, other = [cell for cell in cells(deployment, "*") if cell.workload.kind == "batch"][:2]
    judge = judge_beside(deployment, [cell, other], tmp_path)
    night = Session(judge, None, tmp_path, max_boots=1)  # nothing can be measured again
    origin = {"commit": "abc", "engine_version": "0.32.0"}
    disturbed = Sample("1", "h", FIRST.isoformat(), {"completed": 9.0, "latency": 1.0}, {}, origin, invalid="throttled")
    fit = dataclasses.replace(disturbed, boot="2", metrics={"completed": 8.0}, invalid="")
    night.boots.update({cell: [disturbed, fit], other: [disturbed]})
    judge.read_baselines()
    for one in (cell, other):
        for metric in judge.metrics(one):
            night.verdict(one, metric)
    (entry,) = entries(night, "run", FIRST)
    assert (entry.cell, entry.metric, entry.value, entry.boots) == (cell.id, "completed", 8.0, 1)
    assert (entry.outcome, entry.baseline, entry.commit, entry.engine_version) == ("no baseline", None, "abc", "0.32.0")
    assert (entry.time, entry.run) == (FIRST.isoformat(), "run")


# -- series ----------------------------------------------------------------------------------------------------------------


def test_series_are_in_order_of_time_and_never_mix_fingerprints():
    mixed = nights([1.0, 2.0, 3.0]) + nights([9.0], fingerprint="other") + nights([8.0], metric="tpot_p50")
    found = series([mixed[2], mixed[0], mixed[3], mixed[1], mixed[4]])
    assert [one.values for one in found] == [[1.0, 2.0, 3.0], [9.0], [8.0]]
    here = dataclasses.replace(ENTRY, time="2026-03-01T03:00:00+02:00", run="earlier, by a clock further east")
    assert series([ENTRY, here])[0].entries == (here, ENTRY)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60))
def test_clipping_moves_values_inwards_only(values):
    result = clipped(values)
    assert len(result) == len(values)
    assert min(values) <= min(result)
    assert max(result) <= max(values)


def test_slow_nights_are_clipped_and_a_step_that_lasts_is_not():
    noisy = [1.0 + 0.01 * (-1) ** i for i in range(3 * NEIGHBOURS)]
    slow = [*noisy]
    slow[7] = slow[-1] = 1.1
    assert max(clipped(slow)) < 1.01 + CLIP * 0.0211
    stepped = noisy + [1.1 * value for value in noisy]
    assert clipped(stepped) == pytest.approx(stepped, rel=1e-6)
    assert clipped([5.0] * 9 + [6.0] + [5.0] * 9) == [5.0] * 19


# -- findings --------------------------------------------------------------------------------------------------------------


def look(entries, *points, since=ANY_TIME):
    (one,) = series(entries)
    return findings.look(one, since, lambda values, smallest: [(index, 1e-9) for index in points], 0.005, 14)


@pytest.mark.parametrize(
    ("metric", "now", "reads"),
    [
        ("latency", 1.03, "worse"),
        ("latency", 0.97, "better"),
        ("total_throughput", 1.03, "better"),
        ("total_throughput", 0.97, "worse"),
        ("output_tokens", 1.03, "worse"),
        ("output_tokens", 0.97, "worse"),
    ],
)
def test_direction_says_what_is_worse(metric, now, reads):
    found = look(nights([1.0] * 20 + [now] * 20, metric=metric), 20)
    (change,) = found.changes
    assert (change.before.commit, change.first.commit) == ("c9", "c10")
    assert change.size == pytest.approx(now - 1)
    assert change.reads == reads
    assert found.beyond == "", "within the tolerance of the anchor: only the history tells"
    assert findings.exit_status([found]) == (reads == "worse")
    assert f"{now - 1:+.1%} ({reads}) from 2026-03-21, c9..c10, p 1e-09" in str(found)


def test_a_size_is_of_medians_and_a_slow_night_is_not_in_it():
    found = look(nights([1.0] * 19 + [1.5] + [1.02] * 20), 20)
    assert found.changes[0].size == pytest.approx(0.02)


def test_only_the_anchor_tells_of_what_came_before_the_history_and_of_last_night():
    before = look(nights([1.08] * 20))
    assert (before.changes, before.beyond, findings.exit_status([before])) == ((), "worse", 1)
    assert "no change point" in str(before)
    assert "+8.0% (worse) beyond 5.0%" in str(before)
    *others, last = nights([1.0] * 20)
    fresh = look([*others, dataclasses.replace(last, value=1.2, outcome="regression")])
    assert (fresh.beyond, fresh.told, findings.exit_status([fresh])) == ("", True, 1)
    assert "last night 1,200 ms, regression" in str(fresh)


def test_a_change_that_was_undone_is_shown_and_no_longer_worse():
    found = look(nights([1.0] * 20 + [1.04] * 10 + [1.0] * 10), 20, 30)
    assert [change.reads for change in found.changes] == ["undone since", "better"]
    assert findings.exit_status([found]) == 0


def test_since_hides_earlier_changes_but_not_the_anchor():
    found = look(nights([1.0] * 20 + [1.08] * 20), 20, since=FIRST + datetime.timedelta(days=30))
    assert (found.changes, found.beyond) == ((), "worse")


def test_an_engine_that_changed_and_a_commit_that_did_not_are_named():
    entries = nights([1.0] * 20 + [1.03] * 20)
    entries[20:] = [dataclasses.replace(entry, engine_version="0.26.1", commit="c9") for entry in entries[20:]]
    assert "c9 before and after, engine 0.26.0 -> 0.26.1" in str(look(entries, 20))


def test_too_few_nights_are_said_and_nothing_is_a_pass_for_want_of_them():
    short, fine = look(nights([1.0] * 13), 5), look(nights([1.0] * 14))
    assert short.changes == ()
    assert [findings.exit_status(found) for found in ([], [short], [fine], [fine, short])] == [2, 2, 0, 2]
    text = findings.text([fine, short], 3, FIRST, 14)
    assert "cannot tell of 1 series yet: 13 nights, 14 are needed" in text
    assert "not looked at: 3 series that have ended" in text


def test_without_an_anchor_there_is_still_a_history():
    found = look(nights([1.0] * 20 + [1.03] * 20, baseline=None), 20)
    assert "none is committed; 1,030 ms over 7 nights" in str(found)
    assert findings.exit_status([found]) == 1
    record = json.loads(json.dumps(found.record()))
    assert record["anchor"]["change"] is None
    assert record["change_points"][0]["first_bad"] == {
        "time": "2026-03-21T02:17:00+00:00",
        "commit": "c10",
        "engine_version": "0.26.0",
    }


# -- what the documentation shows ------------------------------------------------------------------------------------------


def test_the_documented_report_is_the_committed_one():
    report = (ROOT / "perf_tests" / "tools" / "history_report.txt").read_text()
    assert report in (ROOT / "docs" / "history.md").read_text()


def test_all_but_otava_runs_where_only_what_otava_needs_is_installed():
    absent = ("h11", "hypothesis", "otava", "pandas", "psutil", "pynvml", "pytest")
    code = f"import sys, fixtures.history.findings; print([name for name in {absent} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr

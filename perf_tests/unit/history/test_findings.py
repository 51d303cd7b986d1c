"""What is found in a series. Otava itself runs in an environment of its own: tox -e history-bench -- --check."""

import dataclasses
import datetime
import json
import subprocess
import sys

import pytest

from fixtures.history import findings
from fixtures.history.series import Series, series
from perf_tests.fakes.history_entries import FIRST, nights
from perf_tests.paths import ROOT

pytestmark = pytest.mark.cpu
ANY_TIME = datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC)


def look(entries, *points, since=ANY_TIME):
    (one,) = series(entries)
    return findings.look(one, since, [(index, 1e-9) for index in points], 14)


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
    assert found.beyond == "", "within the tolerance of the anchor: only the history shows it"
    assert findings.exit_status([found]) == (reads == "worse")
    assert f"{now - 1:+.1%} ({reads}) from 2026-03-21, c9..c10, p 1e-09" in str(found)


def test_a_size_is_of_medians_and_a_slow_night_is_not_in_it():
    found = look(nights([1.0] * 19 + [1.5] + [1.02] * 20), 20)
    assert found.changes[0].size == pytest.approx(0.02)


def test_only_the_anchor_shows_what_came_before_the_history_and_last_night():
    before = look(nights([1.08] * 20))
    assert (before.changes, before.beyond, findings.exit_status([before])) == ((), "worse", 1)
    assert "no change point" in str(before)
    assert "+8.0% (worse) beyond 5.0%" in str(before)
    *others, last = nights([1.0] * 20)
    fresh = look([*others, dataclasses.replace(last, value=1.2, outcome="regression")])
    assert (fresh.beyond, fresh.reported, findings.exit_status([fresh])) == ("", True, 1)
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
    assert "commit c9 before and after, engine 0.26.0 -> 0.26.1" in str(look(entries, 20))


def test_too_few_nights_are_said_and_nothing_is_a_pass_for_want_of_them():
    short, fine = look(nights([1.0] * 13), 5), look(nights([1.0] * 14))
    assert short.changes == ()
    assert [findings.exit_status(found) for found in ([], [short], [fine], [fine, short])] == [2, 2, 0, 2]
    text = findings.text([fine, short], 3, FIRST, 14)
    assert "too few nights in 1 series: 13, and 14 are needed" in text
    assert "left out: 3 series that have ended" in text


def test_what_is_no_longer_measured_is_named_and_no_pass():
    fine = look(nights([1.0] * 14))
    lost = Series("vllm/m/tp1/startup", "kv_capacity", tuple(nights([9.0] * 3)))
    assert findings.exit_status([fine], [lost]) == 2
    assert "no longer measured: vllm/m/tp1/startup kv_capacity, last on 2026-03-03" in findings.text(
        [fine], 1, FIRST, 14, [lost]
    )
    assert findings.exit_status([look(nights([1.0] * 20 + [1.5] * 20), 20)], [lost]) == 1


def test_without_an_anchor_there_is_still_a_history():
    found = look(nights([1.0] * 20 + [1.03] * 20, baseline=None), 20)
    assert "no baseline is committed; 1,030 ms over 7 nights" in str(found)
    assert findings.exit_status([found]) == 1
    record = json.loads(json.dumps(found.record()))
    assert record["anchor"]["change"] is None
    assert record["change_points"][0]["first_bad"] == {
        "time": "2026-03-21T02:17:00+00:00",
        "commit": "c10",
        "engine_version": "0.26.0",
    }


def test_the_documented_report_is_the_committed_one():
    report = (ROOT / "perf_tests" / "tools" / "history_report.txt").read_text()
    assert report in (ROOT / "docs" / "history.md").read_text()


def test_all_but_otava_runs_where_only_what_otava_needs_is_installed():
    absent = ("httptools", "hypothesis", "otava", "pandas", "psutil", "pynvml", "pytest")
    code = f"import sys, fixtures.history.findings; print([name for name in {absent} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr

"""What is found in a series, and what of it stands."""

import dataclasses
import datetime
import json

import pytest

from fixtures.history import findings
from fixtures.history.__main__ import main, report
from fixtures.history.series import Series, series
from fixtures.store import history
from perf_tests.fakes.history_entries import FIRST, nights
from perf_tests.fakes.history_example import example
from perf_tests.paths import GOLDEN, ROOT

pytestmark = pytest.mark.cpu


def look(entries, since=None):
    (one,) = series(entries)
    return findings.look(one, since, one.last.moment)


def reads(found):
    return [change.reads for change in found.changes]


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
    found = look(nights([1.0] * 20 + [now] * 20, metric=metric))
    (change,) = found.changes
    assert (change.before.commit, change.first.commit) == ("c9", "c10")
    assert change.size == pytest.approx(now - 1)
    assert change.reads == reads
    assert found.beyond == "", "within the tolerance of the anchor: only the history shows it"
    assert findings.exit_status([found]) == (reads == "worse")
    assert f"{now - 1:+.1%} ({reads}) from 2026-03-21, c9..c10, no noise" in str(found)


def test_a_size_is_of_medians_and_a_slow_night_is_not_in_it():
    noise = [0.003 * (-1) ** i for i in range(40)]
    found = look(nights([1 + n for n in noise[:19]] + [1.5] + [1.05 + n for n in noise[20:]]))
    assert found.changes[0].size == pytest.approx(0.05, abs=0.007)


def test_only_the_anchor_shows_what_came_before_the_history_and_last_night():
    before = look(nights([1.08] * 20))
    assert (before.changes, before.beyond, findings.exit_status([before])) == ((), "worse", 1)
    assert "no change point" in str(before)
    assert "+8.0% (worse) beyond 5.0%" in str(before)
    *others, last = nights([1.0, 1.01] * 10)
    fresh = look([*others, dataclasses.replace(last, value=1.2, outcome="regression")])
    assert (fresh.beyond, fresh.reported, findings.exit_status([fresh])) == ("", True, 1)
    assert "last night 1,200 ms, regression" in str(fresh)


def test_a_change_that_was_undone_is_shown_and_no_longer_worse():
    found = look(nights([1.0] * 20 + [1.04] * 10 + [1.0] * 10))
    assert reads(found) == ["undone since", "better"]
    assert findings.exit_status([found]) == 0


def test_since_hides_earlier_changes_but_not_the_anchor():
    found = look(nights([1.0] * 20 + [1.08] * 20), since=FIRST + datetime.timedelta(days=30))
    assert (found.changes, found.beyond) == ((), "worse")


def test_an_engine_that_changed_and_a_commit_that_did_not_are_named():
    entries = nights([1.0] * 20 + [1.03] * 20)
    entries[20:] = [dataclasses.replace(entry, engine_version="0.26.1", commit="c9") for entry in entries[20:]]
    assert "commit c9 before and after, engine 0.26.0 -> 0.26.1" in str(look(entries))


def test_too_few_nights_are_said_and_nothing_is_a_pass_for_want_of_them():
    short, fine = look(nights([1.0] * 13)), look(nights([1.0] * 14))
    assert short.changes == ()
    assert [findings.exit_status(found) for found in ([], [short], [fine], [fine, short])] == [2, 2, 0, 2]
    text = findings.text([fine, short], 3, FIRST)
    assert "too few nights in 1 series: 13, and 14 are needed" in text
    assert "left out: 3 series that have ended" in text


def test_what_is_no_longer_measured_is_named_and_no_pass():
    fine = look(nights([1.0] * 14))
    lost = Series("vllm/m/tp1/startup", "kv_capacity", tuple(nights([9.0] * 3)))
    assert findings.exit_status([fine], [lost]) == 2
    assert "no longer measured: vllm/m/tp1/startup kv_capacity, last on 2026-03-03" in findings.text(
        [fine], 1, FIRST, [lost]
    )
    assert findings.exit_status([look(nights([1.0] * 20 + [1.5] * 20))], [lost]) == 1


def test_without_an_anchor_there_is_still_a_history():
    found = look(nights([1.0] * 20 + [1.03] * 20, baseline=None))
    assert "no baseline is committed; 1,030 ms now" in str(found)
    assert findings.exit_status([found]) == 1
    record = json.loads(json.dumps(found.record()))
    assert record["anchor"]["change"] is None
    assert record["change_points"][0]["first_bad"] == {
        "time": "2026-03-21T02:17:00+00:00",
        "commit": "c10",
        "engine_version": "0.26.0",
    }


def test_a_step_of_last_nights_still_stands_when_most_of_the_last_week_was_before_it():
    for since in (1, 3, 6):
        assert reads(look(nights([1.0] * 30 + [1.08] * since))) == ["worse"]


def test_a_change_for_the_worse_is_told_until_it_is_undone_or_accepted():
    long = nights([1.0] * 20 + [1.04] * 200)
    assert reads(look(long)) == ["worse"], "half a year ago"
    assert reads(look(nights([1.0] * 20 + [0.96] * 200))) == [], "for the better, half a year ago"
    assert reads(look(long[:100])) == ["worse"]
    accepted = look([*long[:90], *(dataclasses.replace(one, baseline=1.04) for one in long[90:100])])
    assert (reads(accepted), findings.exit_status([accepted])) == (["accepted"], 0)
    other = look([*long[:90], *(dataclasses.replace(one, baseline=0.99) for one in long[90:100])])
    assert reads(other) == ["worse"], "another baseline that does not accept it"


def test_a_rise_from_nothing_is_told_without_a_relative_size():
    found = look(nights([0.0] * 20 + [3.0], metric="kv_shortfall", baseline=0.0))
    assert (reads(found), found.changes[0].size) == (["worse"], None)
    assert "from 0" in str(found)
    assert json.loads(json.dumps(found.record()))["change_points"][0]["change"] is None


def test_a_negative_level_that_falls_is_better_where_lower_is():
    assert reads(look(nights([-1.0] * 20 + [-2.0], baseline=None))) == ["better"]


def test_the_command_prints_what_was_found_and_its_status(tmp_path, capsys):
    path = tmp_path / "history.jsonl"
    history.append(path, nights([1.0] * 20 + [1.03]))
    assert main([str(path)]) == 1
    assert "+3.0% (worse)" in capsys.readouterr().out
    assert main([str(path), "--since", "2027-01-01", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["since"] == "2027-01-01T00:00:00+00:00"
    assert main([str(tmp_path / "none")]) == 2
    assert "no nights yet" in capsys.readouterr().err


def test_the_documented_report_is_of_the_example():
    status, text = report(example())
    assert f"{text}\n\nexit status {status}\n" == (GOLDEN / "history_report.txt").read_text()
    assert (GOLDEN / "history_report.txt").read_text() in (ROOT / "docs" / "history.md").read_text()

"""The history in a report: the series that are drawn, and change points as another command printed them."""

import dataclasses
import json

import pytest

from fixtures.errors import UsageError
from fixtures.report import nights
from fixtures.report.nights import Point
from perf_tests.fakes.reported_runs import calm
from perf_tests.fakes.synthetic_run import synthetic_history

pytestmark = pytest.mark.cpu


def test_series_that_never_vary_or_are_of_other_cells_are_not_drawn():
    run = calm()
    entries = synthetic_history(run, 3)
    drawn = nights.nights(run, [*entries, dataclasses.replace(entries[0], cell="other")], {})
    assert {one.series.metric for one in drawn} == {"latency", "tpot_p50"}


def test_change_points_are_read_from_what_the_history_command_prints(tmp_path):
    sides = {"last_good": {"commit": "aaaa"}, "first_bad": {"commit": "bbbb", "time": "2026-03-01T00:00:00+00:00"}}
    one = {
        "cell": "c",
        "metric": "latency",
        "fingerprint": "f",
        "change_points": [{"change": 0.1, "reads": "worse", **sides}],
    }
    (tmp_path / "points.json").write_text(json.dumps({"series": [one]}))
    assert nights.read_points(tmp_path / "points.json") == {
        ("c", "latency", "f"): (Point("2026-03-01T00:00:00+00:00", 0.1, "worse", "aaaa..bbbb"),)
    }
    (tmp_path / "points.json").write_text("{}")
    with pytest.raises(UsageError, match="expected the output of"):
        nights.read_points(tmp_path / "points.json")

"""The history in a report: the series that are drawn."""

import dataclasses

import pytest

from fixtures.report import nights
from perf_tests.fakes.reported_runs import calm
from perf_tests.fakes.synthetic_run import synthetic_history

pytestmark = pytest.mark.cpu


def test_series_that_never_vary_or_are_of_other_cells_are_not_drawn():
    run = calm()
    entries = synthetic_history(run, 3)
    drawn = nights.nights(run, [*entries, dataclasses.replace(entries[0], cell="other")])
    assert {one.series.metric for one in drawn} == {"latency", "tpot_p50"}

"""Since when a cause is there."""

import dataclasses

import pytest

from fixtures.history.causes import since
from perf_tests.fakes.history_entries import FIRST, nights

pytestmark = pytest.mark.cpu
CAUSE = "vllm/decode"


def series(causes, **others):
    """A night for each, which told this cause of the metric."""
    return [
        dataclasses.replace(entry, cause=cause, **others)
        for entry, cause in zip(nights([1.0] * len(causes)), causes, strict=True)
    ]


def date(found):
    return {cause: time[:10] for cause, time in found.items()}


@pytest.mark.parametrize(
    ("causes", "first"),
    [
        (["", "", CAUSE, CAUSE], "2026-03-03"),
        ([CAUSE, "", CAUSE], "2026-03-03"),
        ([CAUSE, CAUSE, CAUSE], "2026-03-01"),
        (["", "vllm/moe", CAUSE], "2026-03-03"),
    ],
)
def test_it_is_the_first_of_the_nights_in_a_row_up_to_the_last(causes, first):
    assert date(since(series(causes))) == {CAUSE: first}


def test_the_order_of_lines_does_not_matter():
    entries = series(["", CAUSE, CAUSE])
    assert since(entries[::-1]) == since(entries)


def test_a_night_that_shows_it_in_any_of_its_metrics_counts_and_one_without_them_does_not():
    one = series(["", CAUSE, "", CAUSE])
    other = series([CAUSE, "", CAUSE, CAUSE], metric="tpot_p50")
    assert date(since([*one, *other])) == {CAUSE: "2026-03-01"}
    elsewhere = series(["", "", ""], cell="vllm/m/tp2/batch-1")
    assert since([*elsewhere[:2], *series(["", "", CAUSE])[2:]]) == {}


def test_the_first_night_and_one_without_a_cause_tell_nothing():
    assert since(series([CAUSE])) == since(series([CAUSE, ""])) == since([]) == {}
    assert FIRST.isoformat()[:10] == "2026-03-01"

"""What was foretold of four cards and what came out of it."""

import csv

import pytest

from fixtures.claims.ledger import ledger
from perf_tests.documentation import four_cards

pytestmark = pytest.mark.cpu


@pytest.mark.parametrize("name", ["h100x4", "h200x4", "h100x8", "h200x8"])
def test_no_interval_of_what_was_foretold_is_wider_than_fifteen_percent(name):
    with (four_cards.FORETOLD / f"{name}.csv").open(encoding="utf-8") as lines:
        rows = [row for row in csv.DictReader(lines) if row["metric"] in four_cards.TIMES]
    assert len(rows) >= 49
    for row in rows:
        predicted, low, high = (float(row[key]) for key in ("predicted", "low", "high"))
        assert 0.85 * predicted <= low < predicted < high <= 1.15 * predicted, row


def test_every_cell_that_was_measured_is_set_beside_what_was_foretold():
    assert len(four_cards.compared()) == 35
    *blocks, every = four_cards.foretold()
    assert [int(row[1]) for row in blocks] == [7] * 5
    assert every[0] == "all"
    assert int(every[1]) == 35
    outside = [row for row in four_cards.every_cell() if row[-1] == "outside"]
    assert every[-1] == f"{35 - len(outside)} of 35"


def test_whole_experts_win_nowhere_beyond_the_interval():
    """What the ledger says of expert parallelism on four cards."""
    assert ledger()["ep-wins-with-many"].verdict == "refuted"
    rows = four_cards.whole_experts()
    assert [row[0] for row in rows] == [*(f"batch-{n}" for n in (1, 8, 32, 128, 256)), "offline-100", "offline-150"]
    for row in rows:
        for change in (row[3], row[5]):
            low, high = (float(end) for end in change.partition("(")[2].rstrip(")").split(" to "))
            slower = low if row[0].startswith("offline") else -high
            assert slower < 0, f"{row[0]}: {change}"

"""What was foretold of deployments before they ran, and what came out of it."""

import pytest

from perf_tests.documentation import foretold

pytestmark = pytest.mark.cpu


@pytest.mark.parametrize("name", ["h100x4", "h200x4", "h100x8", "h200x8"])
def test_no_interval_of_what_was_foretold_is_wider_than_fifteen_percent(name):
    rows = [row for row in foretold.predictions(name) if row["metric"] in foretold.TIMES]
    assert len(rows) >= 49
    for row in rows:
        predicted, low, high = (float(row[key]) for key in ("predicted", "low", "high"))
        assert 0.85 * predicted <= low < predicted < high <= 1.15 * predicted, row


@pytest.mark.parametrize(
    ("names", "cells"), [(("h200x4",), [7] * 5), (("h200x1-families", "h200x2-families"), [10, 9, 8, 3])]
)
def test_every_cell_that_was_measured_is_set_beside_what_was_foretold(names, cells):
    *blocks, every = foretold.by_block(*names)
    assert [int(row[1]) for row in blocks] == cells
    assert every[0] == "all"
    assert int(every[1]) == sum(cells)
    outside = [row for row in foretold.every_cell(*names) if row[-1] == "outside"]
    assert every[-1] == f"{sum(cells) - len(outside)} of {sum(cells)}"


def test_a_cell_is_set_beside_its_own_prediction():
    """656.5 ms expected of 128 requests to gpt-oss, between 570.2 and 773.8; 878.4 in the evidence."""
    (row,) = (row for row in foretold.every_cell("h200x1-families") if row[0] == "gpt-oss-20b/tp1/batch-128")
    assert row[1:] == ["656.5 ms", "570.2 ms to 773.8 ms", "878.4 ms", "-25.3%", "outside"]

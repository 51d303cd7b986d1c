"""Whole experts on four cards."""

import pytest

from fixtures.claims.ledger import ledger
from perf_tests.documentation import four_cards

pytestmark = pytest.mark.cpu


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

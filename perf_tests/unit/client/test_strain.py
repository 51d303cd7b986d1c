"""How far requests were from their limits."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.client.record import Record
from fixtures.client.strain import seen, strain

pytestmark = pytest.mark.cpu

TIMES = st.lists(st.tuples(st.floats(0.001, 10), st.floats(0.001, 10)), min_size=1, max_size=40)


@given(TIMES, st.sampled_from([0.5, 0.75, 1.0]))
def test_it_is_at_most_one_where_the_share_keeps_both_limits(times, share):
    kept = sum(first <= 1 and pace <= 0.5 for first, pace in times)
    assert (strain(times, 1.0, 0.5, share) <= 1) == (kept >= share * len(times))


@given(TIMES)
def test_it_grows_in_proportion_to_all_times(times):
    doubled = [(2 * first, 2 * pace) for first, pace in times]
    assert strain(doubled, 1.0, 0.5, 0.9) == pytest.approx(2 * strain(times, 1.0, 0.5, 0.9))


def test_what_failed_kept_nothing_and_one_token_has_no_pace():
    good = Record(0.0, 2, chunks=[0.1, 0.15], tokens=[1, 1], completion_tokens=2)
    one = Record(0.0, 1, chunks=[0.1], tokens=[1], completion_tokens=1)
    bad = Record(0.0, 2, error="cut")
    buffered = Record(0.0, 2, chunks=[0.1], tokens=[2], completion_tokens=2)
    found = seen([good, one, bad, buffered])
    assert found[0] == (0.1, pytest.approx(0.05))
    assert math.isnan(found[1][1])
    assert found[2] == (math.inf, math.inf)
    assert found[3] == (0.1, math.inf), "a pace that nobody could have seen"
    assert strain(seen([good, bad]), 0.2, 0.1, 0.5) == pytest.approx(0.5)
    assert strain(seen([good, bad]), 0.2, 0.1, 0.6) == math.inf
    assert strain([(0.1, math.nan)], 0.2, 0.1, 1) == pytest.approx(0.5)
    with pytest.raises(ValueError, match="no requests"):
        strain([], 1, 1, 0.5)

"""Whether repetitions of one boot are repetitions of the same thing."""

import pytest

from fixtures.session.steadiness import outlier

pytestmark = pytest.mark.cpu


def test_repetitions_of_nothing_and_those_at_the_limit_are_steady():
    assert outlier([0.0, 0.0, 0.0]) is None
    assert outlier([1.0, 1.0, 1.25]) is None
    assert outlier([1.0, 1.0, 1.26]) == 2

"""Whether repetitions of one boot are repetitions of the same thing."""

import pytest

from fixtures.session.steadiness import OTHERS, disturbed_reason, outlier, quieter

pytestmark = pytest.mark.cpu


def test_repetitions_of_nothing_and_those_at_the_limit_are_steady():
    assert outlier([0.0, 0.0, 0.0]) is None
    assert outlier([1.0, 1.0, 1.25]) is None
    assert outlier([1.0, 1.0, 1.26]) == 2


def test_what_was_not_disturbed_is_chosen_or_the_half_that_was_least_by_what_all_models_waited():
    assert quieter([[0.6, 0.0, 0.2, 0.5], [0.2, 0.4, 0.4, 0.6]]) == [1, 2]
    assert quieter([[0.6, 0.0, 0.1, 0.5], [0.2, 0.4, 0.4, 0.0]]) == [1, 2, 3]
    assert quieter([[0.5, 0.4, 0.3]]) == [1, 2]
    assert quieter([[0.1, 0.2]]) == [0, 1]
    assert quieter([[0.4, 0.4]]) == [0], "alike: the first"
    assert quieter([[0.1, 0.2], []]) == [], "not known of each"
    assert quieter([]) == []


def test_a_disturbance_is_that_of_the_quieter_half_over_all_models():
    assert disturbed_reason([[0.6, 0.0, 0.1, 0.8], [0.2, 0.4, 0.0, 0.2]]) == ""
    assert disturbed_reason([[0.4, 0.4], [0.2, 0.4]]).startswith(
        f"{OTHERS}: they waited for 30% of the time (limit 25%)"
    )
    assert disturbed_reason([[0.5], []]) == disturbed_reason([]) == ""

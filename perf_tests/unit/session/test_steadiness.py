"""Whether repetitions of one boot are repetitions of the same thing."""

import pytest

from fixtures.session.steadiness import OTHERS, disturbed_reason, outlier, undisturbed

pytestmark = pytest.mark.cpu


def test_repetitions_of_nothing_and_those_at_the_limit_are_steady():
    assert outlier([0.0, 0.0, 0.0]) is None
    assert outlier([1.0, 1.0, 1.25]) is None
    assert outlier([1.0, 1.0, 1.26]) == 2


def test_what_was_not_disturbed_is_told_by_the_mean_over_all_models():
    assert undisturbed([[0.15, 0.0, 0.05, 0.2], [0.05, 0.4, 0.2, 0.0]]) == [0, 3]
    assert undisturbed([[0.05, 0.1]]) == [0, 1]
    assert undisturbed([[0.3, 0.4]]) == undisturbed([[0.1, 0.0], []]) == undisturbed([]) == []


def test_half_of_as_many_as_there_should_be_must_be_undisturbed():
    loads = [[0.15, 0.0, 0.05, 0.5], [0.05, 0.4, 0.0, 0.4]]
    assert disturbed_reason(loads, 4) == ""
    assert disturbed_reason(loads, 5).startswith(f"{OTHERS}: 15% of their time (limit 10%)")
    assert disturbed_reason([[0.5], []], 1) == disturbed_reason([], 1) == "", "not known"

"""One verdict on everything that several cells may have in common, after their own: one cause fails once."""

import pytest

from fixtures.gate.verdict import Outcome

pytestmark = pytest.mark.serving


@pytest.mark.causes
def test_cause(cause, judge_cause):
    """What ``judge_cause`` returns has passed, and says what it rests on."""
    found = judge_cause(cause)
    assert found.verdict.outcome in (Outcome.PASS, Outcome.IMPROVEMENT), found.verdict.reason
    assert set(found.effects) <= set(cause.members)
    assert found.effects

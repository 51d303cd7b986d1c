"""One verdict per judged metric of every cell, after the cells of its engine and model have been measured."""

import pytest

from fixtures.gate.verdict import Outcome

pytestmark = pytest.mark.serving


@pytest.mark.verdicts
def test_verdict(cell, metric, judge, night):
    """What ``judge`` returns has passed, and is about this metric of this cell: it lies among what its boots measured."""
    verdict = judge(cell, metric)
    assert verdict.outcome in (Outcome.PASS, Outcome.IMPROVEMENT), verdict.reason
    measured = [boot.metrics[metric.name] for boot in night.boots[cell] if metric.name in boot.metrics]
    rounding = 1e-9 * max(map(abs, measured))
    assert min(measured) - rounding <= verdict.value <= max(measured) + rounding

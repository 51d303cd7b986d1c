"""One verdict per judged metric of every cell, after the cells of its engine and model have been measured."""

import pytest

pytestmark = pytest.mark.serving


@pytest.mark.verdicts
def test_verdict(cell, metric, judge):
    verdict = judge(cell, metric)
    assert verdict.value is not None

"""Every metric has its line in docs/metrics.md, with the unit, direction and tolerance that it is judged by."""

import re

import pytest

from fixtures.metrics import METRICS
from perf_tests.paths import ROOT

pytestmark = pytest.mark.cpu

ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in (ROOT / "docs" / "metrics.md").read_text().splitlines()
    if re.match(r"\| `\w+` \|", line)
]


def test_every_metric_has_its_line_in_the_order_of_the_reports():
    assert [row[0].strip("`") for row in ROWS] == list(METRICS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_a_line_says_what_the_code_does(row):
    name, unit, better, tolerance, by_default, kinds, definition = row
    metric = METRICS[name.strip("`")]
    assert (unit, better) == (metric.unit, metric.direction)
    assert float(tolerance) == metric.tolerance
    assert by_default == ("judged" if metric.gated else "recorded")
    assert tuple(kinds.split(", ")) == metric.kinds
    assert definition
    if metric.reference:
        assert definition.startswith(f"`{metric.of}` / that ")


def test_metrics_that_a_definition_leans_on_exist():
    for row in ROWS:
        named = set(re.findall(r"`(\w+)`", row[6])) - {"usage", "slo_ttft", "slo_tpot"}
        assert named <= set(METRICS)

"""Small charts: where their marks are."""

import re

import pytest

from fixtures.report import charts
from perf_tests.fakes.reported_runs import judged

pytestmark = pytest.mark.cpu


def test_experts_are_drawn_by_layer_beside_the_band_that_the_document_calls_uniform():
    even, odd = (0.125,) * 8, (0.3, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1)
    drawn = charts.layer_strips([even, odd])
    (left, width) = map(float, re.search(r'class="band" x="([\d.]+)" y="0" width="([\d.]+)"', drawn).groups())
    rows = [
        [float(x) for x in re.findall(r"M([\d.]+) ", path)] for path in re.findall(r'dots layer" d="([^"]+)"', drawn)
    ]
    assert [len(row) for row in rows] == [8, 8]
    assert all(place == pytest.approx(left + width / 2, abs=0.1) for place in rows[0])
    assert width / 2 == pytest.approx(0.15 * (left + width / 2 - 24), abs=0.1)
    assert [left <= place <= left + width for place in rows[1]] == [False] * 8


def test_a_strip_sets_worse_to_the_right_whichever_way_a_metric_goes():
    def place(metric, value):
        one = judged(metric, "pass", value=value, baseline=1.0, change=value - 1, error=0.01, known=(1.0,))
        return float(re.search(r'dots now pass" d="M([\d.]+)', charts.strip(one, (value,)))[1])

    assert place("latency", 1.04) > 100
    assert place("output_throughput", 1.04) < 100
    assert place("latency", 9.0) == place("latency", 5.0) == 195, "off the scale is at its end"


@pytest.mark.parametrize("low", [0.0005, 0.013])
@pytest.mark.parametrize("ratio", [1.5, 3, 40, 1e4])
def test_an_axis_has_some_ticks_and_not_too_many(low, ratio):
    assert 1 <= len(charts.ticks(low, low * ratio)) <= 8

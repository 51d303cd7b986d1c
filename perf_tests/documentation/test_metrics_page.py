"""The table of docs/metrics.md says of every metric what the code does, in words of its own."""

import re

import pytest

from fixtures.metrics import METRICS
from perf_tests.documentation.metrics_page import PAGE, definitions, filled

pytestmark = pytest.mark.cpu

TEXT = PAGE.read_text(encoding="utf-8")
DEFINITIONS = definitions(TEXT)
# What definitions quote besides metrics.
OTHERS = {"usage", "slo_share", "slo_ttft", "slo_tpot"}


def test_the_table_is_what_the_metrics_are():
    assert filled(TEXT) == TEXT, "look at the difference after `python -m perf_tests.documentation.generate`"


def test_what_has_changed_is_written_and_definitions_stay():
    row = next(line for line in TEXT.splitlines() if line.startswith("| `latency` |"))
    assert filled(TEXT.replace(row, row.replace("| lower |", "| higher |"))) == TEXT
    assert filled(TEXT.replace(row + "\n", "")) == TEXT.replace(DEFINITIONS["latency"], METRICS["latency"].help, 1)
    assert "| by hand |" in filled(TEXT.replace(DEFINITIONS["latency"], "by hand", 1))
    with pytest.raises(ValueError, match="found 0"):
        filled("a page without a table")


def test_a_ratio_is_defined_as_one():
    ratios = {name: metric for name, metric in METRICS.items() if metric.reference}
    assert ratios
    for name, metric in ratios.items():
        form = f"that [^/]+ / `{metric.of}`" if metric.inverse else f"`{metric.of}` / that "
        assert re.match(form, DEFINITIONS[name]), name


def test_metrics_that_a_definition_leans_on_exist():
    named = {word for text in DEFINITIONS.values() for word in re.findall(r"`(\w+)`", text)}
    assert "usage" in named
    assert named <= set(METRICS) | OTHERS

"""Predictions of the claims in a report."""

import dataclasses
import re
import statistics

import pytest

from fixtures.claims.ledger import ledger
from fixtures.report import markdown
from perf_tests.fakes.reported_runs import rendered
from perf_tests.fakes.synthetic_run import synthetic_run

pytestmark = pytest.mark.cpu


def test_predictions_are_marked_in_page_and_markdown_and_a_measurement_stands_beside():
    run = synthetic_run(cells=36)
    names = {cell.id: cell.id.replace("/tp1/", "/tp2/") for cell in run.cells}
    cells = tuple(dataclasses.replace(cell, id=names[cell.id]) for cell in run.cells)
    claims = {"tp2-no-gain": ("skipped",), "latency-h200-batch-8": ("passed",)}
    run = dataclasses.replace(run, deployment="h200x2", cells=cells, claims=claims)
    (latency,) = ledger()["latency-h200-batch-8"].predicted
    boots = next(cell for cell in cells if cell.id == latency.cell).boots
    measured = statistics.median(boot.metrics["latency"] for boot in boots) * 1e3
    assert measured > latency.high, "this run is slower than any that is predicted"
    in_page = re.findall(r'<div class="predicted">(.*?)</div>', rendered(run))
    assert len(in_page) == sum(len(ledger()[name].predicted) for name in claims), "of what the run tested alone"
    in_markdown = [line for line in markdown.markdown(run, ledger()).splitlines() if "predicted for" in line]
    assert [line.split(":")[0] for line in in_markdown] == ["- `tp2-no-gain`"] * 2 + ["- `latency-h200-batch-8`"]
    for lines in (in_page, in_markdown):
        beside = next(line for line in lines if f"latency {latency.low:,.10g} to {latency.high:,.10g} ms" in line)
        assert beside.endswith(f"ms, measured {measured:,.4g} ms, outside")
        assert any(
            re.match("(- `tp2-no-gain`: )?predicted for vllm on h100x2: output_throughput of .* recorded", line)
            for line in lines
        )

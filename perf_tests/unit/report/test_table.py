"""The table, in the terminal and as markdown, against what a reader should see."""

import pytest

from fixtures.gate.noise import PooledNoise
from fixtures.gate.verdict import Outcome, Verdict, judge
from fixtures.metrics import METRICS
from fixtures.report import table
from perf_tests.fakes.samples import sample

pytestmark = pytest.mark.cpu
CELL = "vllm/mixtral-8x7b/tp2/batch-8"


@pytest.fixture
def rows():
    boot = sample(latency=0.5034, weight_memory=46.7e9, completed=8.0, tpot_p50=0.00712)
    verdicts = {
        (CELL, "latency"): judge(METRICS["latency"], 0.05, [0.403] * 5, [0.5034] * 3, PooledNoise(1e-4, 30)),
        (CELL, "weight_memory"): judge(METRICS["weight_memory"], 0.005, [46.7e9], [46.7e9]),
        (CELL, "completed"): judge(METRICS["completed"], 0.0, [8.0], [8.0]),
    }
    return table.rows({CELL: boot}, verdicts)


def test_markdown_names_the_cell_on_every_line(rows):
    assert table.markdown(rows) == (
        "| cell                          | metric        |      value |   baseline |   change |   detectable | verdict    |\n"
        "|:------------------------------|:--------------|-----------:|-----------:|---------:|-------------:|:-----------|\n"
        "| vllm/mixtral-8x7b/tp2/batch-8 | latency       |   503.4 ms |     403 ms |   +24.9% |         6.2% | regression |\n"
        "| vllm/mixtral-8x7b/tp2/batch-8 | weight_memory |  43.49 GiB |  43.49 GiB |       0% |         1.1% | pass       |\n"
        "| vllm/mixtral-8x7b/tp2/batch-8 | completed     | 8 requests | 8 requests |       0% |              | pass       |\n"
        "| vllm/mixtral-8x7b/tp2/batch-8 | tpot_p50      |    7.12 ms |            |          |              | recorded   |"
    )


def test_the_terminal_hides_counts_that_did_not_change_and_colours_regressions(rows):
    lines = table.terminal(rows)
    assert "\n".join(line for line, _ in lines) == (
        "  metric             value    baseline    change    detectable  verdict\n"
        "  -------------  ---------  ----------  --------  ------------  ----------\n"
        "vllm/mixtral-8x7b/tp2/batch-8\n"
        "  latency         503.4 ms      403 ms    +24.9%          6.2%  regression\n"
        "  weight_memory  43.49 GiB   43.49 GiB        0%          1.1%  pass\n"
        "  tpot_p50         7.12 ms                                      recorded"
    )
    assert [(line.split()[0], markup) for line, markup in lines if markup] == [
        (CELL, {"bold": True}),
        ("latency", {"red": True}),
    ]
    everything = [line.split()[0] for line, _ in table.terminal(rows, everything=True)]
    assert "completed" in everything


def test_the_widest_that_there_is_fits_the_terminal():
    """Every metric, at a value of seven digits, changed by four, with the longest of the verdicts."""
    widest = [
        table.Row(
            CELL,
            name,
            9_999_999 / metric.factor,
            Verdict(Outcome.INCONCLUSIVE, 0.0, 9_999_999 / metric.factor, -99.99, "", 9.999),
        )
        for name, metric in METRICS.items()
    ]
    assert max(len(line) for line, _ in table.terminal(widest)) <= table.WIDTH


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0%"),
        (-1e-6, "0%"),
        (-3.4e-5, "-0.003%"),
        (4e-4, "+0.04%"),
        (6e-4, "+0.1%"),
        (-0.125, "-12.5%"),
        (3.2, "+320.0%"),
    ],
)
def test_a_change_is_never_shown_as_a_signed_zero(value, text):
    assert table.percent(value) == text


def test_the_tally(rows):
    assert table.tally(row.verdict for row in rows if row.verdict) == "2 pass, 1 regression"
    assert table.tally([]) == "nothing judged"


def test_values_of_an_invalid_boot_that_was_not_judged_are_marked():
    """As of a run that was interrupted before its verdicts."""
    found = table.rows({CELL: sample("b", "the client was late", latency=0.5)}, {})
    assert [(row.texts()[-1], row.markup) for row in found] == [("invalid", {"yellow": True})]


def test_a_capacity_is_shown_with_its_interval():
    cell = "vllm/llama-3.1-8b/tp1/capacity"
    verdict = judge(METRICS["capacity"], 0.05, [39.5], [39.53])
    found = table.rows(
        {cell: sample(capacity=39.53, capacity_low=38.71, capacity_high=40.34)}, {(cell, "capacity"): verdict}
    )
    assert [(row.metric, row.texts()[2]) for row in found] == [
        ("capacity", "39.53 req/s"),
        ("capacity_low", "38.71 req/s"),
        ("capacity_high", "40.34 req/s"),
    ]

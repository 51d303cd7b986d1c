"""What the terminal shows below its table."""

import pytest

from fixtures.report import table, terminal
from perf_tests.fakes.reported_runs import EVIL, calm, worse

pytestmark = pytest.mark.cpu


def test_the_terminal_reports_a_regression_in_a_sentence_and_what_to_try_next():
    lines = terminal.regressions(worse())
    assert " ".join(line.strip() for line, markup in lines if markup == {"red": True}) == (
        f"regression: completed of vllm/{EVIL}/tp1/a: 8 requests -> 7 requests, -12.5%, "
        f"against 3 boots of baselines/{EVIL}.json: why "
        f"regression: latency of vllm/{EVIL}/tp1/a: 400 ms -> 440 ms, +10.0% (95%: +8.0% to +12.0%), "
        f"against 3 boots of baselines/{EVIL}.json: why"
    )
    assert max(len(line) for line, _ in lines) <= table.WIDTH
    assert [line for line, markup in lines if not markup] == [
        "",
        "  try next: Look first at what changed since the baseline: driver 1 -> 2.",
        "  try next: Add --profile to record a trace with the engine's profiler.",
        f"  measure it again: pytest '--cells={EVIL}'",
    ]
    assert terminal.regressions(calm()) == []

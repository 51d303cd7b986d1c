"""What the terminal shows below its table."""

import dataclasses

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


def test_what_to_try_next_stands_once_below_all_regressions():
    run = worse()
    first = run.cells[0]
    judged = tuple(dataclasses.replace(one, command="pytest --cells=z" if one.command else "") for one in first.judged)
    second = dataclasses.replace(first, id=f"{first.block}/z", judged=judged)
    lines = [line for line, _ in terminal.regressions(dataclasses.replace(run, cells=(first, second)))]
    assert sum(line.startswith("regression: ") for line in lines) == 4
    assert [line for line in lines if line.startswith("  try next: ") or "again: " in line] == [
        "  try next: Look first at what changed since the baseline: driver 1 -> 2.",
        "  try next: Add --profile to record a trace with the engine's profiler.",
        f"  measure them again: pytest '--cells={EVIL}' --cells=z",
    ]

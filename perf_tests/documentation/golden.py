"""Golden texts: what short simulations and known runs print, in ``golden/``. The tests that print them compare, this writes."""

import functools
import tempfile
from collections.abc import Callable
from pathlib import Path

from fixtures.claims.ledger import ledger
from fixtures.history.__main__ import report
from fixtures.report import markdown
from perf_tests.fakes import reported_runs
from perf_tests.fakes.history_example import example
from perf_tests.unit.studies.gate import test_command


def _simulated(name: str) -> str:
    with tempfile.TemporaryDirectory() as directory:
        return test_command.printed(name, Path(directory))


def _history() -> str:
    status, text = report(example())
    return f"{text}\n\nexit status {status}\n"


TEXTS: dict[str, Callable[[], str]] = {
    **{f"{name}.txt": functools.partial(_simulated, name) for name in test_command.COMMANDS},
    "history_report.txt": _history,
    "report_calm.md": lambda: markdown.markdown(reported_runs.calm(), ledger()),
    "report_worse.md": lambda: markdown.markdown(reported_runs.worse(), ledger()),
}

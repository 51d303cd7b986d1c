"""The table of faults: each test declares its row, ``docs/faults.md`` holds them all."""

import dataclasses
import importlib

import pytest
from tabulate import tabulate

from perf_tests.paths import ROOT

PAGE = ROOT / "docs" / "faults.md"
GROUPS = ("Engine", "Server", "Stream", "Host", "Card", "Files")
HEAD = """\
# Faults

What the suite makes of everything that goes wrong around it. Each line is a test that injects the fault for real (processes
killed, sockets cut, disks full, a stand-in for NVML's library) and checks the outcome, what is kept, and that no process,
port, lock or temporary file is left: `tox -e faults`, those of less than a second in `tox -e cpu`. The page is written by
`python -m perf_tests.documentation.generate`.

How far these and the cpu tests reach: `tox -e coverage` fails below 90% of the branches of `fixtures/`, counted in all
processes that they start; which deliberate mistakes they don't notice is in [mutation.md](mutation.md).
"""


@dataclasses.dataclass(frozen=True)
class Row:
    """A fault, what the suite makes of it, and what is kept of the results before it."""

    group: str
    fault: str
    outcome: str
    kept: str = "-"


_ROWS: dict[tuple[str, str], Row] = {}


def fault(group: str, name: str, outcome: str, kept: str = "-", quick: bool = False) -> pytest.MarkDecorator:
    """Declare a row; returns the marker of its test: ``faults``, or ``cpu`` for one that is ``quick``."""
    _ROWS[group, name] = Row(group, name, outcome, kept)
    return pytest.mark.cpu if quick else pytest.mark.faults


def page() -> str:
    """The page, from the rows of all modules beside this one."""
    for path in sorted((ROOT / "perf_tests" / "faults").glob("test_*.py")):
        importlib.import_module(f"perf_tests.faults.{path.stem}")
    parts = [HEAD]
    for group in GROUPS:
        if rows := [row for row in _ROWS.values() if row.group == group]:
            cells = [(row.fault, row.outcome, row.kept) for row in rows]
            parts.append(f"## {group}\n\n{tabulate(cells, ('fault', 'outcome', 'kept'), 'pipe')}\n")
    return "\n".join(parts)

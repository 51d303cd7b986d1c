"""The table of docs/metrics.md, from fixtures/metrics.toml. Definitions are the page's own and stay as they are."""

import re

from fixtures.metrics import METRICS, Metric
from perf_tests.paths import ROOT

PAGE = ROOT / "docs" / "metrics.md"
HEADERS = ("metric", "unit", "better", "tolerance", "by default", "cells", "definition")
_TABLE = re.compile(r"(<!-- table metrics -->\n)(.*?)(<!-- /table -->)", re.S)
_ROW = re.compile(r"^\| `(\w+)` \|.*\| (.+) \|$", re.M)


def filled(text: str) -> str:
    """The page with its table as the metrics are; one that is new is defined by its help. Raises ValueError without a table."""
    new, count = _TABLE.subn(lambda found: f"{found[1]}{_table(definitions(found[2]))}\n{found[3]}", text)
    if count != 1:
        raise ValueError(f"expected one table of metrics, found {count}")
    return new


def definitions(table: str) -> dict[str, str]:
    """The definition of each metric of a table, by its name."""
    return dict(_ROW.findall(table))


def _table(defined: dict[str, str]) -> str:
    return "\n".join(
        [
            "| " + " | ".join(HEADERS) + " |",
            "|" + "---|" * len(HEADERS),
            *(_row(metric, defined.get(name, metric.help)) for name, metric in METRICS.items()),
        ]
    )


def _row(metric: Metric, definition: str) -> str:
    by_default = "judged" if metric.gated else "recorded"
    by_default += f", recorded beside `{metric.unless}`" if metric.unless else ""
    by_default += f", judged in {', '.join(metric.gated_in)}" if metric.gated_in else ""
    kinds = ", ".join(metric.kinds)
    cells = (f"`{metric.name}`", metric.unit, metric.direction, f"{metric.tolerance:g}", by_default, kinds, definition)
    return f"| {' | '.join(cells)} |"

"""Screens of the documentation: of docs/start.md what its command prints, of README what the demo does."""

import itertools
import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from fixtures.demo import __main__ as demo
from fixtures.session import summary
from perf_tests.documentation import evidence
from perf_tests.paths import ROOT

PAGE, README = ROOT / "docs" / "start.md", ROOT / "README.md"
_DEMO = re.compile(r"(<!-- screen demo -->\n```text\n).*?(```\n<!-- /screen -->)", re.DOTALL)
# Of the demo's cells those that README has room for, and the cause that it quotes.
_CELLS = ("vllm/mixtral-8x7b/tp1/batch-1", "vllm/mixtral-8x7b/tp1/batch-8")
_QUOTED = "regression: vllm/moe, "
_COMMAND = re.compile(r"^\$ pytest (-m serving --deployment=(\w+) --replay=)\S+(.*)$", re.MULTILINE)
_SCREEN = re.compile(r"(```text\n)(  metric .*?)(\n```)", re.DOTALL)


def filled(text: str) -> str:
    """The page with its command on today's evidence, and what that prints."""
    recording = evidence.block(_COMMAND.search(text)[2], "vllm", of=evidence.TODAY).relative_to(ROOT)
    text = _COMMAND.sub(lambda found: f"$ pytest {found[1]}{recording}{found[3]}", text)
    screen = _printed(_COMMAND.search(text)[0].removeprefix("$ pytest "))
    return _SCREEN.sub(lambda found: f"{found[1]}{screen}{found[3]}", text)


def demonstrated(text: str) -> str:
    """A page with what the demo prints of _CELLS, and below them."""
    with tempfile.TemporaryDirectory() as directory:
        demo.prepare(Path(directory, "recorded"), demo.FACTOR)
        config, finished = demo.play(Path(directory, "recorded"), Path(directory, "artifacts"))
        table = [line for line, _ in summary.results(config)]
        below = [line for line, _ in summary.conclusion(config, finished) if directory not in line]
    lines = table[:2]
    for cell in _CELLS:
        start = table.index(cell)
        lines += ["...", cell] if lines == table[:2] else [cell]
        lines += itertools.takewhile(lambda line: line.startswith(" "), table[start + 1 :])
    start = next(i for i, line in enumerate(below) if line.startswith(_QUOTED))
    steps = [line for line in below if line.startswith("  try next: ")]
    end = below.index("", below.index(steps[-1]))
    lines += ["...", "", below[start]]
    lines += itertools.takewhile(lambda line: line not in steps, below[start + 1 :])
    lines += [*steps, *below[end:]]
    screen = "".join(f"{line}\n" for line in lines)
    return _DEMO.sub(lambda found: f"{found[1]}{screen}{found[2]}", text)


def _printed(options: str) -> str:
    """The suite's own section of a session that passes, without its heading."""
    # With CI set pytest prints a failure once more in its summary.
    variables = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_") and k not in ("CI", "FORCE_COLOR")}
    with tempfile.TemporaryDirectory() as artifacts:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *shlex.split(options), f"--artifacts={artifacts}"],
            cwd=ROOT,
            env=variables | {"COLUMNS": "120", "NO_COLOR": "1"},
            capture_output=True,
            text=True,
            check=True,
        )
    return re.search(r"^=+ moegauge: \w+ =+\n\n(.*?^verdicts: .*?)$", done.stdout, re.MULTILINE | re.DOTALL)[1]

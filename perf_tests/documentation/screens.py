"""The screen of docs/start.md: what its command prints, a session on the evidence."""

import os
import re
import shlex
import subprocess
import sys
import tempfile

from perf_tests.documentation import evidence
from perf_tests.paths import ROOT

PAGE = ROOT / "docs" / "start.md"
_COMMAND = re.compile(r"^\$ pytest (-m serving --deployment=(\w+) --replay=)\S+(.*)$", re.MULTILINE)
_SCREEN = re.compile(r"(```text\n)(  metric .*?)(\n```)", re.DOTALL)


def filled(text: str) -> str:
    """The page with its command on the current set of evidence, and what that prints."""
    recording = (evidence.CURRENT / _COMMAND.search(text)[2]).relative_to(ROOT)
    text = _COMMAND.sub(lambda found: f"$ pytest {found[1]}{recording}{found[3]}", text)
    screen = _printed(_COMMAND.search(text)[0].removeprefix("$ pytest "))
    return _SCREEN.sub(lambda found: f"{found[1]}{screen}{found[3]}", text)


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

"""Starts the mock server in a process of its own and reads its log of what it really did."""

import contextlib
import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from typing import Any

from perf_tests.paths import ROOT


@contextlib.contextmanager
def mock_server(*options: str) -> Iterator[str]:
    """A running mock server; yields its base URL and ends it on the way out."""
    command = [sys.executable, "-m", "perf_tests.fakes.mock_server", *options]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            port = next(line.split()[-1] for line in process.stdout if line.startswith("listening on"))
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()


def server_log(url: str) -> list[dict[str, Any]]:
    """What the server logged since the last call: per request ``received`` and the times of the chunks ``written``."""
    with urllib.request.urlopen(f"{url}/log") as response:
        log: list[dict[str, Any]] = json.load(response)
        return log

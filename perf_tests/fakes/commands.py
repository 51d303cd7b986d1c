"""Commands (``python -m fixtures.NAME``) run in the tests' own process, which saves the time that it takes to start one."""

import contextlib
import io
import os
import subprocess
from collections.abc import Callable
from unittest import mock


def run_here(main: Callable[[list[str]], int], *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """What a process with these arguments, and these variables in its environment, would print and end with.

    Whatever the command doesn't catch is raised here.
    """
    output, errors = io.StringIO(), io.StringIO()
    with (
        mock.patch.dict(os.environ, environment),
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(errors),
    ):
        try:
            status = main(list(arguments))
        except SystemExit as end:  # argparse's
            status = end.code if isinstance(end.code, int) else 1
    return subprocess.CompletedProcess(list(arguments), status, output.getvalue(), errors.getvalue())

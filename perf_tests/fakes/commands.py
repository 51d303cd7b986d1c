"""Commands (``python -m fixtures.NAME``) run in the tests' own process, which saves the time that it takes to start one."""

import contextlib
import io
import os
import runpy
import subprocess
import sys
import warnings
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


def run_module_here(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """``python -m name`` with these arguments."""

    def main(given: list[str]) -> int:
        with mock.patch.object(sys, "argv", [name, *given]), warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # the tests may have imported it
            runpy.run_module(name, run_name="__main__")
        return 0

    return run_here(main, *arguments)

"""Starts mock servers in processes of their own and reads their logs of what they really did.

A server is forked from a process that has imported everything already: this takes 10 ms instead of 150.

    python -m perf_tests.fakes.server_process

is that process. It reads a line of JSON for each request: a list of options starts a server and is answered with its
process id and port, a process id ends that server. It ends with its standard input, and its servers with it.
"""

import atexit
import contextlib
import functools
import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from typing import Any

from perf_tests.paths import ROOT


@contextlib.contextmanager
def mock_server(*options: str) -> Iterator[str]:
    """A running mock server; yields its base URL and ends it on the way out."""
    pid, port = _ask(list(options))
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        _ask(pid)


def server_log(url: str) -> list[dict[str, Any]]:
    """What the server logged since the last call: per request ``received`` and the times of the chunks ``written``."""
    with urllib.request.urlopen(f"{url}/log") as response:
        log: list[dict[str, Any]] = json.load(response)
        return log


def _ask(request: list[str] | int) -> Any:
    forker = _forker()
    assert forker.stdin is not None
    assert forker.stdout is not None
    forker.stdin.write(json.dumps(request) + "\n")
    forker.stdin.flush()
    return json.loads(forker.stdout.readline())


@functools.cache
def _forker() -> subprocess.Popen[str]:
    # A session of its own: Ctrl-C is for the tests, which end their servers themselves.
    process = subprocess.Popen(
        [sys.executable, "-m", "perf_tests.fakes.server_process"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    atexit.register(process.communicate)
    return process


def _fork(options: list[str]) -> tuple[int, int]:
    """Start a server; its process id and port."""
    from perf_tests.fakes import mock_server as server

    ours, theirs = os.pipe()
    pid = os.fork()
    if not pid:
        status = 1
        try:
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(theirs, 1)
            os.close(ours)
            server.main(options)
            status = 0
        finally:
            sys.stdout.flush()
            os._exit(status)
    os.close(theirs)
    output = os.fdopen(ours)
    # Kept open for as long as the server runs: what it still prints goes there.
    _outputs[pid] = output
    port = next((int(line.split()[-1]) for line in output if line.startswith("listening on")), 0)
    return pid, port


def _end(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    _outputs.pop(pid).close()


_outputs: dict[int, Any] = {}


def main() -> None:
    """Start and end servers as standard input says."""
    from perf_tests.fakes import mock_server as server

    server.parse_args([])
    for line in sys.stdin:
        request = json.loads(line)
        answer = _end(request) if isinstance(request, int) else _fork(request)
        print(json.dumps(answer), flush=True)
    for pid in list(_outputs):
        _end(pid)


if __name__ == "__main__":
    main()

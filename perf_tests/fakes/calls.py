"""A pytest plugin that records who calls whom among the packages of ``fixtures/``: ``-p perf_tests.fakes.calls``.

Written as JSON lines to the file that CALLS names: phase (``measuring`` or ``reporting``), caller and callee, each as
``package.module:function``, once for each pair of functions of different packages.
"""

import json
import os
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2] / "fixtures"
_found: set[tuple[str, str, str]] = set()
_phase = "measuring"
_names: dict[str, str] = {}


def _module(frame: FrameType) -> str:
    """``package.module`` of a frame; empty outside of ``fixtures/``."""
    path = frame.f_code.co_filename
    if path not in _names:
        inside = Path(path).is_relative_to(ROOT)
        _names[path] = ".".join(Path(path).relative_to(ROOT).with_suffix("").parts) if inside else ""
    return _names[path]


def _seen(frame: FrameType, event: str, argument: Any) -> None:
    if event != "call" or not (callee := _module(frame)):
        return
    caller = frame.f_back
    while caller is not None and not _module(caller):
        caller = caller.f_back
    if caller is None or _module(caller).partition(".")[0] == callee.partition(".")[0]:
        return
    pair = (f"{_module(caller)}:{caller.f_code.co_qualname}", f"{callee}:{frame.f_code.co_qualname}")
    _found.add((_phase, *pair))


def pytest_runtestloop() -> None:
    """Listen from the first test on."""
    threading.setprofile(_seen)
    sys.setprofile(_seen)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish() -> None:
    """What comes from here on is the end of a session."""
    global _phase  # noqa: PLW0603
    _phase = "reporting"


def pytest_unconfigure() -> None:
    """Write what was seen."""
    sys.setprofile(None)
    Path(os.environ["CALLS"]).write_text("".join(f"{json.dumps(one)}\n" for one in sorted(_found)))

"""A pytest plugin that records who calls whom among the packages of ``fixtures/``: ``-p perf_tests.fakes.calls``.

From the first test to the end of the session, as lines of JSON in the file that the variable CALLS names: caller and callee
as ``package.module:function``, once for each pair of functions of different packages.
"""

import json
import os
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

from perf_tests.paths import ROOT

PACKAGES = ROOT / "fixtures"
_found: set[tuple[str, str]] = set()
_modules: dict[str, str] = {}


def _module(frame: FrameType) -> str:
    """``package.module`` of a frame; empty outside of ``fixtures/``."""
    path = frame.f_code.co_filename
    if path not in _modules:
        inside = Path(path).is_relative_to(PACKAGES)
        _modules[path] = ".".join(Path(path).relative_to(PACKAGES).with_suffix("").parts) if inside else ""
    return _modules[path]


def _seen(frame: FrameType, event: str, argument: Any) -> None:
    if event != "call" or not (callee := _module(frame)):
        return
    caller = frame.f_back
    while caller is not None and not _module(caller):
        caller = caller.f_back
    if caller is not None and _module(caller).partition(".")[0] != callee.partition(".")[0]:
        _found.add((f"{_module(caller)}:{caller.f_code.co_qualname}", f"{callee}:{frame.f_code.co_qualname}"))


def pytest_runtestloop() -> None:
    """Listen from the first test on."""
    threading.setprofile(_seen)
    sys.setprofile(_seen)


def pytest_unconfigure() -> None:
    """Write what was seen."""
    sys.setprofile(None)
    Path(os.environ["CALLS"]).write_text("".join(f"{json.dumps(one)}\n" for one in sorted(_found)))

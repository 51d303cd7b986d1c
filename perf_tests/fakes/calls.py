"""A pytest plugin that records who calls whom among the packages of ``fixtures/``: ``-p perf_tests.fakes.calls``.

From the first test to the end of the session, as lines of JSON in the file that the variable CALLS names: caller and callee
as ``package.module:function``, once for each pair of functions.
"""

import json
import os
import sys
import threading
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from perf_tests.paths import ROOT

PACKAGES = ROOT / "fixtures"
_found: set[tuple[CodeType, CodeType]] = set()
# ``package.module`` of what is in ``fixtures/``, empty of all else.
_modules: dict[CodeType, str] = {}


def _module(code: CodeType) -> str:
    if code not in _modules:
        path = Path(code.co_filename)
        inside = path.is_relative_to(PACKAGES)
        _modules[code] = ".".join(path.relative_to(PACKAGES).with_suffix("").parts) if inside else ""
    return _modules[code]


def _called(frame: FrameType, event: str, argument: Any) -> None:
    """Note a call into ``fixtures/`` from the nearest caller there. Nothing inside of it is traced, which would be slow."""
    if not _module(frame.f_code):
        return
    caller = frame.f_back
    while caller is not None and not _module(caller.f_code):
        caller = caller.f_back
    if caller is not None:
        _found.add((caller.f_code, frame.f_code))


def pytest_runtestloop() -> None:
    """Listen from the first test on."""
    threading.settrace(_called)
    sys.settrace(_called)


def pytest_unconfigure() -> None:
    """Write what was seen."""
    sys.settrace(None)
    pairs = {tuple(f"{_module(code)}:{code.co_qualname}" for code in pair) for pair in _found}
    Path(os.environ["CALLS"]).write_text("".join(f"{json.dumps(pair)}\n" for pair in sorted(pairs)))

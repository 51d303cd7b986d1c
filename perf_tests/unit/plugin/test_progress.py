"""What is on the terminal while two servers boot and two cells are measured in turn."""

import contextlib
from types import SimpleNamespace

import pytest

from fixtures.plugin import progress as module
from fixtures.plugin.progress import Progress

pytestmark = pytest.mark.cpu

# Seconds, what is told, and whether it is passing: two servers boot at once, each told of many times, then two cells in turn.
COURSE = [
    (0, "e/dense/tp1: starting", False),
    (0, "e/moe/tp1: starting", False),
    (1, "e/dense/tp1: starting", False),
    (1, "e/moe/tp1: starting", False),
    (6, "e/dense/tp1: importing", False),
    (7, "e/moe/tp1: importing", False),
    (8, "e/dense/tp1: importing", False),
    (9, "e/moe/tp1: importing", False),
    (20, "e/dense/tp1/batch-1: measuring 1/2", True),
    (21, "e/moe/tp1/batch-1: measuring 1/2", True),
    (22, "e/dense/tp1/batch-1: measuring 2/2", True),
    (23, "e/moe/tp1/batch-1: measuring 2/2", True),
    (25, "e/dense/tp1/batch-1: measured", False),
    (25, "e/moe/tp1/batch-1: measured", False),
    (30, "e/dense/tp1: starting", False),
]


class Reporter:
    """Stands in for pytest's: a screen, in which a line can be rewritten."""

    currentfspath = None

    def __init__(self, isatty):
        self.isatty = isatty
        self.lines = [""]

    def ensure_newline(self):
        pass

    def rewrite(self, line, erase):
        self.lines[-1] = line

    def write_line(self, line):
        self.lines[-1] += line
        self.lines.append("")

    def flush(self):
        self.read = list(self.lines)


@pytest.fixture
def screen(monkeypatch):
    def show(isatty):
        reporter, now = Reporter(isatty), [0.0]
        capture = SimpleNamespace(global_and_fixture_disabled=contextlib.nullcontext)
        plugins = {"terminalreporter": reporter, "capturemanager": capture}
        config = SimpleNamespace(pluginmanager=SimpleNamespace(get_plugin=plugins.get), getoption=lambda _: 0)
        monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
        told = Progress(config)
        for now[0], text, passing in COURSE:
            told(text, passing)
            assert isatty or reporter.read == reporter.lines, "a pipe's reader sees each step at once"
        return reporter.lines

    return show


def test_a_pipe_gets_a_line_for_each_step_with_the_time_since_its_own_beginning(screen):
    assert screen(isatty=False) == [
        "e/dense/tp1: starting (0 s)",
        "e/moe/tp1: starting (0 s)",
        "e/dense/tp1: importing (6 s)",
        "e/moe/tp1: importing (7 s)",
        "e/dense/tp1/batch-1: measured (5 s)",
        "e/moe/tp1/batch-1: measured (4 s)",
        "e/dense/tp1: starting (0 s)",
        "",
    ]


def test_a_terminal_keeps_a_line_for_the_boot_and_one_for_each_cell(screen):
    assert screen(isatty=True) == [
        "e/moe/tp1: importing (9 s)",
        "e/dense/tp1/batch-1: measured (5 s)",
        "e/moe/tp1/batch-1: measured (4 s)",
        "e/dense/tp1: starting (0 s)",
    ]

"""Every message that docs/troubleshooting.md quotes is one that the code prints."""

import ast
import functools
import re

import pytest

from perf_tests.paths import ROOT

pytestmark = pytest.mark.cpu

MESSAGES = re.findall(r"^\| `([^`]+)` \|", (ROOT / "docs" / "troubleshooting.md").read_text(), re.MULTILINE)
# Stands for a value that is filled in.
HOLE = "\0"


@functools.cache
def texts() -> tuple[str, ...]:
    """Every string of ``fixtures/`` that may be printed, with a HOLE for each value: no documentation, no keys."""
    found = []
    for path in (ROOT / "fixtures").rglob("*.py"):
        tree = ast.parse(path.read_text())
        documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                found.append("".join(part.value if isinstance(part, ast.Constant) else HOLE for part in node.values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
                found.append(node.value)
    return tuple(found)


def printed(message: str) -> bool:
    return any(message.replace("...", HOLE) in text for text in texts())


def test_there_are_messages():
    assert len(MESSAGES) > 40
    assert len(set(MESSAGES)) == len(MESSAGES)


def test_every_message_is_printed_by_the_code():
    vague = [message for message in MESSAGES if len(message.replace("...", "").replace(" ", "")) <= 6]
    assert not vague, "these could be anything"
    assert not [message for message in MESSAGES if not printed(message)]


def test_a_message_that_is_not_printed_is_found_out():
    assert not printed("the server has lost ... of its ...")
    assert not printed("Arrival times, drawn beforehand"), "documentation is not printed"

"""The ledger against the tests that are bound to its rows, and how it is printed."""

import ast
import functools
from pathlib import Path

import pytest

from fixtures.claims.ledger import Claim, ledger
from fixtures.errors import UsageError
from fixtures.report import claims

pytestmark = pytest.mark.cpu

TESTS = Path(__file__).parents[1]


@functools.cache
def bound() -> dict[str, list[str]]:
    """Claim ids that markers in the tests name, and the files that do."""
    found: dict[str, list[str]] = {}
    for path in sorted(TESTS.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.claim":
                found.setdefault(ast.literal_eval(node.args[0]), []).append(path.name)
    return found


def row(**changes):
    fields = {"id": "a", "statement": "s", "where": "w", "kind": "arithmetic", "verdict": "holds", "found": "f"}
    return Claim(**{**fields, **changes})


def test_every_claim_that_can_be_checked_is():
    unbound = [c.id for c in ledger().values() if c.verdict != "unverifiable" and c.id not in bound()]
    assert not unbound


def test_no_test_is_bound_to_what_cannot_be_checked_or_is_unknown():
    unknown = {id_: files for id_, files in bound().items() if id_ not in ledger()}
    assert not unknown
    assert not [c.id for c in ledger().values() if c.verdict == "unverifiable" and c.id in bound()]


@pytest.mark.parametrize("row", ledger().values(), ids=lambda row: row.id)
def test_rows_are_complete(row):
    assert row.statement
    assert row.where
    assert row.found
    assert row.tolerance == 0 or row.value is not None
    if row.verdict == "holds within":
        assert row.tolerance > 0, "within what?"


def test_a_claim_admits_what_is_within_its_tolerance():
    claim = row(value=100, unit="GB", tolerance=0.05)
    assert claim.admits(95)
    assert claim.admits(105)
    assert not claim.admits(94.9)
    assert not claim.admits(105.1)
    with pytest.raises(ValueError, match="states no number"):
        row().admits(1)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ('{0}\n{0}', "claim 'a' appears twice"),
        ("{0}\nvalue = 3", "a value needs a unit"),
    ],
)  # fmt: skip
def test_an_unsound_ledger_is_refused(rows, message, tmp_path):
    fields = "\n".join(f'{key} = "{value}"' for key, value in vars(row()).items() if isinstance(value, str))
    file = tmp_path / "ledger.toml"
    file.write_text(rows.format(f"[[claim]]\n{fields}"))
    with pytest.raises(UsageError, match=message):
        ledger(file)


def test_the_terminal_shows_what_became_of_each_claim():
    rows = {
        "one": row(id="one", value=93, unit="GB", verdict="holds within"),
        "two": row(id="two", verdict="refuted"),
        "three": row(id="three"),
        "four": row(id="four"),
        "five": row(id="five", verdict="unverifiable"),
    }
    run = {"one": ["passed"], "two": ["passed", "failed"], "three": ["skipped"]}
    lines = claims.terminal(rows, run)
    shown = {line.split()[0]: line for line, _ in lines if line.split() and line.split()[0] in rows}
    assert {id_: line.split()[-1] for id_, line in shown.items()} == {
        "one": "checked", "two": "FAILED", "three": "skipped", "four": "run", "five": "-",
    }  # fmt: skip
    assert "93 GB" in shown["one"]
    assert [line for line, markup in lines if markup] == [shown["two"]]
    tail = [line for line, _ in lines[-2:]]
    assert tail == [
        "5 claims: 1 holds within, 1 refuted, 2 holds, 1 unverifiable",
        "this run: 1 checked, 1 FAILED, 1 skipped, 1 not run",
    ]

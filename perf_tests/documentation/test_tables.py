"""The tables of README and docs: each is shown, and replaced."""

import pytest

from perf_tests.documentation.tables import PAGES, TABLES, filled

pytestmark = pytest.mark.cpu


def test_every_table_is_shown_once():
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert {name: text.count(f"<!-- table {name} -->") for name in TABLES} == dict.fromkeys(TABLES, 1)
    assert text.count("<!-- /table -->") == len(TABLES)


def test_a_table_that_differs_is_replaced_and_an_unknown_one_is_not():
    page = "before\n<!-- table side by side -->\nold\n<!-- /table -->\nafter\n"
    new = filled(page)
    assert "old" not in new
    assert new.startswith("before\n<!-- table side by side -->\n|")
    assert new.endswith("|\n<!-- /table -->\nafter\n")
    with pytest.raises(KeyError, match="typo"):
        filled(page.replace("side by side", "typo"))

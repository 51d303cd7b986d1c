"""The tables of docs/accepted.md list every form, each once."""

import pytest

from perf_tests.documentation.forms import PAGE, filled, outcome
from perf_tests.fakes.conformance import FORMS

pytestmark = pytest.mark.cpu

TEXT = PAGE.read_text(encoding="utf-8")


def test_the_tables_are_what_the_forms_are():
    assert filled(TEXT) == TEXT, "look at the difference after `python -m perf_tests.documentation.generate`"
    for form in FORMS.values():
        (row,) = [line for line in TEXT.splitlines() if line.startswith(f"| {form.says} ")]
        assert row.rstrip(" |").endswith(outcome(form))


def test_a_section_without_a_table_is_found_out():
    with pytest.raises(
        ValueError, match="expected a table for each of Errors of servers, HTTP, Streams, found Streams"
    ):
        filled("<!-- forms: Streams -->\n<!-- /forms -->")

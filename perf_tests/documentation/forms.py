"""The tables of docs/accepted.md: every form of a response, and what is made of it, from perf_tests/fakes/conformance.py."""

import re

from perf_tests.documentation.tables import markdown
from perf_tests.fakes.conformance import FORMS, Form
from perf_tests.paths import ROOT

PAGE = ROOT / "docs" / "accepted.md"
_TABLE = re.compile(r"(<!-- forms: ([\w ]+) -->\n)(.*?)(<!-- /forms -->)", re.S)


def filled(text: str) -> str:
    """The page with its tables of forms as the forms are. Raises ValueError for a section that has no table, or no form."""
    sections, found = {form.section for form in FORMS.values()}, [match[2] for match in _TABLE.finditer(text)]
    if sorted(found) != sorted(sections):
        raise ValueError(f"expected a table for each of {', '.join(sorted(sections))}, found {', '.join(found)}")
    return _TABLE.sub(lambda match: f"{match[1]}{table(match[2])}\n{match[4]}", text)


def table(section: str) -> str:
    """The forms of a section: what is sent, what becomes of it."""
    rows = [(form.says, outcome(form)) for form in FORMS.values() if form.section == section]
    return markdown(("the server sends", "the request"), rows).replace("\\|", "|")


def outcome(form: Form) -> str:
    """What becomes of a form."""
    if form.error:
        return f"fails: `{form.error}`"
    absent = [name for name, value in (("TPOT", form.tpot), ("ITL", form.itl)) if value is None]
    return f"counts, without {' and '.join(absent)}" if absent else "counts"

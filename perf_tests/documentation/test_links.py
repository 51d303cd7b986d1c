"""The check of links and commands finds what leads nowhere. The pages themselves are checked by ``tox -e lint``."""

import subprocess
import sys
from collections import Counter

import pytest

from fixtures.claims.ledger import ledger
from perf_tests.documentation import links as documents
from perf_tests.documentation.links import ROOT

pytestmark = pytest.mark.cpu

FINE = """
# A page: of `links`, and [one](#a-page-of-links-and-one)
## Twice
## Twice

[a file](other.md), [`code`](other.md#there), [a heading](#twice-1), [elsewhere](https://example.org/#no), [two
lines](other.md) and `[no link](nowhere.md)`. `pytest -m "cpu and not faults" --claims`, `tox -e lint,cpu`, `tox`,
`TOKEN=x python -m fixtures.client --rate 4`, `tox -e history -- PATH --json`, `python -m pip install tox`.

```console
$ tox -e perf -- --cells '*/mixtral*/*' -x     # [no link](nowhere.md)
$ pip install -r requirements/suite.txt
output: pytest --no-such-option
```
"""


@pytest.fixture
def page(tmp_path):
    (tmp_path / "other.md").write_text("# There\n")
    return tmp_path / "page.md"


def test_what_leads_somewhere_is_let_pass(page):
    page.write_text(FINE)
    assert documents.complaints(page) == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[a](nowhere.md)", "no such file: nowhere.md"),
        ("[two\nlines](nowhere.md)", "no such file: nowhere.md"),
        ("[a](other.md#here)", "no such heading: other.md#here"),
        ("[a](#here)", "no such heading: #here"),
        ("# Twice\n[a](#twice-1)", "no such heading: #twice-1"),
        ("`tox -e lintt`", "no such tox environment: lintt"),
        ("`tox -e lint,cpuu`", "no such tox environment: cpuu"),
        ("`tox -e lint -- --fix`", "tox -e lint takes no options"),
        ("`tox -e perf -- --cell=x`", "no such option of pytest: --cell"),
        ("`tox -e history -- --jsonn`", "no such option of fixtures.history: --jsonn"),
        ("`pytest --cell x`", "no such option of pytest: --cell"),
        ("`pytest -m gpus`", "no such marker: gpus"),
        ("`python -m fixtures.clients`", "no such module: fixtures.clients"),
        ("`python -m fixtures.errors`", "fixtures.errors is no command"),
        ("`python -m fixtures.client --ratee 4`", "no such option of fixtures.client: --ratee"),
        ("```console\n$ pip install -r requirements.txt\n```", "no such requirements: requirements.txt"),
        ("~~~\n$ pytest -m gpus\n~~~", "no such marker: gpus"),
        ("~~~\n$ cd x && pytest -m gpus\n~~~", "no such marker: gpus"),
        ("`pytest -m 'gpu`", "not a command: pytest -m 'gpu: No closing quotation"),
    ],
)
def test_what_leads_nowhere_is_named_with_its_line(page, text, problem):
    page.write_text(f"\n{text}\n")
    number = 2 + max(i for i, line in enumerate(text.splitlines()) if not line.startswith(("```", "~~~", "# ")))
    assert documents.complaints(page) == [f"page.md:{number}: {problem}"]


def test_the_command_fails_on_a_complaint(page):
    page.write_text("[a](nowhere.md)\n")
    command = [sys.executable, "-m", "perf_tests.documentation.links", str(page)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "page.md:1: no such file: nowhere.md\n")


def test_every_page_is_checked():
    names = {path.name for path in documents.pages()}
    assert {"README.md", "SECURITY.md", "extending.md", "metrics.md", "troubleshooting.md", "architecture.md"} <= names


def test_the_readme_counts_the_verdicts_as_they_are():
    counts = Counter(claim.verdict for claim in ledger().values())
    text = " ".join((ROOT / "README.md").read_text().split())
    assert f"its {len(ledger())} quantitative statements" in text
    assert (
        f"{counts['holds']} hold as stated, {counts['holds within']} within a tolerance, {counts['refuted']} are refuted, "
        f"{counts['contradicts itself']} contradict themselves, {counts['unverifiable']} cannot be checked" in text
    )

"""The report as markdown: against golden texts, and within the length of a comment."""

import pytest

from fixtures.claims.ledger import ledger
from fixtures.report import markdown
from perf_tests.fakes.reported_runs import calm, worse
from perf_tests.fakes.synthetic_run import synthetic_run
from perf_tests.paths import GOLDEN

pytestmark = pytest.mark.cpu


@pytest.mark.parametrize(("name", "run"), [("calm", calm), ("worse", worse)])
def test_markdown_is_the_golden_one(name, run):
    before = (GOLDEN / f"report_{name}.md").read_text()
    remedy = "look at the difference; `python -m perf_tests.documentation.generate` writes it anew"
    assert markdown.markdown(run(), ledger()) == before, remedy


def test_markdown_fits_a_comment_and_leaves_out_what_matters_least():
    text = markdown.markdown(synthetic_run(cells=200, boots=3, changes={3: 0.3}), ledger())
    assert len(text) < 65_536
    assert "lines left out: report.html has them" in text
    assert text.count("| regression") == 2
    assert text.index("### regression") < text.index("<details>")
    assert len(text) > 55_000, "as much of what passed as there is room for"
    assert "| pass" in text
    assert "| recorded" not in text

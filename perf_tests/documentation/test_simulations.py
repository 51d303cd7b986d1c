"""Long simulations: which rule they were made with is known without running them."""

import shutil

import pytest

from perf_tests.documentation import simulations

pytestmark = pytest.mark.cpu


@pytest.fixture
def rule(tmp_path):
    """A copy of the code that decides the outcome."""
    places = tuple(tmp_path / str(i) for i, _ in enumerate(simulations.RULE))
    for source, copy in zip(simulations.RULE, places, strict=True):
        shutil.copytree(source, copy)
    return places


def test_the_digest_is_of_the_code_and_not_of_its_comments(rule):
    before = simulations.digest_of_rule()
    assert simulations.digest_of_rule(rule) == before
    path = rule[0] / "rule.py"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('"""', '"""Other words. ', 1).replace("\n\n\n", "\n\n\n# A comment.\n\n"))
    assert simulations.digest_of_rule(rule) == before
    path.write_text(f"{text}\nANOTHER = 1\n")
    assert simulations.digest_of_rule(rule) != before
    path.write_text(text)
    (rule[1] / "another.py").write_text("ANOTHER = 1\n")
    assert simulations.digest_of_rule(rule) != before


def test_what_was_printed_and_drawn_was_made_with_the_present_rule():
    remedy = "run `python -m perf_tests.documentation.generate`, which takes minutes"
    assert simulations.stale() == [], remedy


def test_another_screen_another_figure_and_another_rule_are_found_out():
    page, figure = (path.read_text(encoding="utf-8") for path in (simulations.PAGE, simulations.FIGURE))
    record = simulations.recorded(page, figure, "rule")
    assert len(record) == 5
    assert simulations.differences(record, page, figure, "rule") == []
    edited = page.replace("0.5%  10 ", "0.5%  11 ", 1)
    power = "docs/gate.md: power --nights 3000: not what the simulation gave"
    assert simulations.differences(record, edited, figure, "rule") == [power]
    drawn = "docs/figures/gate-trade-off.svg: not what the simulation gave"
    assert simulations.differences(record, page, f"{figure} ", "rule") == [drawn]
    assert simulations.differences(record, page, figure, "other") == [
        f"{place}: made with another rule" for place in record
    ]
    longer = page.replace("power --nights 3000", "power --nights 3001")
    (missing,) = simulations.differences(record, longer, figure, "rule")
    assert missing.startswith("docs/gate.md: power --nights 3001: ")
    with pytest.raises(LookupError, match="no simulation"):
        simulations.recorded("", figure, "rule")


def test_lines_that_the_page_leaves_out_are_left_out():
    printed = simulations.run("trade-off --nights 1").splitlines()
    assert [line.split()[:3] for line in printed if line.startswith("1%")] == [["1%", n, "1.0"] for n in "3457"]
    assert sum(line.startswith("2%") for line in printed) == 20

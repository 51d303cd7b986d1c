"""The HTML report: its sections, and that nothing a user named becomes markup."""

import dataclasses
import re
from html.parser import HTMLParser

import pytest

from fixtures.claims.ledger import ledger
from fixtures.report import markdown
from fixtures.store.logs import Log
from perf_tests.fakes.reported_runs import EVIL, calm, judged, rendered, worse
from perf_tests.fakes.synthetic_run import routing, synthetic_history, synthetic_run

pytestmark = pytest.mark.cpu
VOID = {"meta", "br", "input", "link", "img"}


@pytest.fixture(scope="module")
def everything():
    """A page with every section."""
    run = synthetic_run(cells=36)
    run = dataclasses.replace(run, routing=(routing(run.cells[0]),))
    return rendered(run, synthetic_history(run, 3), logs=[Log("a", "b", False)])


class Elements(HTMLParser):
    """Counts elements and refuses those that are not closed in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.ids, self.references = [], [], set(), []
        self.feed(text)
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.tags.append(tag)
        self.ids.add(given.get("id"))
        self.references += [given[key] for key in ("href", "src", "xlink:href") if key in given]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, self.getpos()


def test_nothing_that_a_user_names_becomes_markup():
    text = rendered(worse(), logs=[Log(EVIL, EVIL, True)])
    found = Elements(text)
    assert found.tags.count("script") == 1, "the page's own"
    assert text.count("&lt;script&gt;alert(1)&lt;/script&gt;") > 10
    assert "<script>alert" not in markdown.markdown(worse(), ledger()).split("```")[0]


def test_the_page_refers_to_nothing_outside_itself(everything):
    found = Elements(everything)
    assert all(one.startswith("#") and (one[1:] in found.ids) for one in found.references), found.references
    assert not re.search(r"https?://|@import|url\((?!#)", everything)
    assert "default-src 'none'" in everything


def test_when_each_cell_ran_is_shown_and_cards_only_where_there_are_any():
    run, load = calm(), {"measured": "2026-03-31T02:19:30+00:00", "load": 3.25}
    boots = tuple(
        dataclasses.replace(boot, provenance=boot.provenance | load, conditions=()) for boot in run.cells[0].boots
    )
    text = rendered(dataclasses.replace(run, cells=(dataclasses.replace(run.cells[0], boots=boots),)))
    assert "2026-03-31 02:19:30" in text
    assert 'data-v="3.25">3.25' in text
    assert "SM clock" not in text
    state = {"index": 0, "sm_clock": 1980}
    boots = tuple(dataclasses.replace(boot, conditions=(state,)) for boot in run.cells[0].boots)
    text = rendered(dataclasses.replace(run, cells=(dataclasses.replace(run.cells[0], boots=boots),)))
    assert "1980 MHz" in text
    assert "When each cell was measured" not in text, "older samples do not tell"


def test_sections_that_a_run_has_nothing_for_are_left_out(everything):
    ids = Elements(rendered(calm())).ids
    assert {"changed", "cells", "distributions", "environment", "everything"} <= ids
    assert not ids & {"document", "roofline", "ratio", "experts", "history", "logs"}
    assert {"document", "roofline", "ratio", "experts", "history", "claims", "logs"} <= Elements(everything).ids


@pytest.mark.parametrize(
    ("verdict", "sentence"),
    [
        (judged("completed", "pass", value=8.0, baseline=8.0, change=0.0), "Everything that was compared equals its"),
        (judged("completed", "no baseline", value=8.0), "Nothing was compared with a baseline."),
    ],
)
def test_a_run_without_changes_says_whether_anything_was_compared(verdict, sentence):
    cell = dataclasses.replace(calm().cells[0], judged=(verdict,))
    assert sentence in rendered(dataclasses.replace(calm(), cells=(cell,)))


def test_the_document_s_figures_are_drawn_with_this_run(everything):
    for title in ("Llama-3.1-8B, 32 tokens in, 64 out", "Mixtral-8x7B, 32 tokens in, 64 out"):
        assert title in everything
    assert "this run, vllm H200 TP=1" in everything


def test_change_points_are_marked():
    run = calm()
    entries = [
        dataclasses.replace(entry, value=1.0 if i < 10 else 1.5)
        for i, entry in enumerate(
            one for one in synthetic_history(run, 20) if one.cell == run.cells[0].id and one.metric == "latency"
        )
    ]
    text = rendered(run, entries)
    assert text.count('class="mark"') == 1
    assert "+50.0%</b> worse from" in text
    assert "c0009..c0010" in text

"""The report in a real browser: nothing complains, nothing is fetched, tables sort, cells filter, and it fits its window."""

import dataclasses
import os
from pathlib import Path

import pytest

from fixtures.report import reports
from perf_tests.fakes.reported_runs import EVIL, worse
from perf_tests.fakes.synthetic_run import routing, synthetic_history, synthetic_run
from perf_tests.tools import browser

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(browser.find() is None, reason=f"no browser here: install one of {', '.join(browser.NAMES)}"),
]


@pytest.fixture(scope="module")
def chromium():
    with browser.browser() as one:
        yield one


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    directory = tmp_path_factory.mktemp("run")
    run = synthetic_run(cells=36, boots=3, changes={3: 0.3})
    reports.write(directory, dataclasses.replace(run, routing=(routing(run.cells[0]),)), synthetic_history(run))
    return directory / "report.html"


@pytest.fixture
def pictures(tmp_path):
    """Where screenshots go: they are kept if REPORT_SCREENSHOTS names a directory."""
    directory = Path(os.environ.get("REPORT_SCREENSHOTS", tmp_path))
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def column(chromium, number, table="#roofline table"):
    return chromium.run(f"[...document.querySelector({table!r}).tBodies[0].rows].map(r => r.cells[{number}].dataset.v)")


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1280, 400])
def test_it_opens_without_complaint_and_fits_its_window(chromium, report, pictures, width, dark):
    chromium.open(report, width, 900, dark)
    assert chromium.errors == []
    assert chromium.requests == [report.as_uri()]
    assert chromium.run("document.documentElement.scrollWidth") == width
    background = chromium.run("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, background[4:-1].split(","))) < 128) is dark
    picture = pictures / f"report-{width}-{'dark' if dark else 'light'}.png"
    chromium.screenshot(picture)
    assert picture.stat().st_size > 50_000


WIDE = "<style>* { content-visibility: visible !important } svg text { letter-spacing: 2px }</style>"
# Labels that reach beyond their chart where that cuts them off, or beyond the window.
CUT = """
[...document.querySelectorAll('figure svg text, .finding svg text')].filter(text => {
  const svg = text.ownerSVGElement, chart = svg.getBoundingClientRect(), label = text.getBoundingClientRect();
  const over = label.left < chart.left - 1 || label.right > chart.right + 1
            || label.top < chart.top - 1 || label.bottom > chart.bottom + 1;
  return (over && getComputedStyle(svg).overflow !== 'visible') || label.left < 0 || label.right > innerWidth;
}).map(text => text.textContent)
"""


@pytest.mark.parametrize("width", [1280, 400])
def test_no_label_is_cut_off_even_in_a_wider_font_than_it_was_laid_out_for(chromium, report, width):
    chromium.open(report, width, 900)
    chromium.run(f"document.head.insertAdjacentHTML('beforeend', {WIDE!r})")
    assert chromium.run("document.querySelectorAll('figure svg text').length") > 50
    assert chromium.run(CUT) == []
    assert chromium.run("document.documentElement.scrollWidth") == width


def test_a_table_sorts_by_a_click_and_back_by_another(chromium, report):
    chromium.open(report)
    head = "document.querySelector('#roofline th:nth-child(3) button').click()"
    before = [float(value) for value in column(chromium, 2)]
    chromium.run(head)
    assert [float(value) for value in column(chromium, 2)] == sorted(before, reverse=True)
    chromium.run(head)
    assert [float(value) for value in column(chromium, 2)] == sorted(before)
    assert chromium.run("document.querySelector('#roofline th:nth-child(3)').getAttribute('aria-sort')") == "ascending"


def test_text_sorts_as_a_reader_counts_and_what_is_missing_comes_last(chromium, report):
    chromium.open(report)
    chromium.run("document.querySelector('#everything th:nth-child(1) button').click()")
    names = chromium.run(
        "[...document.querySelectorAll('#everything tbody tr td:first-child')].map(t => t.textContent)"
    )
    order = list(dict.fromkeys(names))
    assert order.index("vllm/llama-3.1-8b/tp1/batch-2") < order.index("vllm/llama-3.1-8b/tp1/batch-16")
    chromium.run("document.querySelector('#everything th:nth-child(5) button').click()")
    changes = column(chromium, 4, "#everything table")
    known = [float(value) for value in changes if value]
    assert known == sorted(known, reverse=True)
    assert len(known) == 36 * 4
    assert not any(changes[len(known) :])


def test_cells_are_filtered_by_words(chromium, report):
    chromium.open(report)
    chromium.run("filter.value = 'vllm regression'; filter.dispatchEvent(new Event('input'))")
    left = chromium.run("[...document.querySelectorAll('.card:not([hidden]) h4')].map(h => h.textContent)")
    assert left == ["batch-8"]
    assert chromium.run("document.querySelectorAll('.group:not([hidden])').length") == 1


def test_the_names_that_a_user_gives_run_nothing(chromium, tmp_path):
    reports.write(tmp_path, worse())
    chromium.open(tmp_path / "report.html")
    assert chromium.errors == []
    assert chromium.run("document.scripts.length") == 1
    assert EVIL in chromium.run("document.querySelector('h1').textContent")


def test_a_script_that_is_not_the_page_s_own_is_refused(chromium, report):
    chromium.open(report)
    chromium.run(
        "(() => { const s = document.createElement('script'); s.textContent = 'window.bad = 1'; "
        "document.body.append(s); })()"
    )
    assert chromium.run("window.bad === undefined")
    assert "Content Security Policy" in chromium.errors[0]


def test_it_prints(chromium, report, pictures):
    chromium.open(report)
    chromium.pdf(pictures / "report.pdf")
    assert (pictures / "report.pdf").read_bytes().startswith(b"%PDF")

"""The page of all nights in a real browser."""

import pytest

from fixtures.site.overview import deployment
from fixtures.site.page import render
from perf_tests.tools import bench_site, browser

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(browser.find() is None, reason=f"no browser here: install one of {', '.join(browser.NAMES)}"),
]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    path = tmp_path_factory.mktemp("site") / "index.html"
    both = [deployment(name, list(bench_site.entries(name, seed, 60))) for seed, name in enumerate(("a", "b"))]
    path.write_text(render(both))
    return path


def test_series_are_drawn_as_they_come_into_view_and_a_night_is_told(page):
    with browser.browser() as one:
        one.open(page)
        assert (one.errors, one.requests) == ([], [page.as_uri()])
        one.run("document.querySelector('tr[data-series]').scrollIntoView()")
        wait = "new Promise(done => setTimeout(() => done(document.querySelectorAll('canvas').length), 300))"
        drawn = one.run(wait)
        assert 0 < drawn < one.run("document.querySelectorAll('tr[data-series]').length")
        one.run("document.querySelector('tr[data-series]').click()")
        one.run(
            "document.querySelector('tr.large canvas').dispatchEvent("
            "new PointerEvent('pointermove', {clientX: 300, clientY: 300, bubbles: true}))"
        )
        told = one.run("document.querySelector('.told').innerText")
        assert "engine 0.26.0" in told
        assert one.run("document.querySelector('.told a').href").startswith(
            "https://github.com/acme/serving/actions/runs/17"
        )
        assert one.errors == []


@pytest.mark.parametrize("width", [1280, 400])
def test_it_fits_its_window(page, width):
    with browser.browser() as one:
        one.open(page, width)
        assert one.run("document.documentElement.scrollWidth") == width

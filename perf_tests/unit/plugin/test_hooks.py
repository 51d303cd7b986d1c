"""Which sessions load serving tests alone."""

import re
from types import SimpleNamespace

import pytest

from fixtures.plugin.hooks import only_serving
from perf_tests.conftest import WITHOUT_SERVING, pytest_ignore_collect
from perf_tests.paths import ROOT

pytestmark = pytest.mark.cpu


def config(expression, *arguments, directory="."):
    return SimpleNamespace(
        option=SimpleNamespace(markexpr=expression),
        args=list(arguments),
        invocation_params=SimpleNamespace(dir=directory),
    )


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("serving", True),
        ("gpu", True),
        ("serving and not gpu", True),
        ("not cpu and serving", True),
        ("", False),
        ("cpu", False),
        ("not serving", False),
        ("not gpu and cpu", False),
        ("serving or cpu", False),
        ("not (serving and gpu)", False),
        ("(serving and gpu) or cpu", False),
    ],
)
def test_a_marker_expression_that_asks_for_serving_tests_alone(expression, expected):
    assert only_serving(config(expression)) == expected


def test_directories_without_serving_tests_are_left_out_unless_named():
    unit, serving, own = ROOT / "perf_tests" / "unit", ROOT / "perf_tests" / "serving", ROOT / "perf_tests" / "mine"
    for path, ignored in ((unit, True), (serving, None), (own, None), (unit / "test_metrics.py", None)):
        assert pytest_ignore_collect(path, config("serving", "perf_tests", directory=ROOT)) is ignored
        assert pytest_ignore_collect(path, config("cpu", "perf_tests", directory=ROOT)) is None
    named = config("serving", "perf_tests/unit/test_metrics.py::test_it", directory=ROOT)
    assert pytest_ignore_collect(unit, named) is None


@pytest.mark.parametrize("directory", WITHOUT_SERVING, ids=lambda path: path.name)
def test_what_is_left_out_has_no_serving_test(directory):
    marked = re.compile(r"^\s*(?:pytestmark = |@)pytest\.mark\.serving", re.MULTILINE)
    assert [path for path in directory.rglob("*.py") if marked.search(path.read_text())] == []
    assert any(marked.search(path.read_text()) for path in (directory.parent / "serving").glob("*.py"))

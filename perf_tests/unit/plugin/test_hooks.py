"""Which sessions load serving tests alone."""

from types import SimpleNamespace

import pytest

from fixtures.plugin.hooks import only_serving, pytest_ignore_collect

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


def test_files_and_directories_without_a_serving_test_are_left_out_unless_named(tmp_path):
    serving, other = tmp_path / "test_serving.py", tmp_path / "test_other.py"
    serving.write_text("import pytest\n\npytestmark = pytest.mark.{}\n".format("serving"))  # this file itself has none
    other.write_text('"""Of serving."""\n')
    empty = tmp_path / "unit"
    empty.mkdir()
    for path, ignored in ((serving, None), (other, True), (tmp_path, None), (empty, True)):
        assert pytest_ignore_collect(path, config("serving", "perf_tests", directory=tmp_path)) is ignored
        assert pytest_ignore_collect(path, config("cpu", "perf_tests", directory=tmp_path)) is None
    named = config("serving", "unit", "test_other.py::test_it", directory=tmp_path)
    for path in (other, empty, tmp_path):
        assert pytest_ignore_collect(path, named) is None

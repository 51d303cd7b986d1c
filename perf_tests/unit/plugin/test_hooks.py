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


def test_files_without_a_serving_test_are_left_out_unless_they_are_named(tmp_path):
    serving, other = tmp_path / "test_serving.py", tmp_path / "test_other.py"
    serving.write_text("import pytest\n\npytestmark = pytest.mark.serving\n")
    other.write_text('"""Of serving."""\n')
    for path, ignored in ((serving, None), (other, True), (tmp_path, None)):
        assert pytest_ignore_collect(path, config("serving", "perf_tests", directory=tmp_path)) is ignored
        assert pytest_ignore_collect(path, config("cpu", "perf_tests", directory=tmp_path)) is None
    named = config("serving", "test_other.py::test_it", directory=tmp_path)
    assert pytest_ignore_collect(other, named) is None

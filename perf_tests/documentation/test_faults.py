"""The page of faults says what the tests declare."""

import pytest

from perf_tests.documentation import faults as table

pytestmark = pytest.mark.cpu


def test_the_page_is_what_the_tests_declare():
    remedy = "run `python -m perf_tests.documentation.faults`"
    assert table.PAGE.read_text(encoding="utf-8") == table.page(), remedy

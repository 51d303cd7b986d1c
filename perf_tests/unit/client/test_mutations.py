"""Damaged responses: a few of those that `python -m perf_tests.tools.mutate_client` tries by the thousand."""

import pytest

from perf_tests.fakes.conformance import FORMS, GAP, TOKENS
from perf_tests.fakes.responses import parsed
from perf_tests.tools.mutate_client import in_memory, main, over_sockets, wrong

pytestmark = pytest.mark.cpu


def test_no_damage_raises_or_makes_a_number_untrue():
    counted, bad = in_memory(3000, seed=2)
    assert not bad
    assert counted > 100, "some damage does no harm, or nothing was tried"


def test_no_damage_over_a_socket_raises_or_hangs():
    counted, bad = over_sockets(200, seed=2)
    assert not bad
    assert counted > 5


def test_what_is_untrue_is_found_out(capsys):
    form = FORMS["plain"]
    record = parsed(form, form.pieces)
    assert wrong(form, record) == ""
    record.chunks[-1] += GAP
    assert wrong(form, record) == f"TPOT {GAP * TOKENS / (TOKENS - 1):.6f} s instead of {GAP} s"
    record.completion_tokens -= 1
    assert wrong(form, record) == "counted, and not what was asked for"
    assert main(["--count", "50", "--sockets", "0"]) == 0
    assert "in memory: 50 damaged responses" in capsys.readouterr().out

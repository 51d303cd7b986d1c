"""Every form of a response: what the client makes of it by the true times, however its bytes are cut, and over a socket."""

import array
import concurrent.futures
import dataclasses
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.client.load import run
from fixtures.client.metrics import summarize
from fixtures.client.protocol import PROTOCOLS
from fixtures.client.request import Request
from fixtures.client.response import Framing
from fixtures.client.target import Target
from perf_tests.fakes.conformance import FORMS, PROMPT, TOKENS, Form
from perf_tests.fakes.responses import parsed
from perf_tests.fakes.server_process import mock_server, server_log

pytestmark = pytest.mark.cpu
every = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
NONE = array.array("f")
KEPT = ("connection-close", "closes-unannounced")
# Their bytes end with the response, not with the connection.
FRAMED = [form for form in FORMS.values() if not form.closes or form.name in KEPT]


def seen(value: float):
    """None for what was not observed."""
    return None if math.isnan(value) else pytest.approx(value)


@every
def test_a_form_gives_its_true_figures_or_its_cause(form):
    record = parsed(form, form.pieces)
    found = summarize([record] * 3)
    if form.error:
        assert record.error.startswith(form.error)
        assert found.failed == 3
        return
    assert record.error == ""
    assert (record.prompt_tokens, record.completion_tokens) == (PROMPT, TOKENS)
    medians = found.ttft_p50, found.e2e_p50, found.tpot_p50, found.itl_p50
    assert (form.ttft, form.e2e, form.tpot, form.itl) == tuple(map(seen, medians))
    assert (form.ttft, form.tpot, form.itl) == tuple(map(seen, (found.ttft_p99, found.tpot_p99, found.itl_p99)))
    assert bool(found.unseen) == (None in (form.tpot, form.itl)), "what is absent has its reason"
    assert sum(record.tokens) in (TOKENS, 0)


@settings(max_examples=400)
@given(st.sampled_from(list(FORMS.values())), st.data())
def test_any_cut_of_the_bytes_gives_the_same_record(form, data):
    size = sum(len(piece) for _, piece in form.pieces)
    places = data.draw(st.sets(st.integers(0, size), max_size=40))
    assert parsed(form, cut(form, places)) == parsed(form, form.pieces)


@every
def test_byte_by_byte_it_is_the_same_record(form):
    assert parsed(form, cut(form, set(range(20_000)))) == parsed(form, form.pieces)


def cut(form: Form, places: set[int]) -> list[tuple[float, bytes]]:
    """The form's pieces, cut at these places of all its bytes too."""
    found, position = [], 0
    for when, piece in form.pieces:
        ends = sorted(place - position for place in places if position < place < position + len(piece))
        found += [(when, piece[a:b]) for a, b in zip([0, *ends], [*ends, len(piece)], strict=True)]
        position += len(piece)
    return found


@pytest.mark.parametrize("form", FRAMED, ids=lambda form: form.name)
def test_the_end_of_a_response_is_found_with_its_last_byte(form):
    framing = Framing()
    *before, last = b"".join(piece for _, piece in form.pieces)
    assert not any(framing.feed(bytes([byte])) for byte in before)
    assert framing.feed(bytes([last]))
    assert framing.complete
    assert framing.reusable == (form.name != "connection-close")


def test_what_comes_behind_a_response_is_nobodys():
    form = FORMS["trailers"]
    whole = b"".join(piece for _, piece in form.pieces)
    for more in (b"HTTP/1.1 200 OK\r\n", b"x", b"\x00"):
        framing = Framing()
        assert framing.feed(whole + more)
        assert framing.complete
        assert not framing.reusable
        assert parsed(form, [(0.0, whole + more)]) == parsed(form, [(0.0, whole)])


@pytest.fixture(scope="module")
def served():
    """By form the records of two requests, one after the other, and what the server wrote for them."""

    def ask(form: Form):
        target = Target(f"{url}/forms/{form.name}", "m", timeout=20, protocol=PROTOCOLS[form.protocol])
        return run(target, [Request([5] * PROMPT, TOKENS)] * 2, concurrency=1)

    with mock_server() as url, concurrent.futures.ThreadPoolExecutor(8) as threads:
        records = dict(zip(FORMS, threads.map(ask, FORMS.values()), strict=True))
        log = server_log(url)
    return {name: (found, [entry for entry in log if entry["form"] == name]) for name, found in records.items()}


@every
def test_over_a_socket_it_is_the_same_and_never_sooner_than_it_was_written(form, served):
    records, log = served[form.name]
    # The piece of the response that each chunk came with, for its time.
    known = parsed(form, [(float(i), piece) for i, (_, piece) in enumerate(form.pieces)])
    for record in records:
        assert "\n" not in record.error
        assert untimed(record) == untimed(known)
        assert len(record.chunks) == len(known.chunks)
    entries = log if len(log) == len(records) else []  # else one was sent again, on another connection
    for record, entry in zip(records, entries, strict=bool(entries)):
        for chunk, piece in zip(record.chunks, known.chunks, strict=True):
            assert chunk - record.scheduled > entry["written"][int(piece)] - entry["received"]


def untimed(record):
    """What of a record doesn't depend on times and addresses."""
    error = record.error.partition(" http://")[0]
    return dataclasses.replace(
        record, scheduled=0.0, sent=0.0, chunks=[], resent=False, delays=NONE, stamped=True, error=error
    )


def test_a_connection_that_is_announced_as_closing_is_not_used_again(served):
    records, log = served["connection-close"]
    assert [record.resent for record in records] == [False] * 2
    assert len(log) == 2

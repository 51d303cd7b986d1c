"""Both protocols that the client speaks, against a server of known timing."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.client.__main__ import main
from fixtures.client.load import run
from fixtures.client.metrics import summarize
from fixtures.client.protocol import PROTOCOLS
from fixtures.client.record import Record
from fixtures.client.request import Request, StreamError
from fixtures.client.target import Target
from fixtures.redact import without
from perf_tests.fakes.commands import run_here
from perf_tests.fakes.mutations import assert_sound, damaged
from perf_tests.fakes.server_process import mock_server, server_log

pytestmark = pytest.mark.cpu
QUICK = ("--ttft", "0.02", "--gap", "0.004")
both = pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)


def requests(count, tokens=8, every=0.0, stream=True):
    return [Request([5] * 16, tokens, i * every, stream) for i in range(count)]


def target(url, protocol, **more):
    return Target(url, "mock", timeout=5, protocol=protocol, **more)


@both
@pytest.mark.parametrize(
    ("options", "chunks"),
    [
        ([], 8),
        (["--incremental"], 8),
        (["--tokens-per-chunk", "3"], 3),
        (["--tokens-per-chunk", "3", "--incremental"], 3),
    ],
)
def test_a_stream_is_recorded_with_what_the_server_did(protocol, options, chunks):
    with mock_server(*QUICK, *options) as url:
        records = run(target(url, protocol), requests(5, every=0.01))
        log = sorted(server_log(url), key=lambda entry: entry["received"])
    assert [r.error for r in records] == [""] * 5
    assert {(r.prompt_tokens, r.completion_tokens) for r in records} == {(16, 8)}
    for record, entry in zip(records, log, strict=True):
        assert len(record.chunks) == chunks == len(entry["written"])
        # The client can see a chunk only after the server wrote it, and counts from before the server received.
        for chunk, written in zip(record.chunks, entry["written"], strict=True):
            assert chunk - record.scheduled > written - entry["received"]


@both
@pytest.mark.parametrize("prompt", [[5] * 16, "sixteen letters."])
def test_a_response_in_one_piece(protocol, prompt):
    with mock_server(*QUICK) as url:
        (record,) = run(target(url, protocol), [Request(prompt, 8, stream=False)])
    assert record.error == ""
    assert (len(record.chunks), record.prompt_tokens, record.completion_tokens) == (1, 16, 8)


# The faults of an OpenAI stream are in faults/test_stream.py.
SGLANG = PROTOCOLS["sglang"]


@pytest.mark.parametrize("fault", ["split-characters", "empty-chunks", "trickled-head", "close-idle"])
def test_what_is_odd_and_right_counts(fault):
    with mock_server(*QUICK, "--fault", fault) as url:
        records = run(target(url, SGLANG), requests(2, every=0.15))
    assert [(record.error, len(record.chunks), record.completion_tokens) for record in records] == [("", 8, 8)] * 2


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        ("html", "expected text/event-stream, got text/html"),
        ("bad-json", "malformed JSON in event"),
        ("bad-sse", r"stream ended after 2 events without \[DONE\]: <html>proxy error"),
        ("cut", "ended the connection mid-stream, after 2 events"),
        ("no-done", r"without \[DONE\]"),
        ("wrong-count", "asked for 8 tokens, the server's usage says 7"),
        ("no-usage", "meta_info without token counts"),
        ("usage-nan", "meta_info without token counts: .*nan"),
        ("usage-huge", "meta_info without token counts: .*inf"),
        ("late-usage-twice", "count of tokens fell from 7 to 1"),
        ("abort", "server error: out of memory"),
    ],
)
def test_what_is_wrong_fails_with_its_cause(fault, cause):
    assert_fails(SGLANG, fault, cause)


@both
@pytest.mark.parametrize(
    ("fault", "cause"), [("http-400", "HTTP 400: .*prompt too long"), ("http-503", "HTTP 503: no worker is ready")]
)
def test_a_refusal_fails_with_its_cause(protocol, fault, cause):
    assert_fails(protocol, fault, cause)


def assert_fails(protocol, fault, cause):
    with mock_server(*QUICK, "--fault", fault) as url:
        records = run(target(url, protocol), requests(2))
    for record in records:
        with pytest.raises(AssertionError, match=cause):
            raise AssertionError(record.error)
        assert "\n" not in record.error
    assert summarize(records).completed == 0


def sglang_stream(counts, incremental=False, **info):
    """Events that say how many tokens there are, as bytes."""
    events, before = [], 0
    for count in counts:
        ids = [7] * (count - before if incremental else count)
        meta = {"prompt_tokens": 3, "completion_tokens": count, "finish_reason": None} | info
        events.append(b"data: " + json.dumps({"output_ids": ids, "meta_info": meta}).encode() + b"\n\n")
        before = count
    return b"".join(events) + b"data: [DONE]\n\n"


@given(
    st.lists(st.integers(1, 20), min_size=1, max_size=20, unique=True).map(sorted),
    st.booleans(),
    st.integers(1, 60),
    st.booleans(),
)
def test_chunks_are_the_events_with_new_tokens_however_the_bytes_arrive(counts, incremental, size, repeated):
    data = sglang_stream(counts + counts[-1:] * repeated, incremental)
    pieces = [(float(i), data[i : i + size]) for i in range(0, len(data), size)]
    record = Record(0.0, counts[-1], sent=0.0)
    PROTOCOLS["sglang"].parse(pieces, record)
    assert record.completion_tokens == counts[-1]
    assert len(record.chunks) == len(counts)
    assert record.chunks == sorted(record.chunks)
    # Never before its bytes were there.
    ends = [i for i in range(len(data)) if data.startswith(b"\n\n", i)]
    for chunk, end in zip(record.chunks, ends, strict=False):
        assert chunk + size >= end


@both
@given(st.data())
def test_garbage_is_a_failed_request_with_a_cause_of_one_line(protocol, data):
    openai = b"".join(
        b"data: " + json.dumps(event).encode() + b"\n\n"
        for event in [{"choices": [{"index": 0, "text": "x"}]}] * 2
        + [{"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}]
    )
    stream = sglang_stream([1, 2]) if protocol.name == "sglang" else openai + b"data: [DONE]\n\n"
    bad = data.draw(damaged(stream) | st.binary(max_size=200))
    record = Record(0.0, 2, sent=0.0)
    try:
        protocol.parse([(0.0, bad)], record)
    except StreamError as error:
        record.error = str(error)
    assert_sound(record)


# -- the API key -----------------------------------------------------------------------------------------------------------

KEY = "sk-AbCdEf0123456789"


@both
def test_a_key_is_sent_and_never_shown(protocol):
    with mock_server(*QUICK, "--api-key", KEY) as url:
        good = target(url, protocol, api_key=KEY)
        bad = target(url, protocol, api_key="sk-of-somebody-else")
        records = [run(which, requests(1))[0] for which in (good, bad, target(url, protocol))]
    assert [record.error for record in records] == [
        "",
        'HTTP 401: {"error": {"message": "invalid API key ***"}}',
        'HTTP 401: {"error": {"message": "no API key"}}',
    ]
    assert KEY not in repr(good)
    assert KEY not in str(good)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"a {KEY} b {KEY}", "a *** b ***"),
        (f"invalid key {KEY[:7]}", "invalid key ***"),
        (f"{KEY} {KEY[:-1]}", "*** ***"),
        ("it ends in sk", "it ends in sk"),
        ("", ""),
    ],
)
def test_a_key_is_hidden_also_where_an_excerpt_cuts_it(text, expected):
    assert without(text, KEY) == expected
    assert without(text, "") == text


@both
def test_the_command_speaks_both_with_a_key_of_the_environment(protocol, tmp_path):
    out = tmp_path / "out.json"
    traffic = ["--num-prompts", "4", "--input-len", "7", "--output-len", "5", "--json", str(out)]
    with mock_server(*QUICK, "--api-key", KEY) as url:
        options = ["--url", url, "--model", "mock", "--protocol", protocol.name, *traffic]
        done = run_here(main, *options, MOEGAUGE_API_KEY=KEY)
        assert json.loads(out.read_text())["summary"]["output_tokens"] == 20
        refused = run_here(main, *options, MOEGAUGE_API_KEY=f"{KEY}-not")
    assert done.returncode in (0, 2), done.stderr  # 2: a busy machine kept the client from its schedule
    assert refused.returncode == 1
    assert "failed: HTTP 401" in refused.stderr
    for text in (done.stdout, done.stderr, refused.stdout, refused.stderr, out.read_text()):
        assert KEY not in text


def test_a_key_that_no_header_can_hold_is_refused_unquoted():
    done = run_here(main, "--url", "http://127.0.0.1:9", "--model", "m", MOEGAUGE_API_KEY="sk-a\r\nX-Evil: b")
    assert done.returncode == 2
    assert "MOEGAUGE_API_KEY: expected a key without spaces" in done.stderr
    assert "Evil" not in done.stderr

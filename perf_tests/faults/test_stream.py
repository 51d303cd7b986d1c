"""Responses that are split, encoded, cut, trickled or garbage: a request counts only if it delivered what was asked for."""

import base64
import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fixtures.client import metrics
from fixtures.client.load import run
from fixtures.client.metrics import summarize
from fixtures.client.protocol import OPENAI
from fixtures.client.record import Record
from fixtures.client.request import Request, StreamError
from fixtures.client.target import Target
from perf_tests.documentation.faults import fault
from perf_tests.fakes.mutations import assert_sound, damaged
from perf_tests.fakes.server_process import mock_server, server_log

FAILS = "the request fails with the cause, its cell with the most frequent one"
COUNTS = "counts as delivered"
QUICK = ("--ttft", "0.02", "--gap", "0.004")


def requests(count, tokens=8, every=0.0):
    return [Request([5] * 16, tokens, i * every) for i in range(count)]


@pytest.mark.parametrize(
    ("options", "chunks"),
    [
        pytest.param(
            ["--fault", "split-characters"],
            8,
            marks=fault("Stream", "a character split between packets", COUNTS, quick=True),
        ),
        pytest.param(
            ["--tokens-per-chunk", "4"],
            2,
            marks=fault(
                "Stream",
                "chunks of several tokens",
                f"{COUNTS}; TPOT and ITL are absent unless the server counts them",
                quick=True,
            ),
        ),
        pytest.param(
            ["--fault", "empty-chunks"],
            8,
            marks=fault("Stream", "empty chunks and comments between chunks", f"{COUNTS}, not as output", quick=True),
        ),
        pytest.param(["--fault", "usage-twice"], 8, marks=fault("Stream", "the same usage twice", COUNTS, quick=True)),
        pytest.param(
            ["--fault", "close-idle"],
            8,
            marks=fault("Stream", "connection closed between requests", f"{COUNTS}: another is opened", quick=True),
        ),
        pytest.param(
            ["--fault", "trickled-head"],
            8,
            marks=fault("Stream", "headers that arrive byte by byte", COUNTS, quick=True),
        ),
    ],
)
def test_what_is_odd_and_right_counts(options, chunks):
    with mock_server(*QUICK, *options) as url:
        records = run(Target(url, "mock"), requests(3, every=0.15 if "close-idle" in options else 0.01))
        log = sorted(server_log(url), key=lambda entry: entry["received"])
    assert [record.error for record in records] == [""] * 3
    assert [len(record.chunks) for record in records] == [chunks] * 3
    for record, entry in zip(records, log, strict=True):
        assert metrics.ttft(record) > entry["written"][0] - entry["received"]
        assert record.completion_tokens == 8


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        pytest.param("no-usage", "no usage in the stream", marks=fault("Stream", "no usage", FAILS, quick=True)),
        pytest.param("no-done", r"without \[DONE\]", marks=fault("Stream", "no [DONE]", FAILS, quick=True)),
        pytest.param(
            "late-usage-twice", "two different usages", marks=fault("Stream", "two different usages", FAILS, quick=True)
        ),
        pytest.param(
            "usage-nan",
            "usage without token counts: .*nan",
            marks=fault("Stream", "NaN for a count", FAILS, quick=True),
        ),
        pytest.param(
            "usage-huge",
            "usage without token counts: .*inf",
            marks=fault("Stream", "1e999 for a count", FAILS, quick=True),
        ),
        pytest.param(
            "usage-fraction",
            "usage without token counts: .*8.5",
            marks=fault("Stream", "a fraction for a count", FAILS, quick=True),
        ),
        pytest.param(
            "wrong-count",
            "asked for 8 tokens, the server's usage says 7",
            marks=fault("Stream", "fewer tokens than asked for", FAILS, quick=True),
        ),
        pytest.param(
            "plain",
            "expected text/event-stream, got text/plain",
            marks=fault("Stream", "wrong content type", FAILS, quick=True),
        ),
        pytest.param(
            "gzip",
            "encoded as gzip, though identity was asked for: mind proxies",
            marks=fault("Stream", "gzip nobody asked for", FAILS, quick=True),
        ),
        pytest.param(
            "html",
            "expected text/event-stream, got text/html",
            marks=fault("Stream", "a proxy's HTML page, status 200", FAILS, quick=True),
        ),
        pytest.param(
            "html-502",
            "HTTP 502: <html> <head><title>502 Bad Gateway</title></head> <body>a proxy's page",
            marks=fault("Stream", "a proxy's HTML page, status 502", f"{FAILS}, in one line", quick=True),
        ),
        pytest.param("bad-json", "malformed JSON in event", marks=fault("Stream", "half an event", FAILS, quick=True)),
        pytest.param(
            "bad-sse",
            r"without \[DONE\]: <html>proxy error</html>",
            marks=fault("Stream", "HTML instead of the rest", FAILS, quick=True),
        ),
        pytest.param(
            "cut",
            "ended the connection mid-stream, after 2 events",
            marks=fault("Stream", "socket cut mid-stream", FAILS, quick=True),
        ),
    ],
)
def test_what_is_wrong_fails_with_its_cause(name, cause):
    with mock_server(*QUICK, "--fault", name) as url:
        records = run(Target(url, "mock", timeout=5), requests(3))
    for record in records:
        with pytest.raises(AssertionError, match=cause):
            raise AssertionError(record.error)
        assert "\n" not in record.error
    assert summarize(records).completed == 0


EVENTS = [{"choices": [{"index": 0, "text": "x"}]}] * 2 + [
    {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}
]
STREAM = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in EVENTS) + b"data: [DONE]\n\n"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
RESPONSE = HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + f"{len(STREAM):x}\r\n".encode() + STREAM + b"\r\n0\r\n\r\n"


@fault("Stream", "random garbage in events", "the request fails with a cause in one line", quick=True)
@settings(max_examples=300)
@given(damaged(STREAM) | st.binary(max_size=200), st.integers(1, 50))
def test_garbage_in_events(data, size):
    record = Record(0.0, 2, sent=0.0)
    pieces = [(i / 1000, data[i : i + size]) for i in range(0, len(data), size)]
    try:
        OPENAI.parse(pieces, record)
    except StreamError as error:
        record.error = str(error)
    assert_sound(record)


@fault("Stream", "random garbage on the socket", "the request fails with a cause in one line; nothing is raised")
def test_garbage_on_the_socket():
    with mock_server("--fault", "raw") as url:
        target = Target(url, "mock", timeout=10)

        @settings(max_examples=60)
        @example([HEAD.replace(b"event-stream", b"x" * 5000) + b"\r\n"])
        @given(st.lists(damaged(RESPONSE) | st.binary(max_size=200), min_size=5, max_size=10))
        def garbage(payloads):
            planned = [Request(base64.b64encode(data).decode(), 2) for data in payloads]
            records = run(target, planned)
            for record in records:
                assert_sound(record)
            summarize(records)

        garbage()
        (whole,) = run(target, [Request(base64.b64encode(RESPONSE).decode(), 2)])
    assert whole.error == ""
    assert (whole.prompt_tokens, whole.completion_tokens) == (3, 2)

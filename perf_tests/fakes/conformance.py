"""Forms that responses are met in: what the server writes when, and what a client must make of it.

Each is one entry of FORMS. The mock server answers with it under ``/forms/NAME`` (perf_tests/fakes/mock_server.py); tests
also cut its bytes at any place; docs/accepted.md lists them all. Unless an entry says otherwise a token comes every GAP
seconds, the first after TTFT, TOKENS of them.
"""

import dataclasses
import itertools
import json
from collections.abc import Iterable
from typing import Any

TOKENS, PROMPT = 16, 12
TTFT, GAP = 0.04, 0.004
E2E = TTFT + (TOKENS - 1) * GAP
# Seconds after the request was received, and what is written then.
Pieces = list[tuple[float, bytes]]

DONE = b"data: [DONE]\n\n"
HEAD = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
CHUNKED = "Transfer-Encoding: chunked\r\n"
LAST = b"0\r\n\r\n"


@dataclasses.dataclass(frozen=True)
class Form:
    """A response as bytes on the wire, what it is called, and the truth of it.

    ``error`` is how the request fails, empty where it counts; then these are seconds, ``tpot`` and ``itl`` None where nobody
    could see them. ``closes``: the server closes the connection behind it.
    """

    section: str
    name: str
    says: str
    pieces: Pieces
    error: str = ""
    ttft: float = TTFT
    e2e: float = E2E
    tpot: float | None = GAP
    itl: float | None = GAP
    closes: bool = False
    protocol: str = "openai"

    @property
    def shows_pace(self) -> bool:
        return self.tpot is not None


# -- the parts of a stream ---------------------------------------------------------------------------------------------------


def data(value: Any) -> bytes:
    """An event."""
    return b"data: " + (value if isinstance(value, bytes) else json.dumps(value).encode()) + b"\n\n"


def token(text: str = " x", finish: str | None = None, **more: Any) -> dict[str, Any]:
    """A chunk of /v1/completions."""
    return {"id": "c", "choices": [{"index": 0, "text": text, "logprobs": None, "finish_reason": finish}], **more}


def usage(tokens: int, **more: Any) -> dict[str, Any]:
    """Counts so far."""
    return {"prompt_tokens": PROMPT, "completion_tokens": tokens, "total_tokens": PROMPT + tokens, **more}


def final(tokens: int = TOKENS, **more: Any) -> dict[str, Any]:
    """The event with the usage of the whole answer."""
    return {"id": "c", "choices": [], "usage": usage(tokens, **more)}


def native(tokens: int, finish: Any = None, **more: Any) -> dict[str, Any]:
    """An event of SGLang's /generate."""
    return {"output_ids": [5] * tokens, "meta_info": usage(tokens) | {"finish_reason": finish} | more}


def due(i: int) -> float:
    """When token ``i``, counted from 0, is made."""
    return TTFT + i * GAP


def tokens(count: int = TOKENS, **more: Any) -> Pieces:
    """So many tokens, an event each."""
    return [(due(i), data(token(**more))) for i in range(count)]


def grouped(sizes: Iterable[int], texts: bool = True) -> Pieces:
    """Events of so many tokens each, written when the last of them is made."""
    ends = list(itertools.accumulate(sizes))
    return [(due(end - 1), data(token(" x" * size * texts))) for end, size in zip(ends, sizes, strict=True)]


def ended(pieces: Pieces, *events: bytes, after: float = 0.0) -> Pieces:
    """The same with the last events, the usage and [DONE] unless others are given."""
    closing = events or (data(final()), DONE)
    return [*pieces, *((pieces[-1][0] + after, event) for event in closing)]


def mapped(pieces: Pieces, old: bytes, new: bytes) -> Pieces:
    """The same, spelt otherwise."""
    return [(when, piece.replace(old, new)) for when, piece in pieces]


def held(pieces: Pieces, every: int) -> Pieces:
    """The same through a proxy that delivers so many pieces at once."""
    found = []
    for i in range(0, len(pieces), every):
        group = pieces[i : i + every]
        found.append((group[-1][0], b"".join(piece for _, piece in group)))
    return found


# -- on the wire -------------------------------------------------------------------------------------------------------------


def chunk(piece: bytes, extension: str = "") -> bytes:
    """A chunk of the transfer encoding."""
    return f"{len(piece):x}{extension}\r\n".encode() + piece + b"\r\n"


def wire(pieces: Pieces, head: str = HEAD, last: bytes = LAST, extension: str = "") -> Pieces:
    """A stream as a chunked response."""
    body = [(when, chunk(piece, extension)) for when, piece in pieces]
    return [(0.0, f"{head}{CHUNKED}\r\n".encode()), *body, (body[-1][0], last)]


def bare(pieces: Pieces, head: str) -> Pieces:
    """A stream whose end is the connection's."""
    return [(0.0, f"{head}\r\n".encode()), *pieces]


def whole(status: str, body: str, *headers: str, kind: str = "application/json") -> Pieces:
    """A response in one piece."""
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {kind}", *headers, f"Content-Length: {len(body)}", "", body]
    return [(0.01, "\r\n".join(lines).encode())]


def streams(section: str, *forms: tuple[str, str, Pieces, dict[str, Any]]) -> list[Form]:
    """Forms of streams in an ordinary response."""
    return [Form(section, name, says, wire(pieces), **truth) for name, says, pieces, truth in forms]


def lines(value: Any) -> bytes:
    """An event whose JSON goes over several lines."""
    return b"".join(b"data: " + line.encode() + b"\n" for line in json.dumps(value, indent=1).split("\n")) + b"\n"


NO_PACE: dict[str, Any] = {"tpot": None, "itl": None}
HALF = TOKENS // 2
PLAIN = ended(tokens())
SIX = [1, *[3] * (TOKENS // 3)]
LATE = 0.1

STREAMS = streams(
    "Streams",
    ("plain", "an event a token, usage, `[DONE]`", PLAIN, {}),
    ("crlf", "lines that end by CRLF", mapped(PLAIN, b"\n", b"\r\n"), {}),
    ("cr", "lines that end by CR", mapped(PLAIN, b"\n", b"\r"), {}),
    ("bom", "a byte order mark before the first event", [(0.0, b"\xef\xbb\xbf"), *PLAIN], {}),
    ("no-space", "`data:` without a space", mapped(PLAIN, b"data: ", b"data:"), {}),
    ("lines", "an event's JSON over several `data` lines", ended([(when, lines(token())) for when, _ in tokens()]), {}),
    (
        "comments",
        "comments, also between the lines of an event",
        mapped(PLAIN, b"data: {", b": ping\n\n:\ndata: {"),
        {},
    ),
    (
        "fields",
        "`id`, `retry`, `event` and unknown fields",
        mapped(PLAIN, b"data: {", b"id: 7\nretry: 9\nevent: message\nx: 1\n<y>\ndata: {"),
        {},
    ),
    ("empty-data", "events without data", mapped(PLAIN, b"data: {", b"data:\n\ndata\n\ndata: {"), {}),
    (
        "pings",
        "`event: ping`, whatever its data",
        mapped(PLAIN, b"data: {", b"event: ping\ndata: still here\n\ndata: {"),
        {},
    ),
    ("open-done", "a last line `data: [DONE]` that nothing ends", ended(tokens(), data(final()), b"data: [DONE]"), {}),
    (
        "error-of-nothing",
        "an `error` of empty fields in every event",
        ended(tokens(error={"message": "", "code": None}), data(final()), DONE),
        {},
    ),
    (
        "error-null",
        '`"error": null` in every event',
        ended(tokens(error=None), data(final() | {"error": None}), DONE),
        {},
    ),
    ("usage-null", '`"usage": null` before the last', ended(tokens(usage=None)), {}),
    (
        "usage-running",
        "a usage in every event that counts up",
        ended([(due(i), data(token(usage=usage(i + 1)))) for i in range(TOKENS)]),
        {},
    ),
    (
        "usage-alone",
        "running usages in events of their own",
        ended([(due(i), data(token()) + data(final(i + 1))) for i in range(TOKENS)]),
        {},
    ),
    (
        "usage-twice",
        "the same usage twice, the second with details",
        ended(
            [*tokens(TOKENS - 1), (E2E, data(token(finish="length", usage=usage(TOKENS))))],
            data(final(prompt_tokens_details={"cached_tokens": 0})),
            DONE,
        ),
        {},
    ),
    (
        "usage-first",
        "an early usage without generated tokens",
        [(0.01, data(token("", usage={"prompt_tokens": PROMPT}))), *PLAIN],
        {},
    ),
    (
        "usage-in-last",
        "the usage beside the last finish reason, in a chunk without text",
        ended(tokens(), data(token("", "length", usage=usage(TOKENS))), DONE),
        {},
    ),
    (
        "empty-first",
        "chunks without text before the first token",
        [(0.01, data(token(""))), (0.02, data(token(""))), *PLAIN],
        {},
    ),
    (
        "late-finish",
        "a finish reason without text, long after the last token",
        ended(tokens(), data(token("", "length")), data(final()), DONE, after=LATE),
        {},
    ),
    (
        "late-both",
        "both of these",
        ended([(0.01, data(token(""))), *tokens()], data(token("", "length")), data(final()), DONE, after=LATE),
        {},
    ),
    (
        "empty-between",
        "chunks without text between tokens, and as many texts as tokens",
        ended(mapped(tokens(), b"data: {", data(token("")) + b"data: {")),
        {},
    ),
    (
        "half-characters",
        "tokens between others that are half a character and so have no text",
        ended([(due(i), data(token("é" * (i not in (3, 4, 9))))) for i in range(TOKENS)]),
        {},
    ),
    (
        "half-character-first",
        "a first token that is half a character: the first text counts",
        ended([(due(i), data(token("é" * (i > 0)))) for i in range(TOKENS)]),
        {"ttft": due(1), "tpot": None},
    ),
    (
        "half-character-last",
        "a last token that is half a character: the last text counts",
        ended([(due(i), data(token("é" * (i < TOKENS - 1)))) for i in range(TOKENS)]),
        {"e2e": due(TOKENS - 2), "tpot": None},
    ),
    ("no-text", "no text at all (a server without a tokenizer)", ended(tokens(text="")), {}),
    (
        "no-text-late-finish",
        "no text at all, and a finish reason long after",
        ended(tokens(text=""), data(token("", "length")), data(final()), DONE, after=LATE),
        {},
    ),
    ("late-done", "usage and `[DONE]` long after the last token", ended(tokens(), after=LATE), {}),
    ("held", "all in one read, through a proxy that waits for the end", held(PLAIN, 99), NO_PACE | {"ttft": E2E}),
    (
        "bursts",
        "four tokens a read, through a proxy that waits for more",
        held(tokens(), 4) + ended(tokens())[-2:],
        NO_PACE | {"ttft": due(3)},
    ),
    (
        "held-first",
        "a quarter of the tokens in one read, an event each, then one by one",
        held(tokens(4), 4) + PLAIN[4:],
        {"ttft": due(3)},
    ),
    ("one-chunk", "all tokens in one event", ended(grouped([TOKENS])), NO_PACE | {"ttft": E2E}),
    (
        "big-first",
        "half of the tokens in the first event, then one each",
        ended(grouped([HALF, *[1] * HALF])),
        NO_PACE | {"ttft": due(HALF - 1)},
    ),
    ("threes", "three tokens an event", ended(grouped(SIX)), NO_PACE),
    ("threes-no-text", "three tokens an event, without text", ended(grouped(SIX, texts=False)), NO_PACE),
    (
        "threes-empty-first",
        "three tokens an event, and one without text before them",
        [(0.01, data(token(""))), *ended(grouped(SIX))],
        NO_PACE,
    ),
    (
        "threes-counted",
        "three tokens an event, with running usages",
        ended([(due(n - 1), data(token(" x x x", usage=usage(n)))) for n in range(1, TOKENS + 1, 3)]),
        {"itl": None},
    ),
    (
        "big-first-counted",
        "half of the tokens in the first event, with running usages",
        ended([(due(n - 1), data(token(usage=usage(n)))) for n in range(HALF, TOKENS + 1)]),
        {"ttft": due(HALF - 1), "itl": None},
    ),
    (
        "pieces",
        "two events a token",
        ended([(due(i) + j * GAP / 2, data(token("x"))) for i in range(TOKENS) for j in range(2)]),
        NO_PACE | {"e2e": E2E + GAP / 2},
    ),
    (
        "short",
        "a stopping server: fewer tokens, with usage and `[DONE]`",
        ended(tokens(9), data(token("", "abort")), data(final(9)), DONE),
        {"error": f"asked for {TOKENS} tokens, the server's usage says 9, finish_reason abort"},
    ),
    (
        "context-ends",
        "`max_tokens` cut where the context ends",
        ended(tokens(9), data(token("", "length")), data(final(9)), DONE),
        {"error": f"asked for {TOKENS} tokens, the server's usage says 9, finish_reason length"},
    ),
    (
        "broken-off",
        "all tokens, and a finish reason that says the answer was broken off",
        ended(tokens(), data(token("", "abort")), data(final()), DONE),
        {"error": "the server broke the answer off, finish_reason abort"},
    ),
    ("no-usage", "no usage", ended(tokens(), DONE), {"error": "no usage in the stream"}),
    (
        "no-done",
        "no `[DONE]`",
        ended(tokens(), data(final())),
        {"error": f"stream ended after {TOKENS + 1} events without [DONE]"},
    ),
    (
        "usage-falls",
        "a usage that counts down",
        ended(tokens(), data(final()), data(final(9)), DONE),
        {"error": f"the server's count of tokens fell from {TOKENS} to 9"},
    ),
    (
        "usage-grows",
        "a last usage that contradicts the one before",
        ended(tokens(), data(final(9)), data(final()), DONE),
        {"error": f"two different usages in one stream: 9 and {TOKENS} tokens"},
    ),
    (
        "usage-prompts",
        "two different counts of the prompt",
        ended(tokens(), data(final()), data({"choices": [], "usage": usage(TOKENS) | {"prompt_tokens": 9}}), DONE),
        {"error": f"two different usages in one stream: {PROMPT} and 9 tokens of the prompt"},
    ),
    (
        "bad-json",
        "half an event",
        ended([*tokens(3), (due(3), b"data: {\n\n")]),
        {"error": "malformed JSON in event: {"},
    ),
    (
        "chat",
        "chunks of /v1/chat/completions",
        ended([(due(i), data({"choices": [{"index": 0, "delta": {"content": " x"}}]})) for i in range(TOKENS)]),
        {"error": "the server answers as /v1/chat/completions does, with text in `delta`"},
    ),
    (
        "html-instead",
        "a proxy's page where the stream breaks off",
        [*tokens(3), (due(3), b"<html>\r\n<h1>Sorry</h1>\r\nlater\r\n</html>\r\n")],
        {"error": "stream ended after 3 events without [DONE]: <html> <h1>Sorry</h1> </html>"},
    ),
    ("after-done", "events after `[DONE]`", ended(tokens(), DONE, data(final())), {"error": "data after [DONE]"}),
)

NATIVE_END = {"type": "length", "length": TOKENS}


def natives(counts: Iterable[int]) -> Pieces:
    """Events of /generate that say there are so many tokens, each when the last of them is made."""
    counts = list(counts)
    times = [due(most - 1) for most in itertools.accumulate(counts, max)]
    events = [data(native(n, NATIVE_END if n == TOKENS else None)) for n in counts]
    pieces = list(zip(times, events, strict=True))
    return [*pieces, (pieces[-1][0], DONE)]


NATIVE = [
    dataclasses.replace(form, protocol="sglang")
    for form in streams(
        "Streams",
        ("native", "SGLang's /generate: an event a token", natives(range(1, TOKENS + 1)), {}),
        ("native-interval", "SGLang's /generate: an event every five tokens", natives([1, 6, 11, 16]), {"itl": None}),
        (
            "native-big-first",
            "SGLang's /generate: half of the tokens in the first event",
            natives(range(HALF, TOKENS + 1)),
            {"ttft": due(HALF - 1), "itl": None},
        ),
        (
            "native-held",
            "SGLang's /generate: all in one read",
            held(natives(range(1, TOKENS + 1)), 99),
            NO_PACE | {"ttft": E2E},
        ),
        (
            "native-repeats",
            "SGLang's /generate: events without new tokens",
            [(due(0) / 2, data(native(0))), *mapped(natives(range(1, TOKENS + 1)), b"[DONE]", b"[DONE]")],
            {},
        ),
        (
            "native-falls",
            "SGLang's /generate: a count that falls",
            natives([1, 9, 4, 16]),
            {"error": "the server's count of tokens fell from 9 to 4"},
        ),
        (
            "native-abort",
            "SGLang's /generate: an answer that was aborted",
            [
                *natives([1, 2])[:-1],
                (due(2), data(native(2, {"type": "abort", "message": "out of memory"}))),
                (due(2), DONE),
            ],
            {"error": "server error: out of memory"},
        ),
        (
            "native-error",
            "SGLang's /generate: an error instead of tokens",
            [(0.01, data({"error": {"message": "The input is too long."}})), (0.01, DONE)],
            {"error": "server error: The input is too long."},
        ),
    )
]

CLOSE = f"{HEAD}Connection: close\r\n"
OLD = HEAD.replace("HTTP/1.1", "HTTP/1.0")
NO_LENGTH: dict[str, Any] = {"closes": True}
HTTP = [
    Form("HTTP", name, says, pieces, **truth)
    for name, says, pieces, truth in (
        ("until-close", "HTTP/1.1, neither length nor chunks: the close ends the body", bare(PLAIN, CLOSE), NO_LENGTH),
        ("http-1.0", "HTTP/1.0: the close ends the body", bare(PLAIN, OLD), NO_LENGTH),
        ("connection-close", "`Connection: close`: the connection is not used again", wire(PLAIN, CLOSE), NO_LENGTH),
        (
            "closes-unannounced",
            "a connection closed behind the response without a word: the next request takes another",
            wire(PLAIN),
            NO_LENGTH,
        ),
        (
            "length",
            "a stream with a `Content-Length`",
            bare(PLAIN, f"{HEAD}Content-Length: {sum(len(p) for _, p in PLAIN)}\r\n"),
            {},
        ),
        (
            "trailers",
            "fields after the last chunk",
            wire(PLAIN, f"{HEAD}Trailer: X-Status\r\n", b"0\r\nX-Status: ok\r\n\r\n"),
            {},
        ),
        ("padded", "a last chunk of several zeros", wire(PLAIN, last=b"0000\r\n\r\n"), {}),
        ("extensions", "chunk extensions", wire(PLAIN, last=b'0;last;a="b"\r\n\r\n', extension=";a=b"), {}),
        (
            "capitals",
            "chunk sizes with leading zeros and capitals",
            [(when, piece.replace(b"\r\n", b"\r\n", 1)) for when, piece in mapped(wire(PLAIN), b"7f\r\n", b"007F\r\n")],
            {},
        ),
        (
            "early-hints",
            "interim responses (103) before the response",
            [(0.0, b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"), *wire(PLAIN)],
            {},
        ),
        (
            "header-case",
            "header names and types in any case, values without a space",
            wire(PLAIN, "HTTP/1.1 200 OK\r\nCONTENT-TYPE:Text/Event-Stream\r\n"),
            {},
        ),
        (
            "events-across-chunks",
            "chunks that end inside of events",
            wire([(when, piece[i : i + 9]) for when, piece in PLAIN for i in range(0, len(piece), 9)]),
            {},
        ),
        (
            "cut",
            "a connection that ends before the last chunk",
            wire(tokens(3))[:-1],
            {"closes": True, "error": "the server ended the connection mid-stream, after 3 events"},
        ),
        (
            "cut-until-close",
            "a close inside of a body that the close ends",
            bare(tokens(3), CLOSE),
            {"closes": True, "error": "stream ended after 3 events without [DONE]"},
        ),
        (
            "nothing",
            "a connection that ends without a response",
            [(0.01, b"")],
            {"closes": True, "error": "the server closed the connection without a response"},
        ),
        (
            "no-http",
            "bytes that are no HTTP",
            [(0.01, b"SSH-2.0-OpenSSH_9.6\r\n")],
            {"closes": True, "error": "malformed HTTP response: Expected HTTP/"},
        ),
        (
            "two-lengths",
            "a length beside chunks",
            wire(PLAIN, f"{HEAD}Content-Length: 9\r\n"),
            {
                "closes": True,
                "error": "malformed HTTP response: Transfer-Encoding can't be present with Content-Length",
            },
        ),
        (
            "bad-size",
            "a chunk whose size is none",
            [*wire(tokens(1))[:-1], (due(0), b"xyz\r\n")],
            {"closes": True, "error": "malformed HTTP response: Invalid character in chunk size"},
        ),
        (
            "gzip-chunked",
            "a transfer coding beside the chunks",
            wire(PLAIN, f"{HEAD}Transfer-Encoding: gzip\r\n"),
            {"error": "the response is encoded as gzip, though identity was asked for: mind proxies"},
        ),
        (
            "upgrade",
            "a change of the protocol",
            [(0.01, b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")],
            {
                "closes": True,
                "error": "malformed HTTP response: it changes to another protocol, which nobody asked for",
            },
        ),
        (
            "gzip",
            "a compressed body, though identity was asked for",
            wire(PLAIN, f"{HEAD}Content-Encoding: gzip\r\n"),
            {"error": "the response is encoded as gzip, though identity was asked for: mind proxies"},
        ),
    )
]

LOST = "worker 3 lost: out of memory"
SERVER_SAYS: dict[str, Any] = {"error": f"server error: {LOST}"}
ERRORS = [
    *streams(
        "Errors of servers",
        (
            "error",
            '`{"error": {"message": ...}}` in the stream',
            ended(tokens(3), data({"error": {"message": LOST}}), DONE),
            SERVER_SAYS,
        ),
        ("error-text", '`{"error": "..."}` in the stream', ended(tokens(3), data({"error": LOST}), DONE), SERVER_SAYS),
        (
            "error-flat",
            '`{"object": "error", "message": ...}` in the stream',
            ended(tokens(3), data({"object": "error", "message": LOST, "code": 400}), DONE),
            SERVER_SAYS,
        ),
        (
            "error-choice",
            "an error in the first choice",
            ended(
                tokens(3), data({"choices": [{"text": "", "finish_reason": "error", "error": {"message": LOST}}]}), DONE
            ),
            SERVER_SAYS,
        ),
        (
            "error-status",
            '`{"status": "error", "msg": ...}` in the stream',
            ended(tokens(3), data({"status": "error", "msg": LOST}), DONE),
            SERVER_SAYS,
        ),
        (
            "error-detail",
            '`{"detail": ...}` in the stream',
            ended(tokens(3), data({"detail": LOST}), DONE),
            SERVER_SAYS,
        ),
        (
            "error-event",
            "`event: error` with its words as a comment",
            ended(tokens(3), b'event: error\n: "worker 3 lost: out of memory"\n\n', DONE),
            SERVER_SAYS,
        ),
        (
            "error-event-data",
            "`event: error` with its words as data",
            ended(tokens(3), b"event: error\n" + data({"message": LOST, "code": 500}), DONE),
            SERVER_SAYS,
        ),
        (
            "error-bare",
            "a line of JSON that is no event",
            ended(tokens(3), json.dumps({"error": LOST}).encode() + b"\n\n", DONE),
            SERVER_SAYS,
        ),
    ),
    *(
        Form("Errors of servers", name, says, pieces, **truth)
        for name, says, pieces, truth in (
            (
                "error-then-cut",
                "an error in the stream, then the connection ends",
                wire([*tokens(3), (due(3), data({"error": LOST}))])[:-1],
                {"closes": True, **SERVER_SAYS},
            ),
            (
                "json-200",
                "status 200, and JSON instead of a stream",
                whole("200 OK", '{"error": {"message": "model is loading"}}'),
                {
                    "error": 'expected text/event-stream, got application/json: {"error": {"message": "model is loading"}}'
                },
            ),
            (
                "html-200",
                "status 200, and a page instead of a stream",
                whole("200 OK", "<h1>Sorry</h1>", kind="text/html"),
                {"error": "expected text/event-stream, got text/html: <h1>Sorry</h1>"},
            ),
            (
                "redirect",
                "a redirect, which is not followed",
                whole("307 Temporary Redirect", "", "Location: https://other/v1/completions"),
                {"error": "HTTP 307 with Location https://other/v1/completions: Temporary Redirect"},
            ),
            (
                "busy",
                "429 with `Retry-After`, which is not waited for",
                whole("429 Too Many Requests", '{"error": "queue is full"}', "Retry-After: 7"),
                {"error": 'HTTP 429 with Retry-After 7: {"error": "queue is full"}'},
            ),
            (
                "unavailable",
                "503 without a body",
                whole("503 Service Unavailable", "", "Retry-After: 7"),
                {"error": "HTTP 503 with Retry-After 7: Service Unavailable"},
            ),
            (
                "not-found",
                "404, with the address that was asked",
                whole("404 Not Found", '{"detail": "Not Found"}'),
                {"error": 'HTTP 404 of http://SERVER/v1/completions: {"detail": "Not Found"}'},
            ),
        )
    ),
]

FORMS = {form.name: form for form in (*STREAMS, *NATIVE, *HTTP, *ERRORS)}

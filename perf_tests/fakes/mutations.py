"""Damage for hypothesis to try: to the bytes of a file or a stream, and to the values of a document."""

import copy
from typing import Any

from hypothesis import strategies as st

from fixtures.client.record import Record

PIECES = (
    b"",
    b"\n",
    b"\r\n\r\n",
    b"data:",
    b"NaN",
    b"-1",
    b"1e999",
    b"1e308",
    b"null",
    b"true",
    b"[]",
    b"{}",
    b'"',
    b"'",
    b"\\",
    b"=",
    b"[[",
    b"\x00",
    b"\xff",
    b"\xef\xbb\xbf",
    b"0",
    b"9" * 40,
    b"9" * 400,
    b"9" * 5000,
    b"[" * 9000,
    b"#",
)
JUNK = (
    None,
    True,
    0,
    -1,
    7,
    1.5,
    -2.5e-320,
    1e308,
    10**30,
    10**400,
    "",
    "x",
    "NaN",
    "vllm",
    "\x00",
    "ä" * 300,
    [],
    {},
    [1],
    [None],
    ["vllm"],
    {"a": 1},
    [[1, 2]],
    {"": {}},
)


@st.composite
def damaged(draw: st.DrawFn, original: bytes) -> bytes:
    """The original with some of its bytes cut, replaced, repeated or inserted."""
    data = bytearray(original)
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.integers(0, 12)))
        new = draw(st.binary(max_size=6) | st.just(bytes(data[start:end] * 2)) | st.sampled_from(PIECES))
        data[start:end] = new
    return bytes(data)


def paths(document: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The place of every value in a document of tables and lists."""
    below = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    return [*([at] if at else []), *(path for key, value in below for path in paths(value, (*at, key)))]


@st.composite
def misfilled(draw: st.DrawFn, document: Any) -> Any:
    """The document with a value or two replaced, removed, or under another key."""
    document = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 2))):
        *way, last = draw(st.sampled_from(paths(document)))
        place = document
        for key in way:
            place = place[key]
        match draw(st.integers(0, 5)):
            case 0:
                del place[last]
            case 1 if isinstance(place, dict):
                place[draw(st.text(max_size=3))] = place.pop(last)
            case _:
                place[last] = copy.deepcopy(draw(st.sampled_from(JUNK)))
        if not paths(document):
            break
    return document


def assert_sound(record: Record) -> None:
    """A request of two tokens failed with a cause of one line, or delivered them."""
    if record.error:
        assert "\n" not in record.error
        assert len(record.error) < 600
    else:
        assert record.chunks
        assert record.completion_tokens == 2


def assert_one_line(error: Exception, where: Any) -> None:
    """An error names the place, in one line."""
    text = str(error)
    assert "\n" not in text
    assert str(where) in text

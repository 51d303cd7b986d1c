"""Server-sent events as the standard has them, whatever their spelling and however they are cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.client.event_stream import Event, events

pytestmark = pytest.mark.cpu

LINE = st.binary(max_size=12).filter(lambda text: not set(text) & {0x0A, 0x0D})
# What may stand beside the data of an event and says nothing.
NOTHING = st.sampled_from([b"id: 7", b"retry", b"x: y", b"unknown", b"data-set: 1"])


def dispatched(body):
    return [event for event in events(body) if event.dispatched]


@st.composite
def spelt(draw):
    """An event's data lines and its name, and the bytes of it."""
    data = draw(st.lists(LINE, min_size=1, max_size=3).filter(lambda lines: b"\n".join(lines).strip()))
    name = draw(st.sampled_from(["", "message", "ping"]))
    fields = [b"data:" + (b" " if line.startswith(b" ") or draw(st.booleans()) else b"") + line for line in data]
    fields += [b"event: " + name.encode()] * bool(name)
    for extra in draw(st.lists(NOTHING, max_size=3)):
        fields.insert(draw(st.integers(0, len(fields))), extra)
    end = draw(st.sampled_from([b"\n", b"\r\n", b"\r"]))
    return (b"\n".join(data), name), b"".join(line + end for line in (*fields, b""))


@given(st.lists(spelt(), max_size=5), st.booleans(), st.lists(st.integers(0, 400), max_size=30))
def test_events_are_what_they_were_spelt_from_however_they_are_cut(given_events, bom, places):
    text = b"\xef\xbb\xbf" * bom + b"".join(spelling for _, spelling in given_events)
    cuts = sorted({place for place in places if place < len(text)} | {0, len(text)})
    body = [(float(b), text[a:b]) for a, b in zip(cuts, cuts[1:], strict=False)]
    found = dispatched(body)
    assert [(event.data, event.name) for event in found] == [expected for expected, _ in given_events]
    # Each has the time of the read that completed it: the first one that ends behind all of its bytes but a last LF.
    position = 3 * bom
    for event, (_, spelling) in zip(found, given_events, strict=True):
        position += len(spelling)
        complete = position - spelling.endswith(b"\r\n")
        assert event.when == next(cut for cut in cuts if cut >= complete)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"", []),
        (b"\n\n\n", []),
        (b": ping\n\n", []),
        (b"data: x", []),
        (b"data: x\n", []),
        (b"data: x\n\n", [b"x"]),
        (b"data:x\r\rdata:y\r\r", [b"x", b"y"]),
        (b"data:  x\n\n", [b" x"]),
        (b"data\n\n", []),
        (b"data\ndata\n\n", []),
        (b"data: a\ndata\ndata: b\n\n", [b"a\n\nb"]),
        (b"dat: x\n\n", []),
        (b" data: x\n\n", []),
        (b"\xef\xbb\xbfdata: x\n\n", [b"x"]),
        (b"\xef\xbb\xbf\xef\xbb\xbfdata: x\n\n", []),
        (b"data: x\n: c\nid\nevent: e\n\n", [b"x"]),
        (b"data: \xff\x00\n\n", [b"\xff\x00"]),
    ],
)
def test_the_standards_corners(text, expected):
    assert [event.data for event in dispatched([(0.0, text)])] == expected


def test_what_is_not_dispatched_is_kept_for_its_words():
    body = [(1.0, b'{"error": "x"}\n'), (2.0, b"event: error\n: why\n\n"), (3.0, b"data: [DONE]")]
    assert list(events(body)) == [
        Event(1.0, b'{"error": "x"}', dispatched=False),
        Event(2.0, b"", "error", b"why", dispatched=False),
        Event(3.0, b"[DONE]", dispatched=False),
    ]


def test_a_page_between_events_is_none_of_them():
    body = [(0.0, b"data: x\n<html>\n\ndata: y\n\n")]
    assert [event.data for event in dispatched(body)] == [b"x", b"y"]
    assert Event(0.0, b"<html>", dispatched=False) in list(events(body))

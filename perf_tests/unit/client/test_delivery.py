"""How long a first chunk waited for those of other streams."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.client.delivery import waited
from fixtures.client.record import Record

pytestmark = pytest.mark.cpu
STEP = 0.02


def stream(*chunks):
    return Record(0.0, len(chunks), sent=0.0, chunks=list(chunks))


@given(
    begins=st.lists(st.integers(0, 30), min_size=1, max_size=12),
    tokens=st.integers(2, 20),
    write=st.floats(1e-5, STEP / 30),
)
def test_a_pass_is_written_stream_by_stream(begins, tokens, write):
    """Passes STEP apart write one chunk of each running stream, those that began first ahead."""
    chunks: list[list[float]] = [[] for _ in begins]
    expected = [0.0] * len(begins)
    order = sorted(range(len(begins)), key=lambda i: begins[i])
    for number in range(max(begins) + tokens):
        running = [i for i in order if begins[i] <= number < begins[i] + tokens]
        for place, i in enumerate(running):
            if not chunks[i]:
                expected[i] = place * write
            chunks[i].append(number * STEP + place * write)
    assert waited([stream(*one) for one in chunks]) == pytest.approx(expected, abs=1e-9)


def test_a_pass_has_one_chunk_of_a_stream():
    """A front end that is so far behind that passes follow without a gap."""
    busy = stream(*(0.001 * i for i in range(100)))
    other = stream(*(0.001 * i + 0.0005 for i in range(100)))
    assert waited([busy, other, stream(0.0508, 0.1508)])[2] == pytest.approx(0.0008)


def test_who_is_alone_waits_for_nobody():
    assert waited([stream(0.1, 0.2), stream(0.5)]) == [0.0, 0.0]

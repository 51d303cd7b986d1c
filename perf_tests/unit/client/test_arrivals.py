"""What is kept of reads, and how little memory it takes."""

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.client.arrivals import BLOCK_BYTES, Arrivals

pytestmark = pytest.mark.cpu
EVENT = b'55\r\ndata: {"id":"cmpl-0","object":"text_completion","choices":[{"index":0,"text":"x"}]}\n\n\r\n'


@given(st.lists(st.tuples(st.floats(0, 1e6), st.binary(max_size=300))), st.integers(0, 2), st.booleans())
def test_what_comes_out_is_what_went_in(reads, blocks, trimmed):
    reads = list(zip(sorted(when for when, _ in reads), (data for _, data in reads), strict=True))
    reads += [(1e6 + i, bytes([i]) * BLOCK_BYTES) for i in range(blocks)]
    arrivals = Arrivals.of(reads)
    if trimmed:
        arrivals.trim()
    assert list(arrivals) == reads
    assert len(arrivals) == len(reads)


@pytest.mark.parametrize("events", [64, 2000])
def test_a_read_takes_a_third_of_its_bytes(events):
    tracemalloc.start()
    arrivals = Arrivals.of((float(i), EVENT) for i in range(events))
    arrivals.trim()
    taken = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(arrivals) == events
    assert taken / events < len(EVENT) / 3

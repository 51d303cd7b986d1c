"""What a client that reads late does to its figures, by numbers worked out by hand, and of one that really is late."""

import array
import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.client.arrivals import Arrivals
from fixtures.client.load import exchange, run
from fixtures.client.metrics import summarize
from fixtures.client.read_delay import as_arrived
from fixtures.client.record import Record
from fixtures.client.request import Request
from fixtures.client.response import Framing
from fixtures.client.target import Target
from perf_tests.fakes.server_process import mock_server, server_log

pytestmark = pytest.mark.cpu


def record(chunks, delays, stamped):
    late = array.array("f", delays)
    return Record(
        0.0, len(chunks), sent=0.0, chunks=chunks, completion_tokens=len(chunks), delays=late, stamped=stamped
    )


def test_stamps_tell_when_a_read_ended_and_leave_open_what_came_in_it_before():
    both = [0.5, 0.5, 0.625], [0.125, 0.125, 0.25]
    assert as_arrived(record(*both, stamped=True)).chunks == [0.375, 0.5, 0.625]
    assert as_arrived(record(*both, stamped=False)).chunks == [0.375, 0.375, 0.375]


@given(st.lists(st.floats(0.001, 10), min_size=1, max_size=20, unique=True))
def test_stamps_of_reads_of_one_chunk_each_are_left_as_they_are(times):
    chunks = sorted(times)
    assert as_arrived(record(chunks, [1.0] * len(chunks), stamped=True)).chunks == chunks


def test_a_latency_that_late_reading_moves_by_more_than_a_twentieth_is_not_told():
    # Read 30 ms late, the first token of 0.53 s came after 0.5: 6% too much. The end is off by 2% alone.
    some = [record([0.53, 1.0, 1.53], [0.03, 0.0, 0.03], stamped=False)] * 3
    found = summarize(some)
    assert math.isnan(found.ttft_p50)
    assert math.isnan(found.ttft_p99)
    assert found.e2e_p99 == pytest.approx(1.53)
    assert found.misread.startswith(
        "the client read events up to 30.0 ms late, which moves ttft_p50 by 6%, ttft_p99 by 6%"
    )
    assert found.read_delay_p99 == pytest.approx(0.03)
    within = summarize([record([0.52, 1.0, 1.52], [0.02, 0.0, 0.02], stamped=False)] * 3)
    assert within.ttft_p99 == pytest.approx(0.52)
    assert within.misread == ""


def test_delay_and_lag_are_those_of_the_worst_worker():
    quick, slow = record([1.0], [0.001], stamped=True), record([1.0], [0.002], stamped=True)
    slow.worker, slow.sent = 1, 0.004
    found = summarize([quick] * 999 + [slow])
    assert found.read_delay_p99 == pytest.approx(0.002)
    assert found.send_lag_p99 == pytest.approx(0.004)


def test_arrivals_are_those_of_the_kernel_however_late_they_are_read(monkeypatch):
    """A client that takes 20 ms over every read has both streams' times, and says how late it was."""
    feed, read_at = Framing.feed, list[float]()

    def slowly(framing, data):
        read_at.append(time.perf_counter())
        time.sleep(0.02)
        return feed(framing, data)

    with mock_server("--ttft", "0.05", "--gap", "0.05") as url:
        target = Target(url, "mock")
        run(target, [Request([5] * 16, 1)])  # the kernel stamps nothing until a socket has asked for it
        server_log(url)
        monkeypatch.setattr(Framing, "feed", slowly)
        _, exchanges = exchange(target, [Request([i] * 16, 4) for i in range(2)], 0, time.perf_counter)
        written = [moment for entry in server_log(url) for moment in entry["written"]]
    assert all(one.reads.stamped for one in exchanges)
    delays = [delay for one in exchanges for delay in one.reads.delays]
    times = sorted(when for one in exchanges for when, _ in one.reads)
    assert max(delays) > 0.015
    assert max(late - when for when, late in zip(times, read_at, strict=True)) > 0.015, (
        "the times are not those of the reading"
    )
    assert max(times) > max(written), "never sooner than it was written"


def test_what_is_kept_of_a_read_is_its_bytes_and_twenty_more():
    arrivals = Arrivals.of([(0.5, b"ab"), (0.75, b""), (1.0, b"c")])
    assert list(arrivals) == [(0.5, b"ab"), (0.75, b""), (1.0, b"c")]
    assert len(arrivals) == 3

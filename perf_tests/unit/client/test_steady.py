"""The steady window of a run of arrivals, by numbers worked out by hand and by arrivals that are exactly regular."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.client.record import Record
from fixtures.client.steady import held, steady, window

pytestmark = pytest.mark.cpu


def stream(scheduled, ttft, gap, tokens, prompt=10):
    chunks = [scheduled + ttft + i * gap for i in range(tokens)]
    return Record(scheduled, tokens, sent=scheduled, chunks=chunks, prompt_tokens=prompt, completion_tokens=tokens)


def test_the_window_begins_at_the_average_load_and_ends_with_the_last_arrival():
    # Each takes 4 s: 1, 2, 3, 4, 4, 4 ... under way after the arrivals at 0, 1, 2, 3 ...; on average until 9 s: 9 requests that
    # spend 4, 4, 4, 4, 4, 4, 3, 2, 1 and 0 s of these: 3.3.
    found = window([stream(float(i), 1.0, 1.0, 4) for i in range(10)])
    assert found is not None
    assert (found.begin, found.end, found.ramp, found.drain) == (3.0, 9.0, 3.0, 4.0)


def test_throughput_and_pace_are_those_of_the_window():
    # One token a second and request: four requests at a time make four a second. Over the whole it is 40 tokens in 13 s.
    found = steady([stream(float(i), 1.0, 1.0, 4) for i in range(10)])
    # Of the seven whole seconds from 3 to 9 each has the tokens of up to four requests.
    inside = sum(3 <= i + 1 + k <= 9 for i in range(10) for k in range(4))
    assert found["steady_throughput"] == pytest.approx(inside / 6)
    assert found["steady_throughput"] > 40 / 13
    assert found["steady_tpot_p50"] == pytest.approx(1.0)


def test_a_queue_that_grows_has_its_ramp_until_half_of_it():
    # A server that serves one at a time, 2 s each, at an arrival a second: the level is reached late.
    records = [Record(float(i), 2, sent=float(i), chunks=[2.0 * i + 1, 2.0 * i + 2]) for i in range(20)]
    found = window(records)
    assert found is not None
    assert found.ramp > 5
    assert found.drain == 40 - 19


def test_requests_that_do_not_meet_have_no_ramp():
    records = [stream(10.0 * i, 1.0, 1.0, 2) for i in range(5)]
    found = steady(records)
    assert (found["ramp"], found["drain"]) == (0, 2)
    # The last one's tokens come behind the window.
    assert found["steady_throughput"] == pytest.approx(8 / 40)


@pytest.mark.parametrize(
    "records",
    [
        [stream(0.0, 1.0, 1.0, 8)],
        [stream(0.0, 1.0, 1.0, 8), stream(0.1, 1.0, 1.0, 8)],
        [Record(float(i), 4, sent=float(i), chunks=[i + 1.0, i + 2.0], completion_tokens=4) for i in range(9)],
    ],
    ids=["one request", "shorter than a request", "nothing tells what a chunk holds"],
)
def test_what_no_window_shows_is_not_told(records):
    found = steady(records)
    assert math.isnan(found["steady_throughput"])
    assert math.isnan(found["steady_tpot_p50"])
    assert found["drain"] > 0
    assert steady([]) == {}


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0.01, 5), st.floats(0.01, 1), st.integers(1, 9)), min_size=1))
def test_ramp_window_and_drain_are_the_whole_duration(requests):
    records = [stream(*one) for one in requests]
    found = window(records)
    assert found is not None
    whole = max(one.chunks[-1] for one in records) - min(one.scheduled for one in records)
    assert found.ramp >= 0
    assert found.seconds >= 0
    assert found.ramp + found.seconds + found.drain == pytest.approx(whole)
    rate = steady(records)["steady_throughput"]
    assert math.isnan(rate) or rate * found.seconds <= sum(one.completion_tokens for one in records) * (1 + 1e-9)


def test_the_tokens_that_are_held_at_once():
    one, other = stream(0.0, 1.0, 1.0, 3, prompt=10), stream(1.0, 1.0, 1.0, 2, prompt=100)
    # At 2 s the first has 10 + 2 and the second 100 + 1, at 3 s each has one more.
    assert held([one, other]) == 13 + 102
    assert held([one]) == 13
    assert held([one, stream(9.0, 1.0, 1.0, 2, prompt=5)]) == 13, "the first has gone by then"
    assert math.isnan(held([Record(0.0, 3, streamed=False, chunks=[1.0], completion_tokens=3)]))
    assert math.isnan(held([Record(0.0, 4, chunks=[1.0, 2.0], completion_tokens=4)]))

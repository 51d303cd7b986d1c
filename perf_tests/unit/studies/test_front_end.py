"""A front end on a shared core: what its queue adds to streams."""

import math
import random

import pytest

from fixtures.analytical.schedule import Stream
from fixtures.studies import front_end
from fixtures.studies.front_end import CHUNK_SECONDS, FrontEnd

pytestmark = pytest.mark.cpu

TOKENS = 100


def streams(count, every=0.1):
    return [Stream(i * every, 0.05, 0.01) for i in range(count)]


def test_what_it_keeps_up_with_it_delays_by_its_share_of_a_prefill_alone(monkeypatch):
    monkeypatch.setattr(front_end, "SLOWEST", 1.0)
    given = streams(20)
    assert FrontEnd(0.008).seen(given, TOKENS, random.Random(1)) == given


def test_a_slower_core_takes_longer_for_a_prefill_and_no_longer_than_its_slowest():
    given = streams(20)
    late = [
        new.ttft - old.ttft
        for old, new in zip(given, FrontEnd(0.008).seen(given, TOKENS, random.Random(1)), strict=True)
    ]
    assert 0 <= min(late) < max(late) <= 0.008 * (front_end.SLOWEST - 1)


def test_chunks_beyond_its_pace_wait_and_stretch_streams(monkeypatch):
    monkeypatch.setattr(front_end, "SLOWEST", 1.0)
    # So many streams at once that its chunks take twice the second that they come in.
    count = round(2 / CHUNK_SECONDS / TOKENS)
    found = FrontEnd(0.0).seen(streams(count, every=0.0), TOKENS, random.Random(1))
    work = count * TOKENS * CHUNK_SECONDS
    ends = max(one.at + one.ttft + one.tpot * (TOKENS - 1) for one in found)
    assert ends == pytest.approx(0.05 + work, abs=0.05)
    assert all(one.tpot > 0.01 for one in found)


def test_a_stream_of_one_token_has_no_pace():
    (found,) = FrontEnd(0.0).seen([Stream(0.0, 0.05, math.nan)], 1, random.Random(1))
    assert math.isnan(found.tpot)
    assert found.ttft == 0.05

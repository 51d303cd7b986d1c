"""Prefill and decode from the times of repetitions, by hand."""

import dataclasses
import math

import pytest

from fixtures.client.metrics import summarize
from fixtures.client.record import Record
from fixtures.session.parts import parts
from fixtures.workloads.workload import Workload

pytestmark = pytest.mark.cpu
BATCH = Workload("w", "batch", batch_size=1, input_len=8, output_len=5, repetitions=2)


def took(seconds, streamed=True):
    """A repetition of one request that took so long."""
    return summarize([Record(0.0, 1, streamed, sent=0.0, chunks=[seconds], prompt_tokens=8, completion_tokens=1)])


FULL, FIRSTS = [took(0.5), took(0.7)], [[took(0.1), took(0.2)], [took(0.3)]]


def test_a_batch_has_a_step():
    assert parts(BATCH, FULL, FIRSTS) == {
        "prefill_time": (0.1, 0.2, 0.3),
        "ttft_first": (0.1, 0.2, 0.3),
        "decode_step": pytest.approx(((0.5 - 0.15) / 4, (0.7 - 0.3) / 4)),
    }


def test_offline_prompts_have_a_time():
    offline = dataclasses.replace(BATCH, kind="offline", num_prompts=1)
    assert parts(offline, FULL, FIRSTS)["decode_time"] == pytest.approx((0.35, 0.4))
    assert "decode_step" not in parts(offline, FULL, FIRSTS)


def test_without_first_tokens_there_are_no_parts():
    assert parts(dataclasses.replace(BATCH, first_repetitions=0), FULL, [[], []]) == {}


def test_what_nothing_tells_is_no_number():
    found = parts(BATCH, [took(0.1), took(0.7)], [[took(0.1, streamed=False)], [took(0.2, streamed=False)]])
    assert found["prefill_time"] == (0.1, 0.2)
    assert all(map(math.isnan, found["ttft_first"]))
    assert math.isnan(found["decode_step"][0]), "one token took as long as all"

"""Conversations on servers that keep a prefix cache: what is sent in each turn, when, and what is made of it."""

import math

import pytest

from fixtures.client.load import run
from fixtures.client.plan import plan
from fixtures.client.protocol import PROTOCOLS
from fixtures.client.record import Record
from fixtures.client.request import Request
from fixtures.client.target import Target
from fixtures.client.turns import PrefixCache, expected_cached, of_turns
from fixtures.workloads.workload import Workload
from perf_tests.fakes.server_process import mock_server, server_log

pytestmark = pytest.mark.cpu

TURNS, BLOCK = 3, 16
CACHE = PrefixCache(BLOCK)
WORKLOAD = Workload(
    *("talk", "conversations"), rate=100, num_prompts=4, turns=TURNS, think_time=0.02, input_len=24, output_len=9
)
QUICK = ("--ttft", "0.01", "--gap", "0.001", "--cache-block", str(BLOCK))


@pytest.mark.parametrize("form", ["openai", "sglang", "sglang --incremental"])
def test_each_turn_asks_all_that_was_said_before_and_what_is_new(form):
    protocol, *options = form.split()
    with mock_server(*QUICK, *options) as url:
        records = run(Target(url, "mock", protocol=PROTOCOLS[protocol]), plan(WORKLOAD, 1000, 256, "seed"))
    assert [one.error for one in records] == [""] * 4 * TURNS
    assert [one.prompt_tokens for one in records] == [24, 24 + 9 + 24, 2 * (24 + 9) + 24] * 4
    assert all(one.ids == [7] * 9 for one in records)
    # 24 + 8 tokens were read in the first turn, 57 + 8 by the end of the second.
    assert [one.cached_tokens for one in records] == [0, 32, 64] * 4 == expected_cached(records, TURNS, CACHE)
    found = of_turns(records, TURNS, CACHE)
    assert found["cache_deviation"] == 0
    assert found["cache_hit"] == found["cache_hit_expected"] == pytest.approx((32 + 64) / (24 + 57 + 90))


def test_a_turn_is_sent_when_its_user_has_thought_since_the_answer_ended():
    requests = plan(WORKLOAD, 1000, 256, "seed")
    with mock_server(*QUICK) as url:
        records = run(Target(url, "mock"), requests)
    for request, before, record in zip(requests[1:], records, records[1:], strict=False):
        if request.follows is not None:
            assert record.scheduled >= before.chunks[-1] + request.scheduled - 1e-6
            assert record.sent >= record.scheduled
    assert [one.scheduled for one in records[::TURNS]] == [one.scheduled for one in requests[::TURNS]]


def test_conversations_share_no_prefix():
    with mock_server(*QUICK) as url:
        run(Target(url, "mock"), plan(WORKLOAD, 1000, 256, "seed"))
        again = run(Target(url, "mock"), plan(WORKLOAD, 1000, 256, "another"))
    assert [one.cached_tokens for one in again[::TURNS]] == [0] * 4


@pytest.mark.parametrize("fault", ["cut", "http-500"])
def test_turns_after_one_that_failed_are_not_sent_and_say_why(fault):
    with mock_server(*QUICK, "--fault", fault, "--after", "1") as url:
        records = run(Target(url, "mock"), [Request([5] * 16, 4, tells_ids=True), *_later(3)])
        log = server_log(url)
    assert records[0].error == ""
    assert records[1].error
    assert "earlier turn" not in records[1].error
    assert records[2].error == records[3].error == f"an earlier turn failed: {records[1].error}"
    assert len(log) <= 2


def test_a_server_that_tells_no_ids_cannot_be_talked_to():
    with mock_server(*QUICK, "--no-ids") as url:
        records = run(Target(url, "mock"), [Request([5] * 16, 4, tells_ids=True), *_later(1)])
    assert records[0].error == ""
    assert records[1].error.startswith("the server told 0 ids of 4 tokens of the turn before")


def test_a_block_that_a_cache_does_not_hold_whole_is_none():
    records = [Record(0, 4, prompt_tokens=12, completion_tokens=4, cached_tokens=0)]
    records += [Record(0, 4, prompt_tokens=20, completion_tokens=4, cached_tokens=12)]
    assert expected_cached(records, 2, PrefixCache(16)) == [0, 0], "the last token of the answer was never read"
    assert expected_cached(records, 2, PrefixCache(15)) == [0, 15]
    assert expected_cached(records, 2, PrefixCache(1)) == [0, 15]
    assert of_turns(records, 2, PrefixCache(1))["cache_deviation"] == pytest.approx(3 / 15)


# Seen of vLLM 0.32.0: its CPU build with a small Gemma 3, its cache manager alone with blocks of 16. Prompt, answer, cached.
SEEN = [
    (128, ((500, 200, 0), (800, 200, 384), (1100, 200, 768))),
    (128, ((130, 300, 0), (490, 300, 128), (850, 300, 384))),
    (16, ((500, 200, 0), (800, 200, 496), (1100, 200, 784))),
    (16, ((1300, 300, 0), (1660, 300, 1296), (2020, 300, 1648))),
]


@pytest.mark.parametrize(("block", "conversation"), SEEN)
def test_what_vllm_keeps_of_windows_ends_with_a_prompt(block, conversation):
    records = [Record(0, answer, prompt_tokens=n, completion_tokens=answer) for n, answer, _ in conversation]
    assert expected_cached(records, 3, PrefixCache(block, prompts_alone=True)) == [
        cached for *_, cached in conversation
    ]
    assert expected_cached(records, 3, PrefixCache(block))[1:] > [cached for *_, cached in conversation[1:]]


def test_what_a_server_does_not_tell_is_no_number():
    records = [Record(0, 4, prompt_tokens=12, completion_tokens=4), Record(0, 4, prompt_tokens=20, completion_tokens=4)]
    untold = of_turns(records, 2, CACHE)
    assert math.isnan(untold["cache_hit"])
    assert math.isnan(untold["cache_deviation"])
    told = [Record(0, 4, prompt_tokens=12, completion_tokens=4, cached_tokens=0)] * 2
    assert math.isnan(of_turns(told, 2, None)["cache_deviation"])
    assert of_turns(told, 2, PrefixCache(0))["cache_deviation"] == 0, "no cache, and no hit"
    lucky = [Record(0, 4, prompt_tokens=12, completion_tokens=4, cached_tokens=5)] * 2
    assert of_turns(lucky, 2, PrefixCache(0))["cache_deviation"] == 1, "hits of a server that says it has no cache"


def test_a_server_that_is_asked_tells_how_many_tokens_a_chunk_holds():
    asked = [Request([5] * 16, 8, tells_counts=told) for told in (True, False)]
    with mock_server(*QUICK, "--tokens-per-chunk", "3") as url:
        told, untold = run(Target(url, "mock"), asked)
    assert list(told.tokens) == [3, 3, 2]
    assert list(untold.tokens) == []


def _later(count):
    return [Request([6] * 16, 4, tells_ids=True, follows=i) for i in range(count)]

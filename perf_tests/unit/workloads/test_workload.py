"""Workloads: what contradicts itself, what they are stored as, and which metrics they yield."""

import dataclasses
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.errors import UsageError
from fixtures.workloads.traffic import traffic
from fixtures.workloads.workload import Workload

pytestmark = pytest.mark.cpu
BATCH = Workload("w", "batch", batch_size=8, input_len=32, output_len=64, repetitions=5)

TALK = {"kind": "conversations", "turns": 3}
ENERGY = {"kind": "energy", "batch_size": 2}
CAPACITY = {"kind": "capacity", "seconds": 2.0, "probes": 6, "slo_share": 0.9, "slo_ttft": 0.1, "slo_tpot": 0.01}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_prompts": 10**6 + 1}, "num_prompts must be at most 1,000,000"),
        ({"slo_ttft": 0.1}, "slo_ttft and slo_tpot go together"),
        ({"slo_ttft": 0.1, "slo_tpot": 0.1, "kind": "offline"}, "limits need kind 'online' or 'capacity'"),
        ({"stream": False}, "kind 'online' measures TTFT and needs stream = true"),
        ({"stream": False, "count_tokens": True}, "count_tokens needs a kind that is timed, and stream = true"),
        ({"kind": "routing", "count_tokens": True}, "count_tokens needs a kind that is timed"),
        ({"prefix_len": 9}, "prefix_len must be within input_len"),
        ({"prefix_len": 4, "lengths": "sharegpt"}, "of fixed lengths"),
        ({"burstiness": 0.0}, "burstiness must be positive"),
        ({"end_rate": -1.0}, "end_rate and concurrency not negative"),
        ({"kind": "offline", "burstiness": 0.5}, "burstiness and end_rate need kind 'online'"),
        ({"kind": "offline", "end_rate": 3.0}, "burstiness and end_rate need kind 'online'"),
        ({"concurrency": 4}, "concurrency needs kind 'offline'"),
        ({"first_repetitions": 2}, "first_repetitions needs kind 'batch' or 'offline'"),
        ({"kind": "offline", "repetitions": 3, "first_repetitions": 2}, "at least one for each of its 3 repetitions"),
        ({"kind": "offline", "first_repetitions": -1}, "first_repetitions must be 0, for none, or at least one"),
        ({"kind": "offline", "first_repetitions": 10**6 + 1}, "at most 1,000,000"),
        (TALK | {"turns": 1}, "conversations have 2 turns or more"),
        (TALK | {"prefix_len": 4}, "and no prefix_len"),
        (TALK | {"stream": False}, "kind 'conversations' measures TTFT and needs stream = true"),
        (TALK | {"think_time": -1.0}, "think_time is 0 or more seconds"),
        ({"think_time": 1.0}, "of kind 'conversations'"),
        ({"alone_prompts": 1}, "alone_prompts is at most num_prompts, of kind 'outputs'"),
        (CAPACITY | {"slo_share": 1.5}, "slo_share is at most 1"),
        ({"slo_share": 0.5}, "slo_share is at most 1, of kind 'capacity'"),
        (CAPACITY | {"probes": 3}, "a search takes 4 or more"),
        (ENERGY | {"max_seconds": 0}, "max_seconds must be positive for kind 'energy'"),
        (ENERGY | {"max_seconds": 601}, "max_seconds must be at most 600"),
        ({"max_seconds": 9.0}, "max_seconds needs kind 'energy'"),
        (ENERGY | {"first_repetitions": 2}, "first_repetitions needs kind 'batch' or 'offline'"),
        ({"pattern": -1}, "pattern is 0 or more"),
        ({"pattern": 0, "kind": "offline"}, "needs kind 'online' or 'capacity'"),
        (CAPACITY | {"seconds": 0}, "seconds must be positive for kind 'capacity'"),
        (CAPACITY | {"stream": False}, "and stream = true"),
    ],
)
def test_contradictions_in_a_workload_are_named(changes, message):
    traffic = {"kind": "online", "rate": 1, "num_prompts": 4, "input_len": 8, "output_len": 4}
    with pytest.raises(UsageError, match=message):
        Workload("w", **(traffic | changes)).validate("mine.toml")


def test_new_keys_leave_the_definition_of_older_workloads_alone():
    traffic = {"num_prompts": 4, "input_len": 8, "output_len": 4}
    plain = Workload("w", "offline", **traffic).definition()
    assert plain == {"kind": "offline", **traffic, "lengths": "fixed"}
    assert Workload("w", "offline", **traffic, stream=False).definition() == plain | {"stream": False}
    assert Workload("w", "offline", **traffic, concurrency=2).definition() == plain | {"concurrency": 2}
    assert Workload("w", "offline", **traffic, first_repetitions=9).definition() == plain


def test_how_long_an_energy_may_take_is_no_part_of_what_it_is_of():
    few, more = (
        Workload("w", **ENERGY | {"max_seconds": seconds}, input_len=8, output_len=4) for seconds in (5.0, 9.0)
    )
    assert few.definition() == more.definition()
    assert few.definition() == {"kind": "energy", "batch_size": 2, "input_len": 8, "output_len": 4}


@pytest.mark.parametrize(
    ("workload", "metric", "observed"),
    [
        (Workload("w", "batch"), "tpot_p50", True),
        (Workload("w", "batch", stream=False), "tpot_p50", False),
        (Workload("w", "batch", stream=False), "latency", True),
        (Workload("w", "online"), "goodput", False),
        (Workload("w", "online", slo_ttft=0.1, slo_tpot=0.1), "goodput", True),
        (BATCH, "decode_step", True),
        (dataclasses.replace(BATCH, stream=False), "decode_step", True),
        (dataclasses.replace(BATCH, stream=False), "ttft_first", False),
        (dataclasses.replace(BATCH, first_repetitions=0), "prefill_time", False),
        (dataclasses.replace(BATCH, output_len=1), "prefill_time", False),
        (dataclasses.replace(BATCH, kind="online", num_prompts=8), "ttft_first", False),
        (BATCH, "repetition_spread", True),
        (dataclasses.replace(BATCH, repetitions=2), "repetition_spread", False),
        # 5 times 63 steps, whatever the number of requests.
        (BATCH, "itl_tail", True),
        (dataclasses.replace(BATCH, repetitions=4), "itl_tail", False),
        (BATCH, "itl_p99", False),
        (dataclasses.replace(BATCH, output_len=300), "itl_p99", True),
        (Workload("w", "online", num_prompts=20, output_len=16), "itl_p99", True),
        (Workload("w", "online", num_prompts=298), "ttft_p99", False),
        (Workload("w", "online", num_prompts=299), "ttft_p99", True),
        (Workload("w", "offline", num_prompts=299, stream=False), "e2e_p99", True),
        (Workload("w", "offline", num_prompts=299, stream=False), "tpot_p99", False),
        (Workload("w", "batch", batch_size=1), "send_lag_p99", True),
    ],
)
def test_what_a_workload_yields(workload, metric, observed):
    assert workload.yields(metric) is observed


@pytest.mark.parametrize(
    ("changes", "count"),
    [
        ({"batch_size": 1}, 32),
        ({"batch_size": 8}, 24),
        ({"batch_size": 32, "repetitions": 7}, 16),
        ({"batch_size": 128}, 5),
        ({"batch_size": 256}, 5),
        ({"batch_size": 256, "repetitions": 2}, 2),
        ({"batch_size": 128, "repetitions": 9}, 9),
        # Of 3,500 tokens each are worth 219 requests; what a prefix holds costs nothing.
        ({"batch_size": 4, "input_len": 3500, "repetitions": 3}, 3),
        ({"batch_size": 32, "input_len": 2048, "prefix_len": 1920}, 8),
        ({"first_repetitions": 0}, 0),
        ({"first_repetitions": 11}, 11),
        ({"output_len": 1}, 0),
        ({"kind": "online", "num_prompts": 8}, 0),
    ],
)
def test_how_often_the_first_token_is_asked_for_alone(changes, count):
    workload = dataclasses.replace(BATCH, **changes)
    assert sum(workload.firsts(on_card=True)) == count
    cheap = count if workload.first_repetitions is not None else min(count, workload.repetitions)
    assert sum(workload.firsts(on_card=False)) == cheap


@pytest.mark.parametrize(
    ("changes", "count"),
    [
        ({"batch_size": 1}, 128),
        ({"batch_size": 32}, 64),
        ({"batch_size": 256}, 5),
        ({"batch_size": 4, "input_len": 3500, "repetitions": 3}, 3),
        ({"first_repetitions": 11}, 11),
        ({"first_repetitions": 0}, 0),
    ],
)
def test_two_engines_side_by_side_are_asked_more_often(changes, count):
    """What takes long is not, nor what a deployment says itself."""
    assert sum(dataclasses.replace(BATCH, **changes).firsts(on_card=True, side_by_side=True)) == count


@given(st.integers(1, 9), st.none() | st.integers(9, 99), st.integers(1, 300), st.booleans())
def test_they_are_spread_evenly_over_the_repetitions(repetitions, firsts, size, on_card):
    found = dataclasses.replace(BATCH, batch_size=size, repetitions=repetitions, first_repetitions=firsts).firsts(
        on_card
    )
    assert len(found) == repetitions
    assert max(found) - 1 <= min(found) >= 1


def test_where_a_search_begins_and_how_long_it_may_take_is_not_what_it_measures():
    given = Workload("c", input_len=8, output_len=4, **CAPACITY)
    other = dataclasses.replace(given, start_rate=9, probes=8)
    assert given.definition() == other.definition()
    Workload(name="c", **given.definition()).validate("what is kept of it")
    assert given.definition() != dataclasses.replace(given, slo_share=0.5).definition()
    assert given.definition() != dataclasses.replace(given, seconds=3).definition()


def test_a_probe_is_online_traffic_of_its_own():
    given = Workload("c", input_len=8, output_len=4, **CAPACITY)
    first, second = given.probe(0, 10.0), given.probe(1, 10.0)
    assert (first.kind, first.num_prompts, first.rate) == ("online", 20, 10.0)
    first.validate("here")
    assert first.name != second.name, "its prompts are its own"


@pytest.mark.parametrize("lengths", ["fixed", "sharegpt"])
def test_all_probes_of_a_capacity_share_a_pattern_of_arrivals_each_at_its_pace(lengths):
    given = Workload("c", input_len=80, output_len=40, lengths=lengths, **CAPACITY)
    slow, fast = (traffic(given.probe(number, rate), 4096) for number, rate in enumerate((50.0, 100.0)))
    assert (len(slow), len(fast)) == (100, 200)

    def gaps(some):
        return [later.at - one.at for one, later in itertools.pairwise(some[:100])]

    scale = sum(gaps(slow)) / sum(gaps(fast))
    assert gaps(slow) == pytest.approx([scale * gap for gap in gaps(fast)])
    assert traffic(given.probe(5, 50.0), 4096) == slow
    assert traffic(dataclasses.replace(given, name="other", slo_ttft=9.0).probe(0, 50.0), 4096) == slow
    other = dataclasses.replace(given, pattern=1)
    assert traffic(other.probe(0, 50.0), 4096) != slow
    assert other.definition() != given.definition() == dataclasses.replace(given, pattern=0).definition()


def test_a_pattern_is_of_traffic_at_a_rate_and_changes_its_definition():
    plain = Workload("o", "online", rate=5, num_prompts=9, input_len=8, output_len=4)
    patterned = dataclasses.replace(plain, pattern=0)
    assert "pattern" not in plain.definition()
    assert patterned.definition()["pattern"] == 0
    assert traffic(plain, 4096) != traffic(patterned, 4096)


def test_conversations_ask_once_for_each_turn_and_hold_all_of_them():
    given = Workload("t", rate=1, num_prompts=8, input_len=10, output_len=4, **TALK)
    assert (given.requests, given.longest) == (24, 42)
    assert given.definition()["turns"] == 3
    assert "think_time" not in given.definition()
    assert dataclasses.replace(given, think_time=2.0).definition()["think_time"] == 2.0

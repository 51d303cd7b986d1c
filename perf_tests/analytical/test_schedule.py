"""A schedule played through the model: alone, in a burst, steadily, and where not all fit."""

import dataclasses
import math
import random
import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.analytical import schedule, serving, step
from fixtures.errors import UsageError
from fixtures.workloads import arrivals
from fixtures.workloads.traffic import Arrival
from perf_tests.analytical.strategies import figure
from perf_tests.analytical.test_serving_model import COPIES, DENSE, HOST, MOE, hosts

pytestmark = pytest.mark.cpu

schedules = st.lists(
    st.builds(Arrival, st.floats(0, 5), st.integers(1, 500), st.integers(1, 60)), min_size=1, max_size=30
)


@given(st.sampled_from((DENSE, MOE)), hosts, st.integers(1, 2000), st.integers(2, 300))
@settings(max_examples=30)
def test_one_request_alone_takes_what_a_batch_of_one_takes(setup, term, input_len, output_len):
    (stream,) = schedule.play(setup, term, [Arrival(3.0, input_len, output_len)], 10_000)
    assert stream.ttft == pytest.approx(serving.prefill_seconds(setup, term, 1, input_len))
    whole = stream.ttft + stream.tpot * (output_len - 1)
    assert whole == pytest.approx(serving.latency_seconds(setup, term, 1, input_len, output_len), rel=1e-3)


@given(st.sampled_from((DENSE, MOE, COPIES)), st.integers(2, 60))
@settings(max_examples=20)
def test_a_burst_takes_what_a_batch_takes(setup, count):
    streams = schedule.play(setup, HOST, [Arrival(0.0, 64, 100)] * count, 10**6)
    whole = max(stream.ttft + stream.tpot * 99 for stream in streams)
    assert whole == pytest.approx(serving.latency_seconds(setup, HOST, count, 64, 100), rel=1e-3)


@given(st.sampled_from((DENSE, MOE)), hosts, schedules, st.integers(1, 8))
@settings(max_examples=40)
def test_everyone_is_served_and_nobody_faster_than_alone(setup, term, requests, together):
    streams = schedule.play(setup, term, requests, 100_000, together)
    assert len(streams) == len(requests)
    shortest = min(request.input_len for request in requests)
    alone = serving.decode_step(setup, term, 1, shortest).total
    for stream in streams:
        assert stream.ttft >= serving.prefill_seconds(setup, term, 1, shortest) * (1 - 1e-9)
        assert math.isnan(stream.tpot) or stream.tpot >= alone * (1 - 1e-9)
    assert sum(math.isnan(stream.tpot) for stream in streams) == sum(r.output_len == 1 for r in requests)


def test_a_long_poisson_schedule_is_the_steady_state():
    """Against Little's law, which knows of no schedule."""
    for setup, rate, launch, routes in (
        (DENSE, 20, 0, True),
        (MOE, 4, 0, True),
        (MOE, 4, 0, False),
        (DENSE, 10, 0.015, True),
    ):
        term = dataclasses.replace(HOST, launch_seconds=figure(launch), routes_padding=routes)
        times = arrivals.times(rate, 3000, random.Random(1))
        streams = schedule.play(setup, term, [Arrival(at, 100, 100) for at in times], 10**6)
        found = statistics.mean(stream.tpot for stream in streams)
        assert found == pytest.approx(serving.online(setup, term, rate, 100, 100).itl, rel=0.03)


def test_padding_that_is_not_routed_shortens_the_steps_of_a_mixture_alone():
    """Five streams side by side are replayed by the graph for eight; eight fill it."""
    masked = dataclasses.replace(HOST, routes_padding=False)
    for setup, count, shorter in ((MOE, 5, True), (MOE, 8, False), (DENSE, 5, False)):
        requests = [Arrival(0.0, 64, 100)] * count
        found = [schedule.play(setup, term, requests, 10**6)[0].tpot for term in (HOST, masked)]
        steps = [serving.decode_step(setup, term, count, 64 + 51).total for term in (HOST, masked)]
        assert found == pytest.approx(steps, rel=1e-3)
        assert (found[1] < found[0]) == shorter


def test_an_arrival_stretches_the_step_that_it_shares():
    first, second = Arrival(0.0, 100, 50), Arrival(0.05, 3000, 1)
    (alone,) = schedule.play(DENSE, HOST, [first], 10_000)
    both = schedule.play(DENSE, HOST, [second, first], 10_000)
    added = step.added_by_prefill(DENSE, 1.0, 125, 3000)
    assert both[1].tpot - alone.tpot == pytest.approx(added / 49, rel=0.05)


@given(st.sampled_from((DENSE, MOE)), st.floats(0, 0.1), st.integers(1, 5), st.integers(1, 500))
def test_a_step_that_a_prompt_shares_takes_as_long_as_its_launch(setup, launch, others, input_len):
    """All in decode wait for it and so does the prompt, but not for what the step takes anyway."""
    requests = [Arrival(0.0, 100, 50)] * others
    plain, launched = (dataclasses.replace(HOST, launch_seconds=figure(seconds)) for seconds in (0.0, launch))
    found = []
    for term in (plain, launched):
        alone = schedule.play(setup, term, requests, 100_000)
        late = Arrival(alone[0].ttft + 10 * alone[0].tpot, input_len, 1)
        streams = schedule.play(setup, term, [*requests, late], 100_000)
        *paced, last = sorted(streams, key=lambda one: math.isnan(one.tpot))
        # Of 49 steps one is shared.
        found.append(([49 * one.tpot - 48 * alone[0].tpot for one in paced], last.ttft))
    (steps, first), (stretched, later) = found
    longer = max(0.0, launch - steps[0])
    for one, other in zip(steps, stretched, strict=True):
        assert other - one == pytest.approx(longer, abs=1e-3)
    assert later - first == pytest.approx(longer, abs=1e-3)


@given(st.sampled_from((DENSE, MOE)), st.floats(0, 0.1), st.integers(1, 2000))
def test_a_prefill_that_is_alone_takes_as_long_as_its_launch_too(setup, launch, input_len):
    request = [Arrival(1.0, input_len, 20)]
    (plain,), (launched,) = (
        schedule.play(setup, dataclasses.replace(HOST, launch_seconds=figure(seconds)), request, 100_000)
        for seconds in (0.0, launch)
    )
    longer = max(0.0, launch - step.prefill(setup, 1, input_len).device)
    assert launched.ttft - plain.ttft == pytest.approx(longer, abs=1e-9)
    assert launched.tpot == pytest.approx(plain.tpot)


@given(st.sampled_from((DENSE, MOE)), st.floats(0, 0.02), st.integers(1, 5), st.integers(1, 2000))
def test_a_pass_of_its_own_holds_up_everybody_in_decode(setup, stall, others, input_len):
    """For as long as it takes the device, and for what of the host's time it waits for."""
    term = dataclasses.replace(HOST, stall_seconds=figure(stall))
    requests = [Arrival(0.0, 100, 50)] * others
    without = schedule.play(setup, term, requests, 100_000)
    late = Arrival(without[0].ttft + 10 * without[0].tpot, input_len, 1)
    *streams, last = sorted(
        schedule.play(setup, term, [*requests, late], 100_000), key=lambda one: math.isnan(one.tpot)
    )
    taken = step.prefill(setup, 1, input_len).device + stall
    for stream in streams:
        assert stream.tpot - without[0].tpot == pytest.approx(taken / 49, rel=1e-3)
    assert last.ttft >= taken


@given(st.sampled_from((DENSE, MOE)), hosts, schedules, st.floats(0, 0.02))
@settings(max_examples=20)
def test_the_first_token_of_who_is_alone_waits_for_its_pass_and_the_host(setup, term, requests, stall):
    stalled = dataclasses.replace(term, stall_seconds=figure(stall))
    first = min(requests, key=lambda r: r.at)
    (one,) = schedule.play(setup, stalled, [first], 100_000)
    assert one.ttft == pytest.approx(serving.prefill_seconds(setup, term, 1, first.input_len) + stall)


@pytest.mark.parametrize(("kv_tokens", "together"), [(300, 1000), (10**6, 2)])
def test_who_does_not_fit_waits_for_a_place(kv_tokens, together):
    """Two of 150 tokens fit at once, or two are let: the third begins when the first have ended."""
    requests = [Arrival(0.0, 100, 50)] * 3
    two = schedule.play(DENSE, HOST, requests[:2], 10**6)
    three = schedule.play(DENSE, HOST, requests, kv_tokens, together)
    assert three[2].ttft > max(stream.ttft + stream.tpot * 49 for stream in two) * 0.95
    with pytest.raises(UsageError, match="^150 tokens do not fit a KV cache of 149$"):
        schedule.play(DENSE, HOST, requests, 149)


def test_what_fills_the_kv_cache_to_the_last_token_fits():
    requests = [Arrival(0.0, 100, 50)] * 2
    for count in (1, 2):
        filled = schedule.play(DENSE, HOST, requests[:count], 150 * count)
        assert filled == schedule.play(DENSE, HOST, requests[:count], 10**6)


@given(st.sampled_from((DENSE, MOE)), hosts, st.floats(0.01, 0.99), st.integers(50, 300))
@settings(max_examples=30)
def test_who_has_no_place_delays_nobody(setup, term, when, output_len):
    first = Arrival(0.0, 100, output_len)
    (alone,) = schedule.play(setup, term, [first], 10_000)
    begins, lasts = step.prefill(setup, 1, 100).device, alone.tpot * (output_len - 1)
    for at in (begins, begins + when * lasts):  # the moment that a step ends, and any
        requests = [first, Arrival(at, 100, 50)]
        assert schedule.play(setup, term, requests, 10_000, 1)[0] == alone
        served = schedule.play(setup, term, requests, 100 + output_len)  # steps are counted in two parts
        assert served[0].tpot == pytest.approx(alone.tpot, rel=1e-3)
        assert served[1].ttft + at > alone.ttft + lasts


@given(st.sampled_from((DENSE, MOE)), hosts, st.integers(1, 2000))
@settings(max_examples=30)
def test_the_second_token_attends_to_the_prompt_and_the_first(setup, term, input_len):
    (stream,) = schedule.play(setup, term, [Arrival(0.0, input_len, 2)], 10_000)
    assert stream.tpot == pytest.approx(serving.decode_step(setup, term, 1, input_len + 1).total, rel=1e-9)

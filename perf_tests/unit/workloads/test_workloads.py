"""Lengths, arrivals and plans: properties of what is drawn."""

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.client.metrics import percentile
from fixtures.client.plan import plan, sweep
from fixtures.errors import UsageError
from fixtures.workloads import arrivals, lengths, sharegpt
from fixtures.workloads.workload import Workload

pytestmark = pytest.mark.cpu


@given(st.floats(0.1, 1000), st.integers(1, 300), st.integers())
def test_arrivals_are_ordered_and_keep_the_rate(rate, count, seed):
    times = arrivals.poisson(rate, count, random.Random(seed))
    assert len(times) == count
    assert times[0] == 0
    assert times == sorted(times)
    assert times[-1] == pytest.approx((count - 1) / rate)


def test_arrivals_are_poisson():
    times = arrivals.poisson(10, 20_000, random.Random(3))
    gaps = [b - a for a, b in zip(times, times[1:], strict=False)]
    mean = sum(gaps) / len(gaps)
    deviation = (sum((g - mean) ** 2 for g in gaps) / len(gaps)) ** 0.5
    assert deviation / mean == pytest.approx(1, abs=0.05), "an exponential's standard deviation is its mean"


@given(st.integers(1, 200), st.floats(16, 200), st.floats(16, 300), st.integers())
def test_lengths_pass_the_filters_of_vllm(count, mean_input, mean_output, seed):
    for prompt, output in lengths.sharegpt_like(count, mean_input, mean_output, random.Random(seed)):
        assert lengths.MIN_TOKENS <= prompt <= lengths.MAX_PROMPT_TOKENS
        assert output >= lengths.MIN_TOKENS
        assert prompt + output <= lengths.MAX_TOTAL_TOKENS


@given(st.integers(20, 200), st.floats(16, 160), st.floats(16, 250), st.integers())
def test_the_sample_has_the_mean_asked_for(count, mean_input, mean_output, seed):
    pairs = lengths.sharegpt_like(count, mean_input, mean_output, random.Random(seed))
    assert sum(p for p, _ in pairs) / count == pytest.approx(mean_input, abs=1)
    assert sum(o for _, o in pairs) / count == pytest.approx(mean_output, abs=1)


OFFLINE = Workload("w", "offline", num_prompts=50, input_len=20, output_len=30, lengths="sharegpt")


def test_traffic_is_the_same_for_every_model_and_prompts_are_fresh():
    a, b = plan(OFFLINE, 1000, 1024, "one"), plan(OFFLINE, 32_000, 1024, "two")
    shape = [(len(r.prompt), r.output_len, r.scheduled) for r in a]
    assert shape == [(len(r.prompt), r.output_len, r.scheduled) for r in b]
    assert not {tuple(r.prompt[:4]) for r in a} & {tuple(r.prompt[:4]) for r in b}
    assert plan(OFFLINE, 1000, 1024, "one") == a
    assert all(0 < token < 1000 for r in a for token in r.prompt)


def test_the_real_sharegpt_file():
    def entry(prompt, answer):
        return {"conversations": [{"from": "human", "value": prompt}, {"from": "gpt", "value": answer}]}

    good = entry("tell me something " * 4, "an answer of some length " * 4)
    data = [good, entry("hi", "x" * 400), entry("y" * 5000, "z" * 40), {"conversations": [{"value": "alone"}]}]
    (kept,) = sharegpt.parse(json.dumps(data), "f", None, 2048)
    assert (kept.input_len, kept.output_len, kept.prompt) == (18, 25, None)
    (encoded,) = sharegpt.parse(json.dumps([good]), "f", lambda text: list(text.encode()[:40]), 2048)
    request = plan(OFFLINE, 1000, 1024, "s", [encoded])[0]
    assert request.prompt == list(b"tell me something tell me something tell"[:40])


@pytest.mark.parametrize("text", ["nonsense", "{}", "[]", '[{"conversations": 3}]', '[{"other": []}]'])
def test_a_file_that_is_not_sharegpt(text):
    with pytest.raises(UsageError, match="^f: "):
        sharegpt.parse(text, "f", None, 2048)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1), st.floats(0, 100))
def test_percentile_is_numpys(values, q):
    numpy = pytest.importorskip("numpy")
    assert percentile(values, q) == pytest.approx(numpy.percentile(values, q), rel=1e-9, abs=1e-6)


def test_a_shared_prefix_is_shared_by_all_and_the_rest_by_none():
    workload = Workload("w", "batch", batch_size=4, input_len=100, prefix_len=80, output_len=1, repetitions=1)
    prompts = [r.prompt for label in ("warm", "0") for r in plan(workload, 32000, 4096, label)]
    assert {tuple(p[:80]) for p in prompts} == {tuple(prompts[0][:80])}
    assert len({tuple(p[80:]) for p in prompts}) == 8
    assert {len(p) for p in prompts} == {100}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_prompts": 10**6 + 1}, "num_prompts must be at most 1,000,000"),
        ({"slo_ttft": 0.1}, "slo_ttft and slo_tpot go together"),
        ({"slo_ttft": 0.1, "slo_tpot": 0.1, "kind": "offline"}, "goodput needs kind 'online'"),
        ({"stream": False}, "kind 'online' measures TTFT and needs stream = true"),
        ({"prefix_len": 9}, "prefix_len must be within input_len"),
        ({"prefix_len": 4, "lengths": "sharegpt"}, "of fixed lengths"),
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


def test_the_sweep_holds_every_size_class_and_divisibility():
    sizes = [len(r.prompt) for r in sweep(32000, 4096)]
    assert sizes == sorted(set(sizes))
    assert max(sizes) < 4096 - 1
    for tokens in (1, 16, 17, 128, 129, 132, 1024, 1025, 1028, 3072, 3073, 3076, 4080, 4081, 4084):
        assert tokens in sizes
    assert all(r.output_len == 1 for r in sweep(32000, 4096))


@pytest.mark.parametrize(
    ("workload", "metric", "observed"),
    [
        (Workload("w", "batch"), "tpot_p50", True),
        (Workload("w", "batch", stream=False), "tpot_p50", False),
        (Workload("w", "batch", stream=False), "latency", True),
        (Workload("w", "online"), "goodput", False),
        (Workload("w", "online", slo_ttft=0.1, slo_tpot=0.1), "goodput", True),
    ],
)
def test_what_a_workload_yields(workload, metric, observed):
    assert workload.yields(metric) is observed

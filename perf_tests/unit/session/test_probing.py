"""Cells of conversations and of a capacity, measured on a server whose pace is known."""

import json
import math

import pytest

from fixtures.client.turns import UNTOLD
from fixtures.deployments.cell import cells
from fixtures.deployments.server import Server
from fixtures.engines.boot import attach
from fixtures.models.model import Model
from fixtures.session.measurer import WARM_REQUESTS_WITHOUT_CARD, Measurer
from fixtures.session.warm_up import WARM_UP_PASSES, WITHOUT_CARD_TOKENS
from fixtures.workloads.search import FAR
from perf_tests.fakes.deployments import head, load, workload
from perf_tests.fakes.server_process import mock_server, server_log

pytestmark = pytest.mark.cpu

QUICK = ("--ttft", "0.01", "--gap", "0.002")
TALK = {"rate": 50, "num_prompts": 4, "turns": 3, "think_time": 0.01, "repetitions": 2}
# A stream takes 24 ms alone, and as much longer for each beside it: from 41 a second on the server is never done.
CAPACITY = {"start_rate": 20, "seconds": 0.5, "probes": 6, "slo_ttft": 0.04, "slo_tpot": 0.008, "slo_share": 0.9}


def measured(directory, url, text, *models):
    chosen = load(directory, (head(models) if models else head()) + text)
    (cell,) = cells(chosen)
    return Measurer(chosen, []).measure(cell, attach(Server(url), "mock"))


def test_conversations_are_held_against_the_arithmetic_of_the_cache(tmp_path):
    with mock_server(*QUICK, "--cache-block", "16", "--version", "0.32.0") as url:
        sample = measured(tmp_path, url, workload("talk", "conversations", **TALK))
    # Prompts are of 8, 24 and 40 tokens; by the end of the first turn 15 were read, by that of the second 31.
    assert sample.metrics["cache_hit_expected"] == pytest.approx(16 / 72)
    assert sample.metrics["cache_hit"] == sample.metrics["cache_hit_expected"]
    assert sample.metrics["cache_deviation"] == 0
    assert sample.metrics["completed"] == 12
    assert len(sample.repetitions["ttft_later"]) == 2
    assert sample.unseen != UNTOLD


@pytest.mark.parametrize(("windows", "deviation"), [(True, 0), (False, 1 / 3)])
def test_a_cache_that_keeps_no_answers_is_as_expected_of_a_model_with_windows_alone(tmp_path, windows, deviation):
    config = Model.load("llama-3.1-8b-twin", "").config
    if windows:
        config = config | {"model_type": "mistral", "sliding_window": 64}
    (tmp_path / "config.json").write_text(json.dumps(config))
    text = workload("talk", "conversations", **TALK | {"input_len": 20, "output_len": 16})
    with mock_server(*QUICK, "--cache-block", "16", "--cache-prompts", "--version", "0.32.0") as url:
        sample = measured(tmp_path, url, text, str(tmp_path))
    # Of prompts of 20, 56 and 92 tokens the first leaves a block to the second, which leaves three; with answers two and four.
    assert sample.metrics["cache_deviation"] == pytest.approx(deviation)


def test_a_server_that_does_not_tell_what_it_had_cached_is_said_to(tmp_path):
    with mock_server(*QUICK, "--version", "0.32.0") as url:
        sample = measured(tmp_path, url, workload("talk", "conversations", **TALK))
    assert "cache_hit" not in sample.metrics
    assert "cache_deviation" not in sample.metrics
    assert sample.metrics["cache_hit_expected"] == pytest.approx(16 / 72)
    # On a busy machine something else may be said first: that its streams came in bursts.
    assert sample.unseen


def test_a_capacity_lies_between_rates_that_kept_the_limits_and_rates_that_did_not(tmp_path):
    with mock_server(*QUICK, "--crowding", "1") as url:
        sample = measured(tmp_path, url, workload("capacity", "capacity", **CAPACITY))
    points = sample.probes
    strains = [one["strain"] or math.inf for one in points]
    assert min(strains) <= 1 < max(strains)
    assert len(points) == sample.metrics["capacity_probes"] <= 6
    assert points[0]["rate"] == 20
    assert sample.metrics["capacity_low"] <= sample.metrics["capacity"] <= sample.metrics["capacity_high"]
    assert all(one["output_throughput"] > 0 for one in points)


def test_probes_have_prompts_of_their_own_and_a_warm_up_shorter_than_a_probe(tmp_path):
    with mock_server(*QUICK, "--crowding", "1") as url:
        sample = measured(tmp_path, url, workload("capacity", "capacity", **CAPACITY | {"start_rate": 60}))
        log = server_log(url)
    warm = [one for one in log if one["tokens"] == WITHOUT_CARD_TOKENS]
    # Once, or again until a pass takes as long as the one before: this server doesn't tell what it compiles.
    assert len(warm) in {WARM_REQUESTS_WITHOUT_CARD * passes for passes in range(1, WARM_UP_PASSES + 1)}
    assert len({one["prompt"] for one in log}) == len(log) - len(warm) + WARM_REQUESTS_WITHOUT_CARD
    assert len(log) - len(warm) >= sum(math.ceil(one["rate"] * CAPACITY["seconds"]) for one in sample.probes)


def test_a_probe_far_above_is_cut_off_where_the_server_tells_when_it_is_idle(tmp_path):
    far = workload("capacity", "capacity", **CAPACITY | {"start_rate": 400, "slo_ttft": 0.1})
    firsts = []
    for told in (("--counts", "vllm"), ()):
        with mock_server(*QUICK, "--crowding", "1", "--version", "0.32.0", *told) as url:
            firsts.append(measured(tmp_path, url, far).probes[0])
            log = server_log(url)
        sent = [one for one in log if one["tokens"] not in (1, WITHOUT_CARD_TOKENS)]
        unanswered = sum(len(one["written"]) < one["tokens"] for one in sent)
        assert bool(unanswered) == bool(told)
        assert any(one["tokens"] == 1 for one in log) == bool(told), "one token asks whether it is idle"
    assert firsts[0] == {"rate": 400, "strain": None, "tpot_p50": None, "output_throughput": None}
    assert firsts[1]["strain"] > FAR


def test_limits_that_no_rate_breaks_leave_the_capacity_unbounded_and_the_sample_invalid(tmp_path):
    wide = workload("capacity", "capacity", **CAPACITY | {"probes": 4, "slo_ttft": 5, "slo_tpot": 5})
    for _ in range(5):  # on a busy machine the client is late now and then, which is said first
        with mock_server(*QUICK) as url:
            sample = measured(tmp_path, url, wide)
        if not sample.invalid.startswith("the client"):
            break
    assert sample.invalid.startswith("all 4 probes, 20 to 81.9 req/s, kept them")
    assert "capacity_high" not in sample.metrics, "infinite is no number"

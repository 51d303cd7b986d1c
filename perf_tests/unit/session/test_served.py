"""A cell's own counts by the server, beside the client's: what agrees, what is said of it, and what makes a cell invalid."""

import dataclasses

import pytest

from fixtures.client.record import Record
from fixtures.deployments.cell import cells
from fixtures.deployments.server import Server
from fixtures.engines.boot import Boot, attach
from fixtures.errors import UsageError
from fixtures.metrics import METRICS
from fixtures.session.measurer import Measurer
from fixtures.session.served import Served
from fixtures.workloads.workload import Workload
from perf_tests.fakes.deployments import head, load, workload
from perf_tests.fakes.judging import commit, judge_beside
from perf_tests.fakes.samples import sample
from perf_tests.fakes.server_process import mock_server

pytestmark = pytest.mark.cpu
INFO = '{"version": "0.5.23", "model_path": "m", "internal_states": []}'
VLLM, SGLANG = ("--counts", "vllm", "--version", "0.33.0"), ("--counts", "sglang", "--server-info", INFO)
QUICK = ("--ttft", "0.02", "--gap", "0.005")
BATCH = {"kind": "batch", "batch_size": 2, "input_len": 24, "output_len": 5, "repetitions": 3}
ONLINE = {"kind": "online", "rate": 50, "num_prompts": 20, "input_len": 24, "output_len": 5}
# In the reason of a cell that is invalid by its server's own counters; a busy machine's client may be another one.
UNEXPECTED = "expects = "
ONLINE_CELL = Workload("online", "online", rate=4, num_prompts=2, input_len=8, output_len=2)
COUNTED = {
    "prompt_tokens": 20.0,
    "output_tokens": 4.0,
    "first_tokens": 2.0,
    "ttft_seconds": 0.2,
    "queued": 2.0,
    "queue_seconds": 0.02,
}


def measured(tmp_path, *options, protocol="openai", **fields):
    chosen = load(tmp_path, head() + workload("cell", **fields))
    (cell,) = cells(chosen)
    with mock_server(*QUICK, *options) as url:
        return Measurer(chosen, []).measure(cell, attach(Server(url, protocol=protocol), "mock"))


@pytest.mark.parametrize(
    ("options", "protocol", "fields"),
    [(VLLM, "openai", BATCH), (SGLANG, "sglang", BATCH), (VLLM, "openai", ONLINE), (SGLANG, "sglang", ONLINE)],
)
def test_server_and_client_agree(tmp_path, options, protocol, fields):
    found = measured(tmp_path, *options, "--queued", "0.003", protocol=protocol, **fields)
    assert UNEXPECTED not in found.invalid
    assert found.metrics["token_difference"] == 0, "those of one token too, and those that were measured again"
    assert found.metrics["preemptions"] == found.metrics["prefix_cache_hits"] == 0
    assert found.metrics["queue_time"] == pytest.approx(0.003)
    assert found.metrics["server_ttft"] >= 0.02
    assert found.metrics["server_itl"] == pytest.approx(0.005, rel=0.9)
    assert found.metrics["ttft_beyond_server"] > 0, "the wire takes some time"


def test_a_server_that_does_not_count_leaves_all_of_it_out(tmp_path):
    found = measured(tmp_path, **ONLINE)
    own = {name for name in found.metrics if name.startswith("server_")}
    assert own | ({"queue_time", "preemptions", "token_difference", "ttft_beyond_server"} & set(found.metrics)) == set()
    assert {"ramp", "drain", "steady_throughput", "steady_tpot_p50"} <= set(found.metrics)
    assert not found.disagreement


def test_without_a_stream_times_are_not_told_and_tokens_are(tmp_path):
    found = measured(tmp_path, *VLLM, stream=False, **BATCH)
    assert found.metrics["token_difference"] == 0
    assert not {"server_ttft", "server_itl", "ttft_beyond_server", "kv_peak"} & set(found.metrics)


@pytest.mark.parametrize(
    ("options", "expects", "reason"),
    [
        (("--preempts", "7"), "preemptions", "in all: its KV cache is too small for this workload"),
        (("--cache-hits", "0.5"), "prefix_cache_hits", "50.0% of the prompts' tokens came from the prefix cache"),
        (("--queued", "0.5"), "queue_time", "the queue doesn't empty at this rate"),
    ],
)
@pytest.mark.parametrize("engine", [VLLM, SGLANG])
def test_what_a_workload_does_not_expect_makes_its_cell_invalid(tmp_path, engine, options, expects, reason):
    protocol = "sglang" if engine == SGLANG else "openai"
    found = measured(tmp_path, *engine, *options, protocol=protocol, **ONLINE)
    assert reason in found.invalid
    assert f'expects = ["{expects}"]' in found.invalid, "the remedy"
    expecting = measured(tmp_path, *engine, *options, protocol=protocol, expects=[expects], **ONLINE)
    assert UNEXPECTED not in expecting.invalid
    assert expecting.metrics[expects] > 0


def test_a_shared_prefix_may_come_from_the_cache(tmp_path):
    assert UNEXPECTED not in measured(tmp_path, *VLLM, "--cache-hits", "0.5", prefix_len=12, **BATCH).invalid


def test_a_batch_may_wait(tmp_path):
    assert UNEXPECTED not in measured(tmp_path, *VLLM, "--queued", "0.5", **BATCH).invalid


def test_tokens_of_others_are_said_and_no_time_is_compared(tmp_path):
    found = measured(tmp_path, *VLLM, "--counts-more", "3", **ONLINE)
    runs = 1 + int(found.metrics.get("retried", 0))
    assert found.disagreement == (
        f"the server counted {540 * runs:,} prompt and {160 * runs} generated tokens, the client {480 * runs:,} and "
        f"{100 * runs}: something else was served meanwhile"
    )
    assert found.metrics["token_difference"] == 120 * runs
    assert UNEXPECTED not in found.invalid


def test_what_is_counted_a_moment_later_is_waited_for(tmp_path, monkeypatch):
    """A server that is asked after the cell, and tells twice what it had counted before."""
    readings, counters = [], Boot.counters

    def stale(boot):
        readings.append(counters(boot))
        return readings[0] if len(readings) <= 3 else readings[-1]

    monkeypatch.setattr(Boot, "counters", stale)
    assert measured(tmp_path, *VLLM, **ONLINE).metrics["token_difference"] == 0
    assert len(readings) == 4


def test_tokens_that_were_not_counted_are_said(tmp_path):
    found = measured(tmp_path, *VLLM, "--counts-more", "-1", **ONLINE)
    runs = 1 + int(found.metrics.get("retried", 0))
    assert found.metrics["token_difference"] == 40 * runs
    assert f"the server counted {460 * runs:,} prompt and {80 * runs} generated tokens" in found.disagreement


@pytest.mark.parametrize(
    ("before", "now", "outcome"),
    [(0.0, 0.0, "pass"), (0.0, 3.0, "regression"), (5.0, 5.0, "pass"), (5.0, 9.0, "inconclusive")],
)
def test_what_a_workload_expects_is_judged(tmp_path, before, now, outcome):
    chosen = load(tmp_path, head() + workload("cell", expects=["preemptions"], **BATCH))
    (cell,) = cells(chosen)
    judge = judge_beside(chosen, [cell], tmp_path)
    commit(judge, {cell: [sample(str(i), metrics={"preemptions": before}) for i in range(5)]})
    judge.read_baselines()
    assert METRICS["preemptions"] in judge.metrics(cell)
    assert METRICS["queue_time"] not in judge.metrics(cell)
    judge.reference.judged.boots[cell] = [sample("now", metrics={"preemptions": now})]
    assert judge.verdict(cell, METRICS["preemptions"], judge.trial([cell])).outcome == outcome


def test_a_server_whose_own_time_is_longer_than_the_clients_is_told(tmp_path):
    found = measured(tmp_path, *VLLM, "--counts-late", "0.5", **ONLINE)
    assert -0.5 < found.metrics["ttft_beyond_server"] < -0.4
    assert not found.disagreement, "client and server share the cores here"


@pytest.mark.parametrize(
    ("beyond", "said"), [(-0.0011, True), (-0.0009, False), (0.0059, False), (0.0061, True)], ids=str
)
def test_what_lies_between_server_and_client_is_the_wire_and_a_millisecond(beyond, said):
    records = [
        Record(at, 2, sent=at + 0.5, chunks=[at + 0.6 + beyond, at + 0.7], prompt_tokens=10, completion_tokens=2)
        for at in (0.0, 1.0)
    ]
    found = Served(COUNTED, [records], 0.005)
    assert found.metrics["ttft_beyond_server"] == pytest.approx(beyond)
    assert bool(found.disagreement(ONLINE_CELL)) == said
    assert not found.disagreement(dataclasses.replace(ONLINE_CELL, kind="batch")), (
        "arrivals at once wait for the front end"
    )
    assert not found.disagreement(ONLINE_CELL, alone=False), "so does everything on cores that the client shares"


@pytest.mark.parametrize(("beyond", "said"), [(0.0089, False), (0.0091, True)], ids=str)
def test_so_are_the_streams_that_were_written_first(beyond, said):
    """The second request's first token is written 6 ms after that of the stream beside it, which the mean has 3 of."""
    first, second = 0.1 + beyond, 0.2 + beyond
    records = [
        Record(0, 3, sent=0.0, chunks=[first, second - 0.006, second + 0.1], prompt_tokens=10, completion_tokens=2),
        Record(0.1, 2, sent=0.1, chunks=[second, second + 0.1], prompt_tokens=10, completion_tokens=2),
    ]
    found = Served(COUNTED, [records], 0.005)
    assert found.metrics["ttft_beyond_server"] == pytest.approx(beyond)
    assert found.metrics["ttft_delivery"] == pytest.approx(0.003)
    assert bool(found.disagreement(ONLINE_CELL)) == said


def test_what_is_expected_is_one_of_what_is_counted(tmp_path):
    with pytest.raises(UsageError, match="expects"):
        load(tmp_path, head() + workload("cell", expects=["latency"], **BATCH))
    with pytest.raises(UsageError, match="expects needs kind 'batch', 'offline' or 'online'"):
        load(tmp_path, head() + workload("cell", "startup", expects=["preemptions"]))


DRAFTING = {
    "vllm": ["--speculative-config", '{"method": "ngram", "num_speculative_tokens": 4}'],
    "sglang": ["--speculative-algorithm", "NGRAM"],
}


@pytest.mark.parametrize(("options", "protocol"), [(VLLM, "openai"), (SGLANG, "sglang")])
def test_accepted_drafts_are_told_and_the_pace_is_seen_though_a_chunk_has_several_tokens(tmp_path, options, protocol):
    text = head(engines=[protocol.replace("openai", "vllm")], engine_options=_drafting(protocol)) + workload(
        "cell", **BATCH
    )
    chosen = load(tmp_path, text.replace("output_len = 5", "output_len = 9"))
    (cell,) = cells(chosen)
    with mock_server(*QUICK, *options, "--drafts", "4", "--tokens-per-chunk", "3") as url:
        sample = Measurer(chosen, []).measure(cell, attach(Server(url, protocol=protocol), "mock"))
    # Nine tokens in three chunks; one asked for alone is a draft of which none is right.
    drafts, right = (2 * 3 * (3 + 1), 2 * 3 * 6) if protocol == "sglang" else (2 * 3 * 3, 2 * 3 * 6)
    if not sample.metrics.get("retried"):
        assert sample.metrics["acceptance_length"] == pytest.approx(1 + right / drafts)
        assert sample.metrics["acceptance_rate"] == pytest.approx(right / (4 * drafts))
    assert "nothing tells how many tokens a chunk holds" not in sample.unseen


def test_without_drafts_there_is_no_acceptance(tmp_path):
    assert "acceptance_length" not in measured(tmp_path, *VLLM, **BATCH).metrics
    assert Served({"drafts": 0.0, "draft_tokens": 0.0, "accepted_tokens": 0.0}, [], 0.0).metrics == {}


def test_acceptance_is_judged_where_tokens_are_drafted_and_only_there(tmp_path):
    plain, drafting = (
        load(
            tmp_path,
            head(gated=["tpot_p50"], **fields) + workload("a", **BATCH) + workload("b", **BATCH | {"batch_size": 4}),
        )
        for fields in ({}, {"engine_options": _drafting("openai")})
    )
    judged = [
        {metric.name for metric in judge_beside(chosen, cells(chosen), tmp_path).metrics(cells(chosen)[0])}
        for chosen in (plain, drafting)
    ]
    assert judged == [{"tpot_p50"}, {"acceptance_length", "tpot_p50"}]
    names = {cause.name for cause in judge_beside(drafting, cells(drafting), tmp_path).causes}
    assert "speculation" in names
    assert "speculation" not in {cause.name for cause in judge_beside(plain, cells(plain), tmp_path).causes}


def _drafting(protocol):
    engine = protocol.replace("openai", "vllm")
    return {engine: DRAFTING[engine]}

"""How a cell is measured: what the server has seen by the time that a repetition counts."""

import array
import dataclasses
import datetime
import gc
import time
import types

import pytest

from fixtures.client import load as client
from fixtures.client import metrics as client_metrics
from fixtures.client.metrics import MAX_SEND_LAG_P99
from fixtures.deployments import deployment
from fixtures.deployments.cell import Block, Cell, cells
from fixtures.deployments.server import EXTERNAL, Server
from fixtures.engines.boot import attach
from fixtures.engines.registry import ENGINES
from fixtures.engines.usage import Usage
from fixtures.hardware import energy, host, nvml
from fixtures.hardware.nvml import Card, State
from fixtures.session import measurer
from fixtures.session.measurer import Measurer
from fixtures.session.metering import Metered
from fixtures.session.warm_up import WARM_UP_PASSES
from fixtures.workloads.sharegpt import SALT_TOKENS, Conversation, Dataset
from perf_tests.fakes.deployments import head, load, workload
from perf_tests.fakes.samples import sample
from perf_tests.fakes.server_process import mock_server, server_log

pytestmark = pytest.mark.cpu

BATCH, REPETITIONS = 2, 3
FILE = head() + workload("batch", "batch", batch_size=BATCH, input_len=24, output_len=3, repetitions=REPETITIONS)
ARRIVALS = 20
ONLINE = head() + workload(
    "online", "online", rate=100, num_prompts=ARRIVALS, input_len=24, output_len=3, repetitions=REPETITIONS
)
STALL_SECONDS = 0.2
QUICK = ("--ttft", "0.01", "--gap", "0.002")


def measured(sample):
    """How many repetitions there were, each with one of a single token; a busy machine's client may have been late in some."""
    return 2 * REPETITIONS + int(sample.metrics.get("retried", 0))


def test_a_server_that_does_not_report_what_it_compiles_is_warmed_up_until_it_is_steady(tmp_path):
    chosen = load(tmp_path, FILE)
    (cell,) = cells(chosen)
    with mock_server("--ttft", "0.03", "--gap", "0.005", "--jit", "0.5") as url:
        sample = Measurer(chosen, []).measure(cell, attach(Server(url), "mock"))
        log = server_log(url)[: -BATCH * measured(sample)]
    passes, single = (sum((entry["tokens"] == 1) is one for entry in log) / BATCH for one in (False, True))
    # The first compiles, which takes ten times as long as the rest, so that no busy machine makes the second look like it; the
    # third is as fast as the second, or on a busy machine the fourth.
    assert 3 <= passes <= WARM_UP_PASSES
    # What is asked for one token is warmed up too, with prompts of its own; nothing is left to compile.
    assert 2 <= single <= WARM_UP_PASSES
    assert len({entry["prompt"] for entry in log}) == 2 * BATCH


@pytest.mark.parametrize(("engine", "times"), [(None, 0), (ENGINES["vllm"], 0), (ENGINES["sglang"], 1)])
def test_a_warm_server_freezes_its_garbage_once_if_its_engine_can(tmp_path, engine, times):
    chosen = load(tmp_path, FILE)
    (cell,) = cells(chosen)
    with mock_server(*QUICK) as url:
        server = dataclasses.replace(attach(Server(url, protocol="sglang"), "mock"), engine=engine)
        measurer = Measurer(chosen, [])
        sample = measurer.measure(cell, server)
        log = server_log(url)
        measurer.measure(cell, server)
        again = server_log(url)
    # After the warm-up, right before what is measured.
    assert [i - len(log) for i, entry in enumerate(log) if "frozen" in entry] == [-BATCH * measured(sample) - 1] * times
    assert all("frozen" not in entry for entry in again)
    assert sample.provenance.get("execution") == ({"once warm": "/freeze_gc"} if times else None)


def test_the_clients_garbage_is_frozen_by_what_is_measured(tmp_path):
    chosen = load(tmp_path, FILE)
    (cell,) = cells(chosen)
    gc.unfreeze()
    with mock_server(*QUICK) as url:
        Measurer(chosen, []).measure(cell, attach(Server(url, protocol="sglang"), "mock"))
    assert gc.get_freeze_count() > 0


def test_a_release_that_cannot_freeze_its_garbage_is_measured_all_the_same(tmp_path):
    chosen = load(tmp_path, FILE)
    (cell,) = cells(chosen)
    with mock_server(*QUICK, "--no-freeze") as url:
        sample = Measurer(chosen, []).measure(
            cell, dataclasses.replace(attach(Server(url, protocol="sglang"), "mock"), engine=ENGINES["sglang"])
        )
    assert sample.metrics["completed"] == BATCH
    assert sample.provenance["load"] >= 0
    assert datetime.datetime.fromisoformat(sample.provenance["measured"]).tzinfo is datetime.UTC
    assert sample.provenance["execution"]["once warm"].startswith(f"left as it was: {url}/freeze_gc: HTTP Error 404")


def test_a_dataset_is_sent_to_its_own_model_and_never_twice_alike(tmp_path):
    """A server that the session did not start may have a prefix cache, and keeps it when the session is over."""
    fields = {"num_prompts": 4, "lengths": "sharegpt", "repetitions": REPETITIONS}
    chosen = load(tmp_path, head() + workload("offline", "offline", **fields))
    (cell,) = cells(chosen)
    text = tuple(range(100, 130))
    dataset = Dataset((Conversation(text, len(text), 4),), {})
    log, different = [], 0
    with mock_server(*QUICK) as url:
        for _ in range(2):
            measurer = Measurer(
                chosen, [], {cell.block.model: dataset, "another": Dataset((Conversation(None, 9, 9),), {})}
            )
            outside = dataclasses.replace(cell, block=dataclasses.replace(cell.block, engine=EXTERNAL))
            sample = measurer.measure(outside, attach(Server(url), "mock"))
            log += server_log(url)
            assert sample.metrics["input_tokens"] == fields["num_prompts"] * (len(text) + SALT_TOKENS)
            assert sample.metrics["output_tokens"] == fields["num_prompts"] * 4
            different += fields["num_prompts"] * (2 + measured(sample))
    assert len({entry["prompt"] for entry in log}) == different, (
        "two warm-ups' own, which they repeat, and each repetition's"
    )


class Stalled:
    """Online traffic measured by a client that is late in its ``stalls``-th repetitions, counted from 0, and never else.

    When requests went out is written into their records, and that their answers were read at once, so that no busy machine has
    a part in it.
    """

    def __init__(self, directory, stalls, monkeypatch, **fields):
        self.log, self.begun, self.shown = list[dict](), list[str](), list[str]()
        self._stalls, self._run = stalls, client.run
        monkeypatch.setattr(client, "run", self._sent)
        chosen = dataclasses.replace(load(directory, ONLINE), **fields)
        (cell,) = cells(chosen)
        with mock_server(*QUICK) as self._url:
            measurer = Measurer(chosen, [], progress=self._progress)
            self.sample = measurer.measure(cell, attach(Server(self._url), "mock"))
            self._read_log()
        self.late = [lag > MAX_SEND_LAG_P99 for lag in self.sample.repetitions["send_lag_p99"]]

    def _read_log(self):
        self.log += server_log(self._url)

    def _progress(self, text, passing=False):
        if not passing:
            self.shown.append(text)
        elif ": measuring " in text:
            self._read_log()
            self.begun.append(text.partition(": measuring ")[2][0])

    def _sent(self, *arguments, **options):
        records = self._run(*arguments, **options)
        for record in records:
            record.sent = record.scheduled + (STALL_SECONDS if len(self.begun) - 1 in self._stalls else 0.0)
            record.delays = array.array("f", bytes(4 * len(record.chunks)))
        return records

    def check(self):
        """What holds whichever repetitions were late."""
        assert any(self.late) == ("the client sent p99" in self.sample.invalid)
        # Once for each that was late, until one is late again.
        assert self.sample.metrics.get("retried", 0) == len(self.begun) - REPETITIONS == len(self.shown) - 1
        # Never with prompts that the server knows.
        prompts = [entry["prompt"] for entry in self.log]
        counted = prompts[-ARRIVALS * len(self.begun) :]
        assert len(set(counted)) == len(counted)
        assert set(counted).isdisjoint(prompts[: -len(counted)])


@pytest.mark.parametrize(("stalls", "runs"), [({1}, "1 2 3 2"), ({1, 3}, "1 2 3 2"), (set(range(9)), "1 2 3 1")])
def test_a_repetition_that_the_client_was_late_in_gets_a_second_chance(tmp_path, monkeypatch, stalls, runs):
    found = Stalled(tmp_path, stalls, monkeypatch)
    found.check()
    assert found.begun == runs.split()
    assert any(found.late) == (len(stalls) > 1)
    assert f"repetition {runs[-1]}: the client sent p99 " in " ".join(found.shown)


@pytest.mark.parametrize(("gated", "again"), [(("completed",), False), (("completed", "ttft_p50"), True)])
def test_where_only_counts_are_judged_nothing_is_measured_again(tmp_path, monkeypatch, gated, again):
    found = Stalled(tmp_path, {1}, monkeypatch, gated=gated)
    assert found.begun == ["1", "2", "3"] + ["2"] * again
    assert not found.sample.invalid
    assert any(found.late) != again, "what was late is told all the same"


@pytest.mark.parametrize(("gated", "again"), [((), False), (("ttft_p50",), True), (("goodput",), True)])
def test_where_no_latency_is_judged_a_lag_counts_against_the_whole(tmp_path, monkeypatch, gated, again):
    monkeypatch.setattr(client_metrics, "MAX_SEND_LAG_SHARE", 10.0)
    found = Stalled(tmp_path, {1}, monkeypatch, gated=("output_throughput", *gated))
    assert found.begun == ["1", "2", "3"] + ["2"] * again
    assert not found.sample.invalid


def test_processor_time_and_idle_cores_are_those_of_the_engine(tmp_path, monkeypatch):
    """A server of two threads on two cores, of which one runs while the other waits, then with the other one missing."""
    monkeypatch.setattr(host, "cores", lambda: 2)
    chosen = load(tmp_path, FILE)
    (cell,) = cells(chosen)
    start = Usage({(1, 1): 0.0, (1, 2): 0.0, (7, 7): 5.0}, {(1, 1): 0.0, (1, 2): 0.0, (7, 7): 0.0})
    both = Usage({(1, 1): 2.0, (1, 2): 1.0, (7, 7): 5.5}, {(1, 1): 0.0, (1, 2): 1.0, (7, 7): 0.0})
    one = Usage({(1, 1): 2.0, (1, 2): 0.0, (7, 7): 5.5}, {(1, 1): 0.0, (1, 2): 0.0, (7, 7): 0.0})

    def found(after):
        summary = types.SimpleNamespace(output_tokens=10, duration=2.0)
        runs = types.SimpleNamespace(full=[types.SimpleNamespace(summary=summary, before=start, after=after)])
        return Measurer(chosen, [])._processor(cell, runs)

    assert found(both) == {"cpu_time": (0.35,), "idle_cores": (0.0,)}, "who waits for a core does not idle"
    assert found(one) == {"cpu_time": (0.25,), "idle_cores": (0.5,)}
    starved = Usage(one.ran, {(1, 1): 0.0, (1, 2): 0.0, (7, 7): 1.0})
    assert found(starved) == {"cpu_time": (0.25,)}, "the front end waited for a core: who knows why the other one idled"
    assert found(None) == {}, "where the kernel keeps no account"


CARDS = [Card(i, "a card that no model knows", 0, 0, 0) for i in (0, 1)]


def show_cards(monkeypatch, step):
    """Two cards of 100 W each, whose counters move so often."""
    monkeypatch.setattr(nvml, "joules", lambda indices: [100 * step * (time.perf_counter() // step) for _ in indices])
    monkeypatch.setattr(nvml, "states", lambda indices: [State(i, 0, 0) for i in indices])
    monkeypatch.setattr(nvml, "driver_version", lambda: "1")
    monkeypatch.setattr(energy, "POLL_SECONDS", 0.001)


@pytest.mark.parametrize(("step", "told"), [(0.001, True), (0.1, False)])
def test_energy_is_that_of_all_cards_in_the_repetitions(tmp_path, monkeypatch, step, told):
    """Repetitions of a second: steps of a tenth leave too much of one unknown, of a thousandth less than 2%."""
    show_cards(monkeypatch, step)
    chosen = load(tmp_path, ONLINE.replace("rate = 100", "rate = 20"))
    (cell,) = cells(chosen)
    with mock_server(*QUICK) as url:
        found = Measurer(chosen, CARDS).measure(cell, attach(Server(url), "mock"))
    if not told:
        assert not {"energy_per_token", "mean_power"} & set(found.metrics), "absent, not zero"
        return
    assert len(found.repetitions["energy_per_token"]) == REPETITIONS
    assert found.metrics["mean_power"] == pytest.approx(200, rel=0.02)
    for joules, seconds in zip(found.repetitions["energy_per_token"], found.repetitions["duration"], strict=True):
        assert joules * ARRIVALS * 3 > 200 * seconds * 0.98, "while the client gets ready cards take energy too"


@pytest.mark.parametrize(("step", "invalid"), [(0.001, ""), (1e9, "energy: a card does not tell it, or its counter")])
def test_a_cell_of_energy_tells_it_or_why_not(tmp_path, monkeypatch, step, invalid):
    show_cards(monkeypatch, step)
    chosen = load(tmp_path, head() + workload("energy", "energy", batch_size=BATCH))
    (cell,) = cells(chosen)
    with mock_server(*QUICK) as url:
        found = Measurer(chosen, CARDS).measure(cell, attach(Server(url), "mock"))
    assert found.invalid.startswith(invalid) if invalid else not found.invalid
    assert set(found.metrics) == (set() if invalid else {"energy_per_token", "mean_power"})


def test_batches_whose_energy_is_metered_have_connections_as_the_workload_says(tmp_path, monkeypatch):
    asked = []

    def metered(target, *others):
        asked.append(target.new_connections)
        return Metered({}, "")

    monkeypatch.setattr("fixtures.session.measurer.metered", metered)
    text = "".join(workload(f"energy-{i}", "energy", batch_size=1, new_connections=bool(i)) for i in (0, 1))
    chosen = load(tmp_path, head() + text)
    with mock_server(*QUICK) as url:
        for cell in cells(chosen):
            Measurer(chosen, []).measure(cell, attach(Server(url), "mock"))
    assert asked == [False, True]


def test_idle_power_is_that_of_all_cards_once_they_have_been_idle(tmp_path, monkeypatch):
    monkeypatch.setattr(measurer, "IDLE_SECONDS", 0.01)
    monkeypatch.setattr(nvml, "driver_version", lambda: "1")
    chosen = load(tmp_path, head() + workload("startup", "startup"))
    (cell,) = cells(chosen)
    for watts, told in (((75.0, 80.0), 155.0), ((75.0, None), None)):
        monkeypatch.setattr(nvml, "states", lambda _, w=watts: [State(i, 0, 0, power=w[i]) for i in (0, 1)])
        with mock_server() as url:
            found = Measurer(chosen, CARDS).measure(cell, attach(Server(url), "mock"))
        assert found.metrics.get("idle_power") == told


@pytest.mark.parametrize(
    ("protocol", "options", "keys", "paced", "unseen"),
    [
        ("openai", (), "", True, ""),
        ("openai", ("--tokens-per-chunk", "2"), "", False, "a chunk holds (vLLM does if count_tokens asks"),
        ("openai", ("--tokens-per-chunk", "2"), "count_tokens = true\n", True, "a chunk holds several tokens"),
        ("openai", ("--tokens-per-chunk", "3"), "", False, "the whole text came at once"),
        ("sglang", ("--tokens-per-chunk", "2"), "", True, "a chunk holds several tokens"),
    ],
)
def test_a_pace_that_no_stream_shows_is_absent_with_the_reason(tmp_path, protocol, options, keys, paced, unseen):
    chosen = load(tmp_path, FILE + keys)
    (cell,) = cells(chosen)
    with mock_server("--ttft", "0.02", "--gap", "0.02", *options) as url:
        found = Measurer(chosen, []).measure(cell, attach(Server(url, protocol=protocol), "mock"))
    assert unseen in found.unseen
    assert bool(found.unseen) == bool(unseen)
    assert found.metrics["ttft_p50"] > 0.02
    assert ("tpot_p50" in found.metrics) == paced
    assert ("itl_p50" in found.metrics) == (not unseen)


@pytest.mark.parametrize(("stages", "metrics"), [(1, {"latency", "model_error", "hbm_floor_share"}), (2, {"latency"})])
def test_the_model_says_nothing_of_pipeline_stages(stages, metrics):
    chosen = deployment.load("h200x1", ENGINES)
    (batch,) = (workload for workload in chosen.workloads if workload.name == "batch-8")
    boot = sample(latency=0.35, repetitions={"latency": (0.35,)})
    cell = Cell(Block("vllm", "llama-3.1-8b", 1, stages), batch)
    Measurer(chosen, []).add_expectation(cell, boot, "NVIDIA H200", 245_760)
    assert set(boot.metrics) == metrics


def test_latencies_that_the_client_read_too_late_are_invalid_in_themselves_alone(tmp_path, monkeypatch):
    def late(*arguments, **options):
        records = sent(*arguments, **options)
        for record in records:
            record.stamped, record.sent = False, record.scheduled
            record.delays = array.array("f", [0.01] + [0.0] * (len(record.chunks) - 1))
        return records

    sent = client.run
    monkeypatch.setattr(client, "run", late)
    chosen = load(tmp_path, ONLINE)
    (cell,) = cells(chosen)
    with mock_server("--ttft", "0.05", "--gap", "0.1") as url:
        found = Measurer(chosen, []).measure(cell, attach(Server(url), "mock"))
    assert "ttft_p50" not in found.metrics, "a fifth of it is the client's"
    assert found.metrics["e2e_p50"] > 0.05
    assert found.metrics["read_delay_p99"] == pytest.approx(0.01)
    assert not found.invalid
    assert found.unseen.startswith("the client read events up to 10.0 ms late, which moves ttft_p50 by ")
    assert found.metrics["retried"] == 1, "until one is late again"

"""How a cell is measured: what the server has seen by the time that a repetition counts."""

import ctypes
import dataclasses
import threading

import pytest

from fixtures.client.metrics import MAX_SEND_LAG_P99
from fixtures.deployments import deployment
from fixtures.deployments.cell import Block, Cell, cells
from fixtures.engines.boot import attach
from fixtures.engines.registry import ENGINES
from fixtures.session.measurer import Measurer
from fixtures.session.warm_up import WARM_UP_PASSES
from perf_tests.fakes.deployments import head, load, workload
from perf_tests.fakes.samples import sample
from perf_tests.fakes.server_process import mock_server, server_log

pytestmark = pytest.mark.cpu

BATCH, REPETITIONS = 2, 3
FILE = head() + workload("batch", "batch", batch_size=BATCH, input_len=24, output_len=3, repetitions=REPETITIONS)
# One request every 10 ms for a fifth of a second: a stall that begins with the first of them makes the rest late.
ARRIVALS = 20
ONLINE = head() + workload(
    "online", "online", rate=100, num_prompts=ARRIVALS, input_len=24, output_len=3, repetitions=REPETITIONS
)
STALL_SECONDS = 0.2
QUICK = ("--ttft", "0.01", "--gap", "0.002")


def measured(sample):
    """How many repetitions there were; a busy machine's client may have been late in some."""
    return REPETITIONS + int(sample.metrics.get("retried", 0))


def test_a_server_that_does_not_report_what_it_compiles_is_warmed_up_until_it_is_steady(tmp_path):
    chosen = load(tmp_path, FILE)
    (cell,) = cells(chosen)
    with mock_server("--ttft", "0.05", "--gap", "0.01", "--jit", "0.8") as url:
        sample = Measurer(chosen, []).measure(cell, attach(url, "openai", ""))
        passes = len(server_log(url)) / BATCH - measured(sample)
    # The first compiles, which takes ten times as long as the rest, so that no busy machine makes the second look like it; the
    # third is as fast as the second, or on a busy machine the fourth.
    assert 3 <= passes <= WARM_UP_PASSES


@pytest.mark.parametrize(("engine", "times"), [(None, 0), (ENGINES["vllm"], 0), (ENGINES["sglang"], 1)])
def test_a_warm_server_freezes_its_garbage_once_if_its_engine_can(tmp_path, engine, times):
    chosen = load(tmp_path, FILE)
    (cell,) = cells(chosen)
    with mock_server(*QUICK) as url:
        server, measurer = dataclasses.replace(attach(url, "sglang", ""), engine=engine), Measurer(chosen, [])
        sample = measurer.measure(cell, server)
        log = server_log(url)
        measurer.measure(cell, server)
        again = server_log(url)
    # After the warm-up, right before what is measured.
    assert [i - len(log) for i, entry in enumerate(log) if "frozen" in entry] == [-BATCH * measured(sample) - 1] * times
    assert all("frozen" not in entry for entry in again)
    assert sample.provenance.get("execution") == ({"once warm": "/freeze_gc"} if times else None)


def test_a_release_that_cannot_freeze_its_garbage_is_measured_all_the_same(tmp_path):
    chosen = load(tmp_path, FILE)
    (cell,) = cells(chosen)
    with mock_server(*QUICK, "--no-freeze") as url:
        sample = Measurer(chosen, []).measure(
            cell, dataclasses.replace(attach(url, "sglang", ""), engine=ENGINES["sglang"])
        )
    assert sample.metrics["completed"] == BATCH
    assert sample.provenance["execution"]["once warm"].startswith(f"left as it was: {url}/freeze_gc: HTTP Error 404")


@pytest.mark.parametrize(("stalls", "runs"), [({1}, "1 2 3 2"), ({1, 3}, "1 2 3 2"), (set(range(9)), "1 2 3 1")])
def test_a_repetition_that_the_client_was_late_in_gets_a_second_chance(tmp_path, stalls, runs):
    chosen = load(tmp_path, ONLINE)
    (cell,) = cells(chosen)
    log, begun, shown = list[dict](), list[str](), list[str]()

    def stall(url, before):
        """Keep the client from running as soon as the server has seen a request of its run."""
        while len(log) == before:
            log.extend(server_log(url))
        ctypes.PyDLL(None).usleep(int(STALL_SECONDS * 1e6))  # which holds the interpreter's lock, as PyDLL does

    def progress(text, passing=False):
        if not passing:
            shown.append(text)
        elif ": measuring " in text:
            log.extend(server_log(url))
            if len(begun) in stalls:
                threading.Thread(target=stall, args=(url, len(log)), daemon=True).start()
            begun.append(text.partition(": measuring ")[2][0])

    with mock_server(*QUICK) as url:
        sample = Measurer(chosen, [], progress=progress).measure(cell, attach(url, "openai", ""))
        log.extend(server_log(url))
    late = [lag > MAX_SEND_LAG_P99 for lag in sample.repetitions["send_lag_p99"]]
    assert any(late) == ("the client sent p99" in sample.invalid)
    # Once for each that was late, until one is late again; a busy machine may have disturbed others too.
    assert sample.metrics["retried"] == len(begun) - REPETITIONS == len(shown) - 1 >= 1
    assert f"repetition {runs[-1]}: the client sent p99 " in " ".join(shown)
    if len(begun) == len(runs.split()):
        assert begun == runs.split()
        assert any(late) == (len(stalls) > 1)
    # Never with prompts that the server knows.
    prompts = [entry["prompt"] for entry in log]
    counted = prompts[-ARRIVALS * len(begun) :]
    assert len(set(counted)) == len(counted)
    assert set(counted).isdisjoint(prompts[: -len(counted)])


@pytest.mark.parametrize(("stages", "metrics"), [(1, {"latency", "model_error", "hbm_floor_share"}), (2, {"latency"})])
def test_the_model_says_nothing_of_pipeline_stages(stages, metrics):
    chosen = deployment.load("h200x1", ENGINES)
    (batch,) = (workload for workload in chosen.workloads if workload.name == "batch-8")
    boot = sample(latency=0.35, repetitions={"latency": (0.35,)})
    cell = Cell(Block("vllm", "llama-3.1-8b", 1, stages), batch)
    Measurer(chosen, []).add_expectation(cell, boot, "NVIDIA H200", 245_760)
    assert set(boot.metrics) == metrics

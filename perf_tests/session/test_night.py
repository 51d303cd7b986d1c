"""The tool that rehearses a GPU deployment's night."""

import pytest

from fixtures.deployments.cell import cells
from fixtures.deployments.server import Server
from fixtures.engines.boot import attach
from fixtures.session.measurer import Measurer
from perf_tests.fakes.deployments import head, load, workload
from perf_tests.fakes.server_process import mock_server
from perf_tests.tools.bench_night import rehearse, seconds

pytestmark = pytest.mark.cpu

CELL = "vllm/llama-3.1-8b/tp1/long-prompt"


def test_a_night_is_rehearsed_without_a_card(tmp_path):
    printed = list(rehearse(tmp_path, "h200x1", "--ttft 0.01 --gap 0.001", compare=True, cells=[CELL]))
    assert list(seconds(printed))[-1] == CELL
    assert any("baseline is this session's engine" in line for line in printed), "\n".join(printed)


@pytest.mark.parametrize("stream", [True, False])
def test_the_first_token_of_a_batch_takes_longer_the_larger_it_is(tmp_path, stream):
    sizes = (1, 8)
    batches = (
        workload(f"batch-{n}", "batch", batch_size=n, input_len=8, output_len=3, repetitions=1, stream=stream)
        for n in sizes
    )
    chosen = load(tmp_path, head() + "".join(batches))
    with mock_server("--ttft", "0.1", "--gap", "0.001", "--ttft-beside", "0.05") as url:
        server = attach(Server(url), "mock")
        one, eight = (Measurer(chosen, []).measure(cell, server) for cell in cells(chosen))
    assert one.metrics["prefill_time"] >= 0.1
    assert eight.metrics["prefill_time"] >= 0.1 + 4 * 0.05, (
        "of seven beside the last one some may be late on a busy machine"
    )


def test_seconds_are_those_of_the_progress():
    lines = [
        "a: measured (3 s); 1 of 2 cells, about 10 s left",
        "a: measured (0 s)",
        "b: warming up",
        "b: measured (4 s); 2 of 2 cells: all are measured",
    ]
    assert seconds(lines) == {"a": 3, "b": 4}

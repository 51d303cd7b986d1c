"""Times of all-reduces in vLLM's traces of two H100: an excerpt of recorded ones, what is refused, and the table of them."""

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.deployments import deployment, prediction
from fixtures.deployments.cell import Block
from fixtures.engines.registry import ENGINES
from fixtures.errors import EngineError, UsageError
from fixtures.routing import exchange_times, timeline
from fixtures.routing.timeline import Exchange, Pass

pytestmark = pytest.mark.cpu

# Of vLLM 0.26.0, Llama-3.1-8B at TP=2: two decode steps at batch 1 and a prompt of 3,500 tokens, with all that the GPUs
# exchange in them, each one's first two kernels and its last.
TRACES = Path(__file__).parent / "traces"
LLAMA = Block("vllm", "llama-3.1-8b", 2)


def annotation(name, ts):
    return {"ph": "X", "cat": "user_annotation", "name": name, "ts": ts, "dur": 1.0}


def launch(ts, correlation):
    arguments = {"correlation": correlation}
    return {"ph": "X", "cat": "cuda_runtime", "name": "cudaGraphLaunch", "ts": ts, "dur": 1.0, "args": arguments}


def kernel(name, ts, dur, correlation):
    return {"ph": "X", "cat": "kernel", "name": name, "ts": ts, "dur": dur, "args": {"correlation": correlation}}


DECODE = annotation("execute_context_0(0)_generation_1(1)", 10.0)
EMPTY = annotation("execute_context_0(0)_generation_0(0)", 90.0)


@pytest.fixture
def recorded(tmp_path):
    directory = exchange_times.directory_of(tmp_path, LLAMA)
    directory.mkdir()
    for rank in (0, 1):
        shutil.copy(TRACES / f"vllm-h100-tp2-rank{rank}.pt.trace.json", directory)
    return directory


def test_a_recorded_trace_has_every_pass_and_what_was_exchanged_in_it(recorded):
    first, second = timeline.read(recorded)
    for passes in (first, second):
        assert sorted((one.prompt, one.generated) for one in passes) == [(0, 1), (0, 1), (3500, 0)]
        for one in passes:
            kinds = [exchange.kind for exchange in one.exchanges]
            assert kinds == ["all-reduce"] * 65 + ["all-gather"]
            assert 0 < sum(exchange.seconds for exchange in one.exchanges) < one.seconds < 0.1


def test_what_waits_for_nobody_is_told_apart_from_what_a_gpu_is_held_for(recorded):
    (decode,) = exchange_times.times(timeline.read(recorded))
    assert (decode.prompt, decode.generated, decode.passes, decode.calls) == (0, 1, 2, 65)
    assert 3e-6 < decode.exchanging / decode.calls < 5e-6
    assert decode.exchanging <= decode.held < decode.seconds


def test_a_kernel_belongs_to_the_pass_that_began_before_its_launch():
    events = [
        kernel("warm-up", 1.0, 1.0, 1), launch(0.5, 1), DECODE, launch(11.0, 2), kernel("attention", 20.0, 5.0, 2),
        kernel("vllm::cross_device_reduce_1stage<2>", 25.0, 4.0, 2), launch(15.0, 3),
        kernel("ncclDevKernel_AllGather_RING_LL", 40.0, 2.0, 3), EMPTY, launch(91.0, 4), kernel("copy", 92.0, 1.0, 4),
        {"ph": "i", "name": "marker"},
    ]  # fmt: skip
    expected = (Exchange("all-reduce", 4e-6), Exchange("all-gather", 2e-6))
    assert timeline.passes(events) == [Pass(0, 1, pytest.approx(22e-6), expected)]


@pytest.mark.parametrize(
    ("events", "message"),
    [
        ([kernel("ncclDevKernel_AllReduce_Sum", 1.0, 1.0, 1), launch(1.0, 1), DECODE], "is in no pass of the model"),
        ([DECODE, kernel("ncclDevKernel_AllReduce_Sum", 20.0, 1.0, 1)], "is in no pass of the model"),
        ([DECODE, EMPTY, launch(91.0, 1), kernel("cross_device_reduce", 92.0, 1.0, 1)], "is in no pass of the model"),
        ([DECODE, launch(11.0, 1), kernel("ncclDevKernel_SendRecv", 20.0, 1.0, 1)], "that isn't known here"),
        ([DECODE, launch(11.0, 1), {"ph": "X", "cat": "kernel", "name": "a"}], "not a trace of torch's profiler"),
        ([DECODE], "no trace there has a pass of the model"),
    ],
)
def test_what_would_go_uncounted_is_an_error(events, message, tmp_path):
    (tmp_path / "rank0.pt.trace.json").write_text(json.dumps({"traceEvents": events}))
    with pytest.raises(EngineError, match=message):
        timeline.read(tmp_path)


@pytest.mark.parametrize(
    "ranks",
    [
        [[Pass(0, 1, 1e-3, ())]],
        [[Pass(0, 1, 1e-3, ())], [Pass(0, 2, 1e-3, ())]],
        [[Pass(0, 1, 1e-3, ())], [Pass(0, 1, 1e-3, ()), Pass(0, 1, 1e-3, ())]],
        [[Pass(0, 1, 1e-3, (Exchange("all-reduce", 1e-6),))], [Pass(0, 1, 1e-3, (Exchange("all-gather", 1e-6),))]],
    ],
)
def test_gpus_that_differ_are_refused(ranks):
    with pytest.raises(EngineError, match=f"{len(ranks)} GPUs have a trace"):
        exchange_times.times(ranks)


@given(st.lists(st.lists(st.tuples(st.floats(1e-6, 1e-3), st.floats(1e-6, 1e-3)), min_size=1, max_size=5), min_size=2,
                max_size=6))  # fmt: skip
def test_a_gpu_is_held_for_as_long_as_it_exchanges_or_longer(steps):
    """Passes with as many all-reduces as the shortest of them."""
    calls = min(map(len, steps))
    ranks = [
        [Pass(0, 4, 1.0, tuple(Exchange("all-reduce", both[rank]) for both in own[:calls])) for own in steps]
        for rank in (0, 1)
    ]
    (found,) = exchange_times.times(ranks)
    assert (found.calls, found.passes) == (calls, len(steps))
    assert 0 < found.exchanging <= found.held <= max(sum(max(both) for both in own[:calls]) for own in steps)


def test_the_table_sets_the_models_term_beside_what_was_measured(recorded):
    chosen = deployment.load("h100x2", ENGINES)
    setup = prediction.setup_of(chosen, LLAMA, "h100")
    title, _, _, _, line = exchange_times.table(
        LLAMA, setup, exchange_times.times(timeline.read(recorded))
    ).splitlines()
    assert title.startswith("vllm/llama-3.1-8b/tp2, of a pass")
    assert line.startswith("0 + 1 ")
    # 65 vectors of 4,096 elements in two bytes each.
    assert "0.53 MB" in line
    assert line.split()[-4:] == ["0.316", "ms", "3.666", "ms"]


def test_traces_of_an_earlier_run_are_read_again(recorded, capsys):
    options = [
        "--deployment",
        "h100x2",
        "--cells",
        "vllm/llama-3.1-8b/tp2/*",
        "--read",
        "--artifacts",
        str(recorded.parent),
    ]
    assert exchange_times.main(options) == 0
    assert "0 + 1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--deployment", "cpu"], "kernels are timed on GPUs"),
        (["--deployment", "h100x1"], "nothing is served at TP=2 or more by an engine whose traces can be read (vllm)"),
        (["--deployment", "h100x2", "--cells", "sglang/*"], "nothing is served at TP=2 or more by an engine"),
        (["--deployment", "h100x2"], "needs 2 x H100"),
    ],
)
def test_deployments_without_such_times_are_refused(options, message, capsys):
    assert exchange_times.main(options) == 2
    assert message in capsys.readouterr().err


def test_cards_of_any_deployment_of_several_gpus_can_be_timed():
    assert {block.id for block in exchange_times.blocks_of(deployment.load("h200x2", ENGINES), [])} == {
        "vllm/llama-3.1-8b/tp2", "vllm/llama-2-13b/tp2", "vllm/mixtral-8x7b/tp2", "vllm/mixtral-8x7b/tp2ep2",
    }  # fmt: skip
    with pytest.raises(UsageError, match="choose other"):
        exchange_times.blocks_of(deployment.load("h200x1", ENGINES), [])

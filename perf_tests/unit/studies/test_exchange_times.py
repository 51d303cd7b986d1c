"""Times of all-reduces in vLLM's traces of two H100: an excerpt of recorded ones, what is refused, and the table of them."""

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.analytical import step
from fixtures.deployments import cell, deployment
from fixtures.deployments.cell import Block
from fixtures.engines.registry import ENGINES
from fixtures.errors import EngineError, UsageError
from fixtures.prediction import prediction
from fixtures.studies.collectives import exchange_times, timeline
from fixtures.studies.collectives.timeline import Exchange, Pass
from perf_tests.paths import TRACES

pytestmark = pytest.mark.cpu

# Of vLLM 0.26.0, Llama-3.1-8B at TP=2: two decode steps at batch 1 and a prompt of 3,500 tokens, with all that the GPUs
# exchange in them, each one's first two kernels and its last.
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


def test_time_that_waits_for_nobody_is_separated_from_time_held(recorded):
    (decode,) = exchange_times.times(timeline.read(recorded), 2)
    assert (decode.prompt, decode.generated, decode.passes, decode.calls) == (0, 1, 2, 65)
    assert 3e-6 < decode.exchanging / decode.calls < 5e-6
    assert decode.exchanging < 0.5 * decode.held < 0.5 * decode.seconds


def test_a_kernel_belongs_to_the_pass_that_began_before_its_launch():
    events = [
        kernel("warm-up", 1.0, 1.0, 1),
        launch(0.5, 1),
        DECODE,
        launch(11.0, 2),
        kernel("attention", 20.0, 5.0, 2),
        kernel("vllm::cross_device_reduce_1stage<2>", 25.0, 4.0, 2),
        launch(15.0, 3),
        kernel("ncclDevKernel_AllGather_RING_LL", 40.0, 2.0, 3),
        EMPTY,
        launch(91.0, 4),
        kernel("copy", 92.0, 1.0, 4),
        {"ph": "i", "name": "marker"},
    ]
    expected = (Exchange("all-reduce", 4e-6), Exchange("all-gather", 2e-6))
    assert timeline.passes(events) == [Pass(0, 1, pytest.approx(22e-6), expected)]


@pytest.mark.parametrize(
    ("events", "message"),
    [
        ([kernel("ncclDevKernel_AllReduce_Sum", 1.0, 1.0, 1), launch(1.0, 1), DECODE], "is in no pass of the model"),
        ([DECODE, kernel("ncclDevKernel_AllReduce_Sum", 20.0, 1.0, 1)], "is in no pass of the model"),
        ([DECODE, EMPTY, launch(91.0, 1), kernel("cross_device_reduce", 92.0, 1.0, 1)], "is in no pass of the model"),
        ([DECODE, launch(11.0, 1), kernel("ncclDevKernel_Gather", 20.0, 1.0, 1)], "that isn't known here"),
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
    with pytest.raises(EngineError, match=f"{len(ranks)} of 2 GPUs have a trace"):
        exchange_times.times(ranks, 2)


def test_passes_seen_once_and_those_of_prompts_and_answers_together_are_left_out():
    own = [
        Pass(0, 4, 1e-3, ()),
        Pass(32, 3, 2e-3, ()),
        Pass(32, 3, 2e-3, ()),
        Pass(64, 0, 3e-3, ()),
        Pass(0, 4, 1e-3, ()),
    ]
    assert [(one.prompt, one.generated, one.passes) for one in exchange_times.times([own, own], 2)] == [(0, 4, 2)]


def test_traces_of_two_runs_are_not_taken_for_those_of_more_gpus(recorded):
    for rank in (0, 1):
        shutil.copy(TRACES / f"vllm-h100-tp2-rank{rank}.pt.trace.json", recorded / f"later{rank}.pt.trace.json")
    with pytest.raises(EngineError, match="4 of 2 GPUs have a trace"):
        exchange_times.times(timeline.read(recorded), 2)


@given(
    st.lists(
        st.lists(st.tuples(st.floats(1e-6, 1e-3), st.floats(1e-6, 1e-3)), min_size=1, max_size=5),
        min_size=2,
        max_size=6,
    )
)
def test_a_gpu_is_held_for_as_long_as_it_exchanges_or_longer(steps):
    """Passes with as many all-reduces as the shortest of them."""
    calls = min(map(len, steps))
    ranks = [
        [Pass(0, 4, 1.0, tuple(Exchange("all-reduce", both[rank]) for both in own[:calls])) for own in steps]
        for rank in (0, 1)
    ]
    (found,) = exchange_times.times(ranks, 2)
    assert (found.calls, found.passes) == (calls, len(steps))
    assert 0 < found.exchanging <= found.held <= max(sum(max(both) for both in own[:calls]) for own in steps)


@pytest.fixture
def setup():
    return prediction.setup_of(deployment.load("h100x2", ENGINES), LLAMA, "h100")


def test_the_table_sets_the_models_term_beside_what_was_measured(recorded, setup):
    title, _, _, _, line = exchange_times.table(
        LLAMA, setup, exchange_times.times(timeline.read(recorded), 2)
    ).splitlines()
    assert title.startswith("vllm/llama-3.1-8b/tp2, of a pass")
    assert line.startswith("0 + 1 ")
    # 65 vectors of 4,096 elements in two bytes each.
    assert "0.53 MB" in line
    assert line.split()[-4:] == ["0.316", "ms", "3.667", "ms"]


def test_copies_of_the_attention_have_passes_of_their_own():
    """Two GPUs that took different passes: each pass counts, and of each exchange the least time that any of them saw."""

    def own(*times):
        return Pass(0, 2, sum(times) + 1e-3, tuple(map(Exchange, ("all-gather", "reduce-scatter"), times)))

    ranks = [[own(2e-6, 9e-6), own(5e-6, 4e-6)], [Pass(32, 0, 5e-3, ()), own(3e-6, 3e-6)]]
    (found,) = exchange_times.times_of_copies(ranks, 2)
    assert (found.passes, found.calls, found.kinds) == (3, 2, ("all-gather", "reduce-scatter"))
    assert (found.exchanging, found.held) == (pytest.approx(5e-6), pytest.approx(9e-6))
    with pytest.raises(EngineError, match="2 of 4 GPUs have a trace"):
        exchange_times.times_of_copies(ranks, 4)


def test_whole_experts_beside_copies_of_the_attention_are_set_beside_the_models_exchange():
    four = deployment.load("h200x4", ENGINES)
    copies = next(c.block for c in cell.cells(four) if c.block.id == "vllm/mixtral-8x7b/tp1dp4ep4")
    setup = prediction.setup_of(four, copies, "h200")
    times = exchange_times.Times(0, 2, 5, 9e-3, 64, 2e-3, 1e-3, ("all-gather", "reduce-scatter"))
    line = " ".join(exchange_times.table(copies, setup, [times]).splitlines()[-1].split())
    expected = step.decode(setup, 8, 40)
    assert line.startswith("0 + 2 5 9.000 ms 64 all-gather, reduce-scatter ")
    assert line.endswith(f"{expected.communication * 1e3:.3f} ms {expected.device * 1e3:.3f} ms")


def test_a_prompts_pass_is_set_beside_the_models_prefill(setup):
    one = Pass(100, 0, 5e-3, (Exchange("all-reduce", 2e-6), Exchange("all-gather", 9e-6), Exchange("all-reduce", 4e-6)))
    other = Pass(
        100, 0, 6e-3, (Exchange("all-reduce", 1e-6), Exchange("all-gather", 9e-6), Exchange("all-reduce", 9e-6))
    )
    found = exchange_times.times([[one, one], [other, other]], 2)
    kinds = ("all-reduce",)
    assert found == [exchange_times.Times(100, 0, 2, 6e-3, 2, pytest.approx(10e-6), pytest.approx(5e-6), kinds)]
    line = exchange_times.table(LLAMA, setup, found).splitlines()[-1]
    expected = step.prefill(setup, 1, 100)
    measured = "100 + 0 2 6.000 ms 2 all-reduce 1.64 MB 0.010 ms 0.005 ms 2.5 us 0%"
    modelled = f"{expected.communication * 1e3:.3f} ms {expected.device * 1e3:.3f} ms"
    assert " ".join(line.split()) == f"{measured} {modelled}"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("void vllm::cross_device_reduce_2stage<__nv_bfloat16, 4>", "all-reduce"),
        ("flashinfer::trtllm_allreduce_fusion::allreduce_fusion_kernel_oneshot_lamport", "all-reduce"),
        ("ncclDevKernel_AllReduce_Sum_bf16_RING_LL", "all-reduce"),
        ("multimem_all_reduce_kernel", "all-reduce"),
        ("multimem_all_gather_kernel", "all-gather"),
        ("ncclDevKernel_ReduceScatter_Sum_bf16_RING_LL", "reduce-scatter"),
        ("ncclDevKernel_AllGather_RING_LL", "all-gather"),
        ("ncclDevKernel_Broadcast_RING_LL", "broadcast"),
        ("ncclDevKernel_Reduce_Sum_bf16_RING_LL", "reduce"),
        ("ncclDevKernel_SendRecv", "send and receive"),
        ("cublasLt::splitKreduce_kernel", ""),
        ("at::native::_scatter_gather_elementwise_kernel", ""),
    ],
)
def test_kernels_are_recognised_by_their_names(name, kind):
    assert timeline.kind_of(name) == kind


def test_traces_of_an_earlier_run_are_read_again(recorded, capsys):
    chosen = ["--deployment=h100x2", "--cells=vllm/llama-3.1-8b/tp2/*"]
    assert exchange_times.main([*chosen, "--read", f"--artifacts={recorded.parent}"]) == 0
    assert "0 + 1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--deployment", "cpu"], "kernels are timed on GPUs"),
        (["--deployment", "h100x1"], "by an engine whose traces can be read (vllm)"),
        (["--deployment", "h100x2", "--cells", "sglang/*"], "nothing is served at TP=2 or more"),
        (["--deployment", "h100x2"], "needs 2 x H100"),
    ],
)
def test_deployments_without_such_times_are_refused(options, message, tmp_path, capsys):
    assert exchange_times.main([*options, "--artifacts", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err


def test_what_the_model_does_not_have_is_said_before_anything_boots(tmp_path, capsys):
    path = tmp_path / "any.toml"
    text = (Path(deployment.__file__).parent / "h100x2.toml").read_text()
    path.write_text(text.replace("devices = 2", 'devices = 2\ndtype = "auto"'))
    assert exchange_times.main(["--deployment", str(path)]) == 2
    assert "needs a dtype and one pipeline stage" in capsys.readouterr().err


def test_traces_of_another_run_are_not_added_to(recorded):
    with pytest.raises(UsageError, match="traces of another run are there: read them with --read"):
        exchange_times.record(deployment.load("h100x2", ENGINES), [LLAMA], {}, recorded.parent)


def test_cards_of_any_deployment_of_several_gpus_can_be_timed():
    assert {block.id for block in exchange_times.blocks_of(deployment.load("h200x2", ENGINES), [])} == {
        "vllm/llama-3.1-8b/tp2",
        "vllm/llama-2-13b/tp2",
        "vllm/mixtral-8x7b/tp2",
        "vllm/mixtral-8x7b/tp2ep2",
    }
    with pytest.raises(UsageError, match="choose other"):
        exchange_times.blocks_of(deployment.load("h200x1", ENGINES), [])

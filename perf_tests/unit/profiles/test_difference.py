"""What a step spends its time in, and what grew from one trace to another."""

import gzip
import json
import shutil
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.errors import EngineError
from fixtures.profiles import annotations, steps
from fixtures.profiles.__main__ import main
from fixtures.profiles.difference import compare, table
from fixtures.profiles.steps import NO_SPAN, Part
from perf_tests.paths import ROOT

pytestmark = pytest.mark.cpu
TRACES = ROOT / "perf_tests" / "fakes" / "traces"


def span(name, start, duration, cat="cpu_op", tid=1, **args):
    return {"ph": "X", "cat": cat, "name": name, "pid": 1, "tid": tid, "ts": start, "dur": duration, "args": args}


def step(start, extra=0.0, prompt=0):
    """A pass of 1,000 us with two operators, one nested in the other, and 200 us until the next; ``extra`` in the inner one."""
    name = f"execute_context_{int(prompt > 0)}({prompt})_generation_1(1)"
    return [
        span(name, start, 1000 + extra, "user_annotation"),
        span("outer", start + 100, 500 + extra),
        span("inner", start + 200, 100 + extra),
    ]


def trace(extra=0.0, count=5, prompt=0):
    return [event for i in range(count) for event in step(i * (1200 + extra), extra, prompt)]


def write(directory, events, name="rank0.pt.trace.json"):
    directory.mkdir(parents=True, exist_ok=True)
    (directory / name).write_text(json.dumps({"traceEvents": events}))
    return directory


def test_time_is_of_a_span_without_what_is_nested_in_it():
    first, *others, outside = steps.steps(trace())
    assert len(others) == 3, "the last one has no end"
    assert (outside.kind, outside.calls[Part("host", "inner")]) == ("outside", 1), "but is told"
    host = {part.name: round(1e6 * seconds) for part, seconds in first.seconds.items()}
    assert host == {"execute_context/generation": 500, "outer": 400, "inner": 100, NO_SPAN: 200}
    assert first.calls[Part("host", "inner")] == 1


def shifted(events, by):
    return [event | {"ts": event["ts"] + by} for event in events]


def test_ranks_overlap_in_time_and_windows_of_the_profiler_do_not(tmp_path):
    for rank in range(2):
        for window, start in enumerate((0, 20_000, 50_000)):
            write(tmp_path, shifted(trace(), start + 7 * rank), f"rank{rank}.{9 - window}.pt.trace.json")
    found = steps.read(tmp_path)
    assert sorted(one.window for one in found if one.kind == "decode") == [0] * 8 + [1] * 8 + [2] * 8
    assert "steps: decode 24 -> 24, in windows: 3 -> 3" in table(tmp_path, tmp_path)


def test_a_part_that_is_slower_in_some_windows_of_both_sides_is_noise_and_a_small_new_one_is_not(tmp_path):
    """Steps of one window are alike, and windows of one engine are not: so was a matrix product of the CPU build."""
    for side, slow in (("before", (0, 1)), ("now", (1, 2, 4, 5))):
        for window in range(6):
            events = trace(extra=90 if window in slow else 0, count=9)
            if side == "now":
                events += [span("new", i * 1200 + 1100, 20) for i in range(9)]
            write(tmp_path / side, shifted(events, 50_000 * window), f"rank0.{window}.pt.trace.json")
    first, second = compare(steps.read(tmp_path / "before"), steps.read(tmp_path / "now"))[:2]
    assert (first.part.name, second.part.name) == ("new", "inner")
    assert first.seconds < second.seconds
    assert first.certain > 0 > second.certain
    assert "within noise" in next(
        row for row in table(tmp_path / "before", tmp_path / "now").splitlines() if "inner" in row
    )
    one = compare(*(steps.read(write(tmp_path / "one", trace(extra, count=9))) for extra in (0, 90)))[0]
    assert (one.part.name, one.certain > 0) == ("inner", True)


def test_a_kernel_belongs_to_the_pass_that_launched_it():
    events = trace(count=3)
    events.append(span("cudaGraphLaunch", 1250, 10, "cuda_runtime", correlation=7))
    events.append(span("gemm", 5000, 300, "kernel", tid=99, correlation=7))
    events.append(span("in flight", 10, 40, "kernel", tid=99, correlation=3))
    _, second, outside = steps.steps(events)
    assert outside.calls[Part("kernel", "in flight")] == 1, "its launch is not in the trace"
    assert second.seconds[Part("kernel", "gemm")] == pytest.approx(300e-6)


def test_prompts_and_answers_are_steps_of_their_own():
    kinds = [one.kind for one in steps.steps(trace(prompt=16)[:3] + [dict(e, ts=e["ts"] + 9000) for e in trace()])]
    assert kinds == ["prefill"] + ["decode"] * 4 + ["outside"]


def test_what_grew_is_named_first_and_an_outlier_is_nothing(tmp_path, capsys):
    slow_once = [dict(event) for event in trace(count=9)]
    slow_once[1]["dur"] += 90_000
    before, now = write(tmp_path / "before", trace(count=9)), write(tmp_path / "now", trace(extra=50, count=9))
    first = compare(steps.read(before), steps.read(now))[0]
    assert (first.kind, first.part, round(1e6 * first.seconds)) == ("decode", Part("host", "inner"), 50)
    disturbed = write(tmp_path / "disturbed", slow_once)
    assert compare(steps.read(before), steps.read(disturbed))[0].seconds == pytest.approx(0, abs=1e-9)
    assert main([str(before), str(now), "--rows", "1"]) == 0
    _, together, *_, row = capsys.readouterr().out.splitlines()
    assert together == "decode, all of it together: host 1.20 -> 1.25 ms"
    row = row.split()
    assert row == ["decode", "host", "inner", "1", "100.0", "150.0", "+50.0"]
    assert "nothing grew" in table(before, before)


def test_kernels_and_the_host_are_told_together_for_each_kind_of_step(tmp_path):
    def events(kernel):
        launch = {"correlation": 1}
        prefill = [*step(0, prompt=16), span("launch", 50, 10, "cuda_runtime", **launch)]
        return [*prefill, span("gemm", 60, kernel, "kernel", tid=9, **launch), *shifted(trace(count=3), 9000)]

    before, now = write(tmp_path / "before", events(300)), write(tmp_path / "now", events(450))
    _, decode, prefill, *_ = table(before, now).splitlines()
    assert decode == "decode, all of it together: host 1.20 -> 1.20 ms"
    assert prefill == "prefill, all of it together: kernels 0.30 -> 0.45 ms, host 9.00 -> 9.00 ms"


def test_what_steps_differ_by_anyway_is_within_noise_and_comes_last(tmp_path):
    loud = [
        dict(event, dur=event["dur"] + (700 * (i % 5) if i % 3 == 0 else 0)) for i, event in enumerate(trace(count=20))
    ]
    before = write(tmp_path / "before", loud)
    now = write(tmp_path / "now", [dict(event) for event in trace(extra=20, count=20)])
    for event in (events := json.loads((now / "rank0.pt.trace.json").read_text())["traceEvents"]):
        event["dur"] += 900 if event["name"].startswith("execute") else 0
    write(now, events)
    rows = table(before, now).splitlines()
    assert rows[6].split()[:3] == ["decode", "host", "inner"]


def test_one_prefill_tells_nothing_but_what_is_new(tmp_path):
    before, now = write(tmp_path / "before", trace(count=2, prompt=9)), write(tmp_path / "now", trace(50, 2, prompt=9))
    assert compare(steps.read(before), steps.read(now))[0].certain < 0
    assert "within noise" in table(before, now)
    new = trace(count=2, prompt=9)
    new.append(span("new", 210, 3))
    assert compare(steps.read(before), steps.read(write(tmp_path / "new", new)))[0].part.name == "new"


def test_a_new_kernel_counts_from_nothing(tmp_path):
    launched = [
        event
        for i in range(5)
        for event in (
            span("cudaLaunchKernel", i * 1200 + 50, 5, "cuda_runtime", correlation=i),
            span("new_kernel", i * 1200 + 400, 80, "kernel", tid=9, correlation=i),
        )
    ]
    before, now = write(tmp_path / "before", trace()), write(tmp_path / "now", trace() + launched)
    first = compare(steps.read(before), steps.read(now))[0]
    assert (first.part, first.calls_before, first.calls) == (Part("kernel", "new_kernel"), 0, 1)


def test_what_is_new_in_one_window_of_six_is_noise(tmp_path):
    """Prompts come in passes of other sizes each time, and a size has kernels of its own."""
    for side, new in (("before", ()), ("now", (3,)), ("always", range(6))):
        for window in range(6):
            events = trace(count=9) + [span("new", i * 1200 + 1100, 20) for i in range(9) if window in new]
            write(tmp_path / side, shifted(events, 50_000 * window), f"rank0.{window}.pt.trace.json")
    before = steps.read(tmp_path / "before")
    once, always = (compare(before, steps.read(tmp_path / side))[0] for side in ("now", "always"))
    assert [(one.part.name, one.certain > 0) for one in (once, always)] == [("new", False), ("new", True)]


@pytest.mark.parametrize("windows", [1, 2, 3])
@pytest.mark.parametrize("before", [0, 1])
def test_what_few_steps_of_few_windows_have_is_noise_too(tmp_path, windows, before):
    """Two of 20 steps against none or one: a long cell is profiled in fewer windows than tell by themselves."""
    for side, *counts in (("before", before, 0, 0), ("now", 2, 0, 0), ("always", 20, 20, 20)):
        for window, count in enumerate(counts[:windows]):
            events = trace(count=21) + [span("rare", i * 1200 + 1100, 20) for i in range(count)]
            write(tmp_path / side, shifted(events, 50_000 * window), f"rank0.{window}.pt.trace.json")
    known = steps.read(tmp_path / "before")
    for side, certain in (("now", False), ("always", True)):
        (found,) = (one for one in compare(known, steps.read(tmp_path / side)) if one.part.name == "rare")
        assert (found.certain > 0) == certain


def test_a_trace_that_marks_no_pass_is_one_run(tmp_path):
    events = [event for event in trace() if event["cat"] == "cpu_op"]
    more = [event for event in trace(extra=70) if event["cat"] == "cpu_op"]
    before, now = write(tmp_path / "before", events), write(tmp_path / "now", more)
    first = compare(steps.read(before), steps.read(now))[0]
    assert (first.kind, first.part.name, round(1e6 * first.seconds)) == ("run", "inner", 350)


def test_what_has_no_step_in_common_is_not_said_to_be_the_same(tmp_path, capsys):
    marked = write(tmp_path / "vllm", trace())
    unmarked = write(tmp_path / "sglang", [event for event in trace() if event["cat"] == "cpu_op"])
    assert main([str(marked), str(unmarked)]) == 2
    assert f"{unmarked}: its steps are run, those of {marked} decode" in capsys.readouterr().err
    assert main([str(marked), str(marked), "--rows", "0"]) == 2
    assert "--rows: expected a positive number, found 0" in capsys.readouterr().err


def test_a_front_end_without_passes_does_not_count(tmp_path):
    directory = write(tmp_path, trace())
    write(directory, [span("http", 0, 1e6)], "frontend.pt.trace.json")
    assert {one.kind for one in steps.read(directory)} == {"decode", "outside"}


@pytest.mark.parametrize("name", ["vllm-cpu-tp2", "vllm-h100-tp2"])
def test_recorded_traces_of_two_ranks_are_read(name, tmp_path):
    for path in TRACES.glob(f"{name}-rank*.json"):
        shutil.copy(path, tmp_path)
    found = steps.read(tmp_path)
    assert {one.kind for one in found} <= {"prefill", "decode", "outside"}
    assert all(min(one.seconds.values()) >= 0 for one in found)
    assert any(part.where == "kernel" for one in found for part in one.seconds) == ("h100" in name)
    assert "nothing grew" in table(tmp_path, tmp_path)


@pytest.fixture
def sglang(tmp_path):
    """Two of the windows of SGLang 0.5.23, Llama-3.1-8B and a batch of 8 on an H200, cut to a prefill and six decode steps.

    In the second one three of 32 layers run their MLP twice, with a cumulative sum between.
    """
    sides = tmp_path / "before", tmp_path / "now"
    for side, name in zip(sides, ("sglang-h200", "sglang-h200-planted"), strict=True):
        side.mkdir()
        shutil.copy(TRACES / f"{name}.trace.json.gz", side)
    return sides


def events_of(directory):
    (path,) = directory.glob("*.gz")
    return json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]


def test_what_was_planted_in_sglang_is_named_by_step(sglang):
    first, second, *others = compare(*map(steps.read, sglang))
    gate_up, down = "nvjet_sm90_tst_128x8_64x12_2x1_v_bz_TNT", "nvjet_sm90_tst_128x8_64x12_2x1_v_bz_splitK_TNT"
    assert [(one.kind, one.part.name) for one in (first, second)] == [("decode", gate_up), ("decode", down)]
    assert [(one.calls_before, one.calls) for one in (first, second)] == [(32, 35), (32, 35)]
    assert first.before / 32 == pytest.approx(first.now / 35, rel=0.01)
    new = next(one for one in others if one.kind == "decode" and "scan_innermost_dim" in one.part.name)
    assert (new.calls_before, new.calls, new.certain > 0) == (0, 3, True)


def test_sglang_runs_a_step_after_its_span_has_ended_and_no_kernel_is_lost(sglang):
    for side in sglang:
        found, events = steps.read(side), events_of(side)
        assert [one.kind for one in found] == ["prefill"] + ["decode"] * 5 + ["outside"]
        kernels = [Counter({p: n for p, n in one.calls.items() if p.where == "kernel"}) for one in found]
        assert all(one == kernels[2] for one in kernels[2:6]), "the first one also takes in what the prefill found"
        spans = [e for e in events if e["name"] == "step[DECODE bs=8]"]
        during = [e for e in events if e["cat"] == "kernel" and any(0 <= e["ts"] - s["ts"] < s["dur"] for s in spans)]
        assert len(during) < 0.3 * sum(one.total() for one in kernels[1:6]), (
            "so the time at which a kernel ran tells nothing"
        )
        on_card = Counter(
            Part("kernel", e["name"]) for e in events if e["cat"] in ("kernel", "gpu_memcpy", "gpu_memset")
        )
        assert sum(kernels, Counter()) == on_card
    assert "in none of them, before a window's first pass and from its last on: kernels 4.9 -> 5.2 ms" in table(*sglang)


def test_sglang_before_it_annotated_passes_is_one_run(sglang, tmp_path):
    sides = [
        write(tmp_path / name, [e for e in events_of(side) if not e["name"].startswith("step[")])
        for name, side in zip(("before-0.5.10", "now-0.5.10"), sglang, strict=True)
    ]
    found = compare(*map(steps.read, sides))
    gate_up = next(one for one in found if one.part.name == "nvjet_sm90_tst_128x8_64x12_2x1_v_bz_TNT")
    assert {one.kind for one in found} == {"run"}
    assert (gate_up.calls_before, gate_up.calls) == (6 * 32, 6 * 35)
    assert "in none of them" not in table(*sides)


@pytest.mark.parametrize(
    ("name", "kind", "part"),
    [
        ("execute_context_2(64)_generation_6(6)", "prefill", "execute_context/generation"),
        ("execute_context_0(0)_generation_6(6)", "decode", "execute_context/generation"),
        ("execute_context_0(0)_generation_0(0)", None, "execute_context/generation"),
        ("step[EXTEND bs=7 toks=224]", "prefill", "step[EXTEND]"),
        ("step[MIXED bs=7 c=1 g=6 c_sq=32 forward_id=9]", "prefill", "step[MIXED]"),
        ("step[DECODE bs=8 g_sq=8 g_sqsq=8 g_sqsk=512 g_sk=512]", "decode", "step[DECODE]"),
        ("step[TARGET_VERIFY bs=8]", "decode", "step[TARGET_VERIFY]"),
        ("step[VERIFY bs=8]", "decode", "step[VERIFY]"),
        ("step[DRAFT bs=8 toks=32]", None, "step[DRAFT]"),
        ("step[DRAFT_EXTEND_V2 bs=8]", None, "step[DRAFT_EXTEND_V2]"),
        ("step[DRAFT_LOOP raw_bs=7 bs=8 topk=1]", None, "step[DRAFT_LOOP]"),
        ("step[IDLE bs=0]", None, "step[IDLE]"),
        ("scheduler.run_batch", None, "scheduler.run_batch"),
    ],
)
def test_what_an_annotation_says(name, kind, part):
    assert (annotations.kind(name), annotations.without_sizes(name)) == (kind, part)


def test_what_is_no_trace_is_named(tmp_path):
    with pytest.raises(EngineError, match="no trace there"):
        steps.read(tmp_path)
    (tmp_path / "torn.pt.trace.json.gz").write_bytes(gzip.compress(b'{"traceEvents": []}')[:-9])
    with pytest.raises(EngineError, match=r"torn.pt.trace.json.gz: not a trace of torch's profiler"):
        steps.read(tmp_path)


nested = st.lists(st.tuples(st.integers(0, 90), st.integers(1, 50)), min_size=1, max_size=20)


@given(nested)
def test_own_times_of_properly_nested_spans_add_up_to_what_is_covered(intervals):
    events, ends = [], []
    for start, length in sorted(intervals, key=lambda one: (one[0], -one[1])):
        while ends and ends[-1] <= start:
            ends.pop()
        length = min(length, ends[-1] - start) if ends else length
        events.append(span("s", start, length))
        ends.append(start + length)
    (only,) = steps.steps(events)
    covered = len({t for e in events for t in range(e["ts"], e["ts"] + e["dur"])})
    assert sum(only.seconds.values()) * 1e6 == pytest.approx(covered)

"""May we upgrade? What is said of pairs of boots, from a decision to "cannot be told"."""

import dataclasses

import pytest

from fixtures.report import html, page, upgrade
from fixtures.report.markdown import markdown
from fixtures.store.run import BlockRecord, CellRecord, Judged, Run
from perf_tests.fakes.samples import sample

pytestmark = pytest.mark.cpu
SHAPE = {"hardware": "H200", "devices": 1, "model": {}, "engine": "vllm", "tensor_parallel": 1, "weights": "random"}
BLOCK = "vllm/m/tp1"
NOISE = (0.999, 1.0, 1.001)


def boots(name, **execution):
    return tuple(
        sample(f"{name}{i}", provenance={"engine_version": name, "execution": execution}) for i in range(len(NOISE))
    )


def compared(ttft=1.0, decode=1.0, throughput=1.0, cells=4, pairs=3, noise=NOISE, **fields):
    """A run of batches whose candidate's metrics are so many times the others', a little noise aside."""

    def ratios(i, factor):
        own = noise[i % len(noise) :] + noise[: i % len(noise)]
        return {f"new{pair}": factor * own[pair] for pair in range(pairs)}

    found = tuple(
        CellRecord(
            f"{BLOCK}/batch-{i}",
            BLOCK,
            f"batch-{i}",
            {"kind": "batch", "batch_size": i + 1, "input_len": 8, "output_len": 8},
            boots("new", runner="V2"),
            beside=boots("old", runner="V1", graphs="full"),
            ratios={
                "ttft_first": ratios(i, ttft),
                "decode_step": ratios(i, decode),
                "output_throughput": ratios(i, throughput),
            },
        )
        for i in range(cells)
    )
    block = BlockRecord(BLOCK, "vllm", "m", 1, "bf16", SHAPE)
    run = Run("r", "2026-01-01T00:00:00", "d", "one card", (block,), found, candidate="vllm of new")
    return dataclasses.replace(run, **fields)


def test_a_run_without_a_second_engine_says_nothing():
    assert upgrade.build(compared(candidate="")) is None
    assert upgrade.terminal(compared(candidate="")) == []
    assert upgrade.markdown(compared(candidate="")) == []


@pytest.mark.parametrize(
    ("factors", "tone", "begins", "ends"),
    [
        ({"ttft": 1.17}, "bad", "The candidate costs TTFT +17.0% (", ": decide by TTFT."),
        ({"ttft": 0.8}, "good", "The candidate gains TTFT -20.0% (", ": nothing speaks against it."),
        ({}, "good", "The candidate keeps TTFT 0% (", ": nothing speaks against it."),
        (
            {"ttft": 1.17, "throughput": 1.1},
            "bad",
            "The candidate costs TTFT +17.0% (",
            ": decide whether throughput is worth TTFT.",
        ),
        ({"throughput": 0.9}, "bad", "The candidate costs throughput -10.0% (", ": decide by throughput."),
        (
            {"pairs": 1},
            "warn",
            "The candidate leaves open TTFT -0.0% (no interval yet), ",
            "(about 2 pairs would tell: --max-boots): this cannot be told yet.",
        ),
    ],
)
def test_one_sentence_to_decide_by(factors, tone, begins, ends):
    found = upgrade.build(compared(**factors))
    assert found.sentence.replace("-0.03%", "-0.0%").startswith(begins), found.sentence
    assert found.sentence.endswith(ends), found.sentence
    assert found.tone == tone


def test_the_cells_that_a_cost_is_in_are_counted_and_those_alone_are_named():
    found = upgrade.build(compared(ttft=1.17))
    assert "beyond doubt in 4 of 4 cells" in found.sentence
    run = compared()
    first, *others = run.cells
    worse = {"ttft_first": {boot: 1.3 * ratio for boot, ratio in first.ratios["ttft_first"].items()}}
    alone = dataclasses.replace(run, cells=(dataclasses.replace(first, ratios=first.ratios | worse), *others))
    text = upgrade.build(alone).sentence
    assert text.endswith("decide by TTFT.")
    assert f"{first.id} TTFT +30.0%" in text or "costs TTFT" in text


def test_without_any_pair_nothing_is_good():
    found = upgrade.build(compared(pairs=0))
    assert (found.tone, found.totals) == ("bad", ())
    assert found.sentence == "The candidate: no pair of boots counts, so that nothing can be told."


def test_what_moved_most_is_named_and_the_rest_counted():
    found = upgrade.build(compared(ttft=1.17, cells=7))
    text = upgrade.moved(found.worse)
    assert text.startswith("TTFT of all cells +17.0%, TTFT of vllm/m/tp1/batch-")
    assert text.endswith(" and 4 more")
    assert upgrade.moved(found.worse[:1]) == "TTFT of all cells +17.0%"


def test_noise_that_hides_a_change_is_no_absence_of_one():
    found = upgrade.build(compared(ttft=1.05, noise=(0.8, 1.0, 1.25), cells=1))
    assert "leaves open TTFT" in found.sentence
    assert found.tone == "warn"


def test_other_answers_and_cells_that_failed_come_before_any_speed():
    run = compared(ttft=0.5)
    first, *others = run.cells
    wrong = Judged("output_others", "regression", "why", 0.07, 0.5)
    answers = dataclasses.replace(run, cells=(dataclasses.replace(first, judged=(wrong,)), *others))
    assert upgrade.build(answers).sentence.endswith(
        f"it answers otherwise in {first.id}: find out why before anything else."
    )
    failed = dataclasses.replace(run, cells=(dataclasses.replace(first, error="died"), *others))
    assert upgrade.build(failed).sentence.endswith("1 cell could not be measured: no decision yet.")
    assert upgrade.build(failed).tone == "bad"


def test_a_boot_that_was_set_aside_is_in_no_ratio():
    run = compared(ttft=1.0)
    slow = dataclasses.replace(run, cells=tuple(dataclasses.replace(cell, slow={"new1": 0.2}) for cell in run.cells))
    assert {one.pairs for one in upgrade.build(slow).totals} == {2}
    text = f"pair 2 of {BLOCK}: slow as a whole by 20%"
    assert upgrade.build(slow).left_out == (text,), "once, and not of each cell"
    assert ("  not counted: " + text, {}) in upgrade.terminal(slow)
    assert f"Not counted:\n\n- {text}" in markdown(slow, {})
    assert f"Not counted: {text}." in html.render(page.build(slow, {}))
    assert "ot counted" not in html.render(page.build(run, {})) + markdown(run, {})


def test_a_pair_that_is_invalid_in_a_cell_is_named_with_whose_boot_it_was():
    first, second, *others = compared().cells
    first, second = (
        dataclasses.replace(
            cell, **{arm: (*getattr(cell, arm)[:2], dataclasses.replace(getattr(cell, arm)[2], invalid=why))}
        )
        for cell, arm, why in ((first, "boots", "throttled"), (second, "beside", "preempted"))
    )
    run = dataclasses.replace(compared(), cells=(first, second, *others))
    assert upgrade.build(run).left_out == (
        f"pair 3 of {first.id}: the candidate's boot is invalid, throttled",
        f"pair 3 of {second.id}: the other engine's boot is invalid, preempted",
    )
    assert max(len(line) for line, _ in upgrade.terminal(run)) <= 100


def test_what_the_engine_chose_otherwise_is_listed_once():
    found = upgrade.build(compared())
    assert [(one.block, one.what, one.before, one.now) for one in found.choices] == [
        (BLOCK, "version", "old", "new"),
        (BLOCK, "runner", "V1", "V2"),
        (BLOCK, "graphs", "full", ""),
    ]


def test_it_comes_first_in_every_report():
    run = compared(ttft=1.17, remarks=("<b>",))
    text = markdown(run, {})
    assert text.index("### May we upgrade?") < text.index("### Remarks")
    assert "| all cells " in text
    assert "- vllm/m/tp1: runner V1 -> V2" in text
    rendered = html.render(page.build(run, {}))
    assert rendered.index('<section id="upgrade">') < rendered.index('<section id="changed">')
    assert "decide by TTFT" in rendered
    assert '<section id="upgrade">' not in html.render(page.build(compared(candidate=""), {}))
    lines = [line for line, _ in upgrade.terminal(run)]
    assert max(map(len, lines)) <= 100
    assert any(line.startswith("  decode step ") for line in lines)

"""The verdict of a run and its findings, in words."""

import dataclasses

import pytest

from fixtures.report import findings
from fixtures.store.run import CellRecord
from perf_tests.fakes.reported_runs import calm, judged, worse
from perf_tests.fakes.samples import sample

pytestmark = pytest.mark.cpu


@pytest.mark.parametrize(
    ("outcomes", "tone", "sentence"),
    [
        ((), "none", "Nothing was judged."),
        (("pass", "pass"), "good", "Nothing regressed: 2 of 2 compared metrics pass."),
        (("no baseline",), "none", "Nothing could be compared: 1 metric without a baseline."),
        (("pass", "no baseline"), "good", "Nothing regressed: 1 of 1 compared metrics pass; 1 without a baseline."),
        (("pass", "invalid"), "warn", "Nothing regressed: 1 of 2 compared metrics pass; 1 invalid."),
        (("pass", "improvement"), "good", "Nothing regressed: 1 of 2 compared metrics pass; 1 improved."),
        (("regression", "pass"), "bad", "1 metric of 2 regressed: latency of c (+10.0%)."),
        (
            ("regression", "regression", "inconclusive"),
            "bad",
            "2 metrics of 3 regressed: the worst is latency of c (+10.0%); 1 inconclusive.",
        ),
    ],
)
def test_the_verdict_in_one_sentence(outcomes, tone, sentence):
    verdicts = tuple(judged("latency", one, value=0.44, baseline=0.4, change=0.1) for one in outcomes)
    run = dataclasses.replace(
        calm(), cells=(CellRecord("c", calm().blocks[0].id, "c", {"kind": "batch"}, (), verdicts),)
    )
    assert findings.headline(run).tone == tone
    assert findings.headline(run).sentence == sentence


def test_what_could_not_be_measured_and_a_contradicted_claim_are_bad():
    run = dataclasses.replace(calm(), claims={"x": ("passed", "failed")})
    run = dataclasses.replace(run, cells=(*run.cells, dataclasses.replace(run.cells[0], id="n", error="died")))
    assert findings.headline(run).tone == "bad"
    assert (
        "1 cell could not be measured; 1 claim came out differently from the ledger." in findings.headline(run).sentence
    )


def test_findings_are_by_cell_the_worst_first_with_interval_and_next_steps():
    first, second = findings.findings(worse())
    assert [one.metric for one in first.judged] == ["completed", "latency"]
    assert findings.change(first.judged[1]) == "400 ms -> 440 ms, +10.0% (95%: +8.0% to +12.0%)"
    assert first.advice[0] == "Look first at what changed since the baseline: driver 1 -> 2."
    assert second.advice[0] == (
        "The baseline has only 1 boot: runs of what it was measured with add more by --update-baselines=append."
    )
    assert "1 boot could not decide: --max-boots=7 allows more" in second.advice[1]


def advised(outcomes, engine="vllm", kind="batch", **run):
    """The advice on each cell of a run with these outcomes of latency, a cell each, all of one block."""
    block = dataclasses.replace(calm().blocks[0], engine=engine)
    cells = tuple(
        CellRecord(
            str(i), block.id, str(i), {"kind": kind}, (), (judged("latency", one, value=1, baseline=1, change=0.1),)
        )
        for i, one in enumerate(outcomes)
    )
    found = findings.findings(dataclasses.replace(calm(), blocks=(block,), cells=cells, **run))
    return {one.cell.id: " ".join(one.advice) for one in found}


def test_no_new_baseline_is_advised_beside_a_regression_nor_where_none_can_be_written():
    assert advised(["improvement"])["0"].startswith("Commit a new baseline (--update-baselines)")
    beside = advised(["improvement", "regression", "regression"])["0"]
    assert beside == (
        "Commit no new baseline yet: it would hide what regressed in 1 and 1 other cell, maybe by the same cause."
    )
    assert advised(["improvement"], replayed=True)["0"] == ""
    assert advised(["improvement"], candidate="vllm of new")["0"] == ""


@pytest.mark.parametrize(
    ("where", "possible"),
    [({}, True), ({"replayed": True}, False), ({"engine": "external"}, False), ({"kind": "startup"}, False)],
)
def test_the_profiler_is_advised_only_where_it_can_run(where, possible):
    assert ("--profile" in advised(["regression"], **where)["0"]) is possible


def test_of_a_server_that_already_runs_no_more_boots_are_advised_but_a_restart():
    ours, others = (advised(["inconclusive"], **where)["0"] for where in ({}, {"engine": "external"}))
    assert "--max-boots=" in ours
    assert "--max-boots" not in others
    assert "restart it, and run this again with --boots-of" in others


def test_a_change_that_is_not_possible_is_in_no_interval():
    one = judged("latency", "pass", value=0.6, baseline=1.0, change=-0.4, error=0.5)
    assert findings.interval(one) == (-1.0, pytest.approx(-0.4 + 1.96 * 0.5))
    assert findings.change(one).endswith("(95%: -100.0% to +58.0%)")


def test_commands_that_differ_in_their_cells_become_one():
    commands = ["pytest -m x --cells=a --cells=b --max=1", "pytest -m x --cells=c --cells=a --max=1", "other --cells=a"]
    assert findings.together(commands) == ["pytest -m x --cells=a --cells=b --cells=c --max=1", "other --cells=a"]
    assert findings.together([]) == []


def test_an_invalid_cell_that_was_not_judged_is_counted():
    run = calm()
    cells = (dataclasses.replace(run.cells[0], boots=(sample("b", "late"),), judged=()),)
    head = findings.headline(dataclasses.replace(run, cells=cells))
    assert (head.tone, head.sentence) == ("warn", "Nothing was judged: 1 cell invalid and not judged.")

"""The verdict of a run and its findings, in words."""

import dataclasses

import pytest

from fixtures.report import findings
from fixtures.store.run import CellRecord
from perf_tests.fakes.reported_runs import calm, judged, worse

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
    assert second.advice[0] == "The baseline has only 1 boot: --update-baselines=append adds more."
    assert "1 boot could not decide: --max-boots=7 allows more" in second.advice[1]

"""Causes in words, and where the reports show them."""

import dataclasses

import pytest

from fixtures.claims.ledger import ledger
from fixtures.errors import UsageError
from fixtures.report import common, findings, markdown, terminal
from fixtures.report.table import WIDTH
from fixtures.store import run as runs
from fixtures.store.run import CauseRecord, CommonChange, MovedTerm
from perf_tests.fakes.reported_runs import EVIL, calm, rendered, worse

pytestmark = pytest.mark.cpu
DENSE = "llama-3.1-8b-twin"


def record(run, moved=None, **others):
    """A cause of a run's first two cells with traffic, of which the first ``moved`` are beyond their own noise."""
    cells = [cell.id for cell in run.cells if cell.kind == "batch"][:2]
    members = tuple(
        CommonChange(cell, "latency", 0.05 if moved is None or i < moved else 0.0, 0.01) for i, cell in enumerate(cells)
    )
    given = {
        "outcome": "regression",
        "change": 0.052,
        "error": 0.005,
        "members": members,
        "command": "pytest --cells=x",
    }
    fields = {"meaning": "every time and rate", "reason": "worse by 5.2%; why", "tolerance": 0.005}
    return CauseRecord("vllm/speed", **(fields | given | others))


def with_cause(run, cause, explained=()):
    """The run with a cause, and ``explained`` cells whose latency regressed by it."""
    cells = tuple(
        dataclasses.replace(
            cell,
            judged=tuple(
                dataclasses.replace(one, outcome="regression", cause=cause.id) if one.metric == "latency" else one
                for one in cell.judged
            ),
        )
        if cell.id in explained
        else cell
        for cell in run.cells
    )
    return dataclasses.replace(run, cells=cells, causes=(cause,))


HOST = MovedTerm("the host's time for a step", 2.1e-4, 1.8e-4, 2.4e-4, 3.2e-4)
KERNEL = MovedTerm("the expert kernel", 0.05, 0.04, 0.06)


@pytest.mark.parametrize(
    ("others", "says"),
    [
        ({}, "worse by 5.2% (95%: 4.2% to 6.2%) in every cell of "),
        ({"moved": 1}, "over 2 cells, in 1 of them, "),
        ({"moved": 0}, "over 2 cells of "),
        ({"error": None}, "worse by 5.2% in every cell"),
        ({"change": None}, "worse in every cell"),
        (
            {"terms": (HOST,)},
            "the host's time for a step +0.21 ms (95%: +0.18 ms to +0.24 ms), 0.53 ms instead of the model's 0.32 ms: "
            "the host, not the card",
        ),
        ({"terms": (KERNEL,)}, ": the expert kernel takes 5.0% longer (95%: 4.0% to 6.0%)"),
        ({"terms": (KERNEL, HOST)}, "longer (95%: 4.0% to 6.0%) and the host's time for a step +0.21 ms"),
        (
            {"terms": (KERNEL,), "rivals": ("the all-reduce",)},
            ": the expert kernel or the all-reduce, which these cells don't tell apart",
        ),
        ({"since": "2026-03-29T02:17:00+00:00"}, "; since 2026-03-29"),
    ],
)
def test_a_sentence_says_what_moved_by_how_much_where_because_of_what_and_since_when(others, says):
    run = calm()
    text = common.sentence(run, record(run, **others))
    assert text.startswith("vllm/speed, every time and rate: worse")
    assert says in text


def test_what_changed_since_the_baseline_is_in_it():
    run = worse()
    cause = record(run)
    assert common.sentence(run, cause).endswith("; changed since the baseline: driver 1 -> 2")


def test_a_cause_comes_first_with_its_cells_and_none_of_them_is_told_again():
    run = worse()
    cell = run.cells[0]
    run = with_cause(run, record(run), [cell.id])
    (one,) = common.told(run)
    assert [(found.id, judged.metric) for found, judged in one.explained] == [(cell.id, "latency")]
    left = [judged.metric for found in findings.findings(run) for judged in found.judged if found.cell.id == cell.id]
    assert left == ["completed"], "which stands alone"
    head = findings.headline(run)
    assert head.tone == "bad"
    assert head.sentence.startswith(f"1 cause, and 1 metric alone: {one.sentence}; completed of {cell.id} (-12.5%); ")
    lines = terminal.regressions(run)
    assert [line[:24] for line, _ in lines if line.startswith("regression: ")] == [
        "regression: vllm/speed, ",
        "regression: completed of",
    ]
    commands = ("measure them again: ",)
    assert max(len(line) for line, _ in lines if not line.strip().startswith(commands)) <= WIDTH
    assert sum(line.startswith("  try next: Look first at what changed") for line, _ in lines) == 1
    text = markdown.markdown(run, ledger())
    assert text.count("- **latency**") == 2, "one below its cause, one that is inconclusive"


def test_a_cause_without_a_regression_of_one_cell_fails_the_headline_too():
    run = calm()
    run = with_cause(run, record(run, moved=0))
    assert findings.headline(run).tone == "bad"
    page = rendered(run)
    assert "By none of its metrics alone: they are worse together." in page
    assert page.index("vllm/speed") < page.index('id="cells"')


def test_many_regressions_of_a_cause_are_counted_beyond_those_that_are_named():
    run = worse()
    judged = dataclasses.replace(run.cells[0].judged[0], cause="vllm/speed")
    cells = tuple(
        dataclasses.replace(run.cells[0], id=f"{run.cells[0].block}/{i}", judged=(judged,)) for i in range(30)
    )
    run = dataclasses.replace(run, cells=cells, causes=(record(run),))
    lines = [line for line, _ in terminal.regressions(run)]
    assert "  and 22 more, which the report has" in lines
    assert "- 10 more in the table below" in markdown.markdown(run, ledger())


@pytest.mark.parametrize("others", [{"outcome": "pass"}, {"instead": "vllm/decode"}])
def test_what_is_not_told_is_in_no_sentence(others):
    run = calm()
    run = with_cause(run, record(run, **others))
    assert common.told(run) == []
    assert terminal.regressions(run) == []


def test_an_open_cause_is_a_warning():
    run = calm()
    head = findings.headline(with_cause(run, record(run, outcome="inconclusive")))
    assert head.tone == "warn"
    assert "1 cause inconclusive or invalid" in head.sentence


def test_names_never_become_markup_and_the_record_is_read_back():
    run = worse()
    cause = record(run, reason=EVIL, terms=(KERNEL, HOST), rivals=(EVIL,))
    run = with_cause(run, dataclasses.replace(cause, id=EVIL), [run.cells[0].id])
    assert EVIL not in rendered(run)
    read = runs.parse(runs.text(run), "here")
    assert read.causes[0].terms == (KERNEL, HOST)
    assert read.cells[0].judged[0].cause == EVIL
    gone = dataclasses.replace(run, causes=(dataclasses.replace(cause, outcome="gone"),))
    with pytest.raises(UsageError, match="vllm/speed: unknown outcome 'gone'"):
        runs.parse(runs.text(gone), "here")

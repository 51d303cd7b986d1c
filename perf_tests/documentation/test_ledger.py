"""The ledger against the tests that are bound to its rows, and how it is printed."""

import ast
import dataclasses
import functools
import json
from pathlib import Path

import pytest

from fixtures.claims import document
from fixtures.claims.ledger import LEDGER, Claim, Measured, Predicted, ledger
from fixtures.errors import UsageError
from fixtures.report import claims
from perf_tests.documentation import ledger_numbers
from perf_tests.fakes.synthetic_run import synthetic_run

pytestmark = pytest.mark.cpu

TESTS = Path(__file__).parents[1]
# What every row says.
TEXTS = ("statement", "where", "found")
MEASURED = """[[claim.measured]]
deployment = "d"
cell = "c"
metric = "latency"
stated = 100
tolerance = 0.1
value = {}
unit = "ms"
verdict = "{}"
"""
PREDICTED = """[[claim.predicted]]
deployment = "p"
cell = "c"
metric = "latency"
{}
value = {}
low = {}
high = {}
unit = "{}"
"""


@functools.cache
def bound() -> dict[str, list[str]]:
    """Claim ids that markers in the tests name, and the files that do."""
    found: dict[str, list[str]] = {}
    for path in sorted(TESTS.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or ast.unparse(node.func) != "pytest.mark.claim":
                continue
            if isinstance(node.args[0], ast.Constant):  # others are bound by the ledger's own rows
                found.setdefault(ast.literal_eval(node.args[0]), []).append(path.name)
    return found


def row(**changes):
    fields = {"id": "a", "statement": "s", "where": "w", "kind": "arithmetic", "verdict": "holds", "found": "f"}
    return Claim(**{**fields, **changes})


def test_every_claim_that_can_be_checked_is():
    unbound = [
        c.id for c in ledger().values() if c.verdict != "unverifiable" and c.id not in bound() and not c.measured
    ]
    assert not unbound


def test_no_test_is_bound_to_what_cannot_be_checked_or_is_unknown():
    unknown = {id_: files for id_, files in bound().items() if id_ not in ledger()}
    assert not unknown
    assert not [c.id for c in ledger().values() if c.verdict == "unverifiable" and c.id in bound()]


def test_a_claim_admits_what_is_within_its_tolerance():
    claim = row(value=100, unit="GB", tolerance=0.05)
    assert claim.admits(95)
    assert claim.admits(105)
    assert not claim.admits(94.9)
    assert not claim.admits(105.1)
    with pytest.raises(ValueError, match="states no number"):
        row().admits(1)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("{0}\n{0}", "claim 'a' appears twice"),
        ("{0}\nvalue = 3", "a value needs a unit"),
        (
            "{0}\n" + PREDICTED.format("", 3, 2, 4, "furlongs"),
            "'a': predicted: unit: expected one of ms, .* 'furlongs'",
        ),
        ("{0}\n" + PREDICTED.format("", 3, 2, 4, "x"), "a ratio needs the cell that it is over and the unit x"),
        ("{0}\n" + PREDICTED.format('over = "d"', 3, 2, 4, "ms"), "a ratio needs the cell that it is over"),
        ("{0}\n" + PREDICTED.format("", 3, 3.5, 4, "ms"), "expected 0 < low <= value <= high, found 3.5, 3, 4"),
        ("{0}\n" + PREDICTED.format("", 3, 2, 2.5, "ms"), "expected 0 < low <= value <= high, found 2, 3, 2.5"),
        ("{0}\n" + PREDICTED.format("", 0, 0, 2.5, "ms"), "expected 0 < low"),
        ("{0}\n[[claim.predicted]]\ncell = 'c'", "claim.0.: predicted.0.: missing key 'deployment'"),
        ("{0}\n" + MEASURED.format(115, "holds"), "'a': measured: 115 against 100 within 10% isn't 'holds'"),
        ("{0}\n" + MEASURED.format(109, "refuted"), "'a': measured: 109 against 100 within 10% isn't 'refuted'"),
        ("{0}\n" + MEASURED.format(109, "so so"), "claim.0.: measured.0.: verdict"),
    ],
)
def test_an_unsound_ledger_is_refused(rows, message, tmp_path):
    refused(rows.format(toml(row())), message, tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"statement": ""}, "claim 'a': statement is empty"),
        ({"where": " "}, "claim 'a': where is empty"),
        ({"found": ""}, "claim 'a': found is empty"),
        ({"tolerance": 0.1}, "claim 'a': a tolerance needs a value"),
        ({"verdict": "holds within", "value": 3, "unit": "GB"}, "'holds within' needs the tolerance"),
    ],
)
def test_a_row_of_which_something_is_left_out_is_refused(changes, message, tmp_path):
    refused(toml(row(**changes)), message, tmp_path)


def toml(claim):
    fields = {key: value for key, value in vars(claim).items() if isinstance(value, str | int | float)}
    return "[[claim]]\n" + "".join(
        f"{key} = {json.dumps(value)}\n" for key, value in fields.items() if value or key in TEXTS
    )


def refused(text, message, tmp_path):
    file = tmp_path / "ledger.toml"
    file.write_text(text)
    with pytest.raises(UsageError, match=message):
        ledger(file)


def test_the_terminal_shows_what_became_of_each_claim():
    rows = {
        "one": row(id="one", value=93, unit="GB", verdict="holds within"),
        "two": row(id="two", verdict="refuted"),
        "three": row(id="three"),
        "four": row(id="four"),
        "five": row(id="five", verdict="unverifiable"),
    }
    run = {"one": ["passed"], "two": ["passed", "failed"], "three": ["skipped"]}
    lines = claims.terminal(rows, run)
    shown = {line.split()[0]: line for line, _ in lines if line.split() and line.split()[0] in rows}
    assert {id_: line.split()[-1] for id_, line in shown.items()} == {
        "one": "checked",
        "two": "FAILED",
        "three": "skipped",
        "four": "run",
        "five": "-",
    }
    assert "93 GB" in shown["one"]
    assert [line for line, markup in lines if markup] == [shown["two"]]
    tail = [line for line, _ in lines[-2:]]
    assert tail == [
        "5 claims: 1 holds within, 1 refuted, 2 holds, 1 unverifiable",
        "this run: 1 checked, 1 FAILED, 1 skipped, 1 not run",
    ]


def test_every_row_with_numbers_that_are_generated_is_found():
    rows = sum(len(claim.predicted) + len(claim.measured) for claim in ledger().values())
    assert len(ledger_numbers.ROW.findall(LEDGER.read_text())) == rows


def test_every_run_of_the_document_on_two_cards_is_predicted():
    rows = {(one.deployment, one.cell) for claim in ledger().values() for one in claim.predicted}
    names = {
        "batch_latency": ("batch", "batch"),
        "offline_throughput": ("offline", "prompts"),
        "online_serving": ("online", "request_rate [req/s]"),
    }
    wanted = set()
    for table, (kind, column) in names.items():
        for row in document.table(table):
            if row["tensor_parallel"] == 2 and row["gpu"] in ("h100", "h200"):
                wanted.add((f"{row['gpu']}x2", f"vllm/{row['model']}/tp2/{kind}-{row[column]}"))
    assert len(wanted) == 12
    assert wanted <= rows


def test_what_is_recorded_stands_with_its_verdict_above_what_is_predicted():
    latency = Measured("h100x2", "vllm/m/tp2/batch-1", "latency", 449, 0.1, 284.5, "ms", "refuted")
    ratio = dataclasses.replace(latency, deployment="h100x1", over="vllm/m/tp1/batch-1", unit="x", stated=1, value=1.05)
    claim = row(measured=(latency, dataclasses.replace(ratio, verdict="holds")), predicted=(LATENCY,))
    assert claims.recorded(claim) == [
        "recorded on h100x2: latency 284.5 ms, stated 449 ms within 10%: refuted",
        "recorded on h100x1: latency of m/tp2/batch-1 over m/tp1/batch-1 1.05 x, stated 1 x within 10%: holds",
    ]
    assert [latency.admits(value) for value in (404, 405, 493, 495)] == [False, True, True, False]
    text = " ".join(line for line, _ in claims.terminal({"a": claim}, {}))
    assert text.index("recorded on h100x2") < text.index("predicted for vllm")


LATENCY = Predicted("h200x2", "vllm/llama-3.1-8b/tp1/batch-32", "latency", 297.7, 265.7, 1338.5, "ms")
RATIO = dataclasses.replace(LATENCY, over="vllm/llama-3.1-8b/tp1/batch-1", value=1.5, low=1.1, high=1.2, unit="x")


@functools.cache
def measured_pair():
    return synthetic_run(cells=200, noise=0.0)


def pair(**changes):
    return dataclasses.replace(measured_pair(), **{"deployment": "h200x2"} | changes)


def test_a_prediction_is_marked_as_not_measured():
    claim = row(predicted=(LATENCY, RATIO))
    for run in (None, pair(deployment="h100x2"), pair(cells=())):
        assert claims.predictions(claim, run) == [
            "predicted for vllm on h200x2, not measured: latency 297.7 ms (265.7 to 1,338.5)",
            "predicted for vllm on h200x2, not measured: latency of llama-3.1-8b/tp1/batch-32 over "
            "llama-3.1-8b/tp1/batch-1 1.5 x (1.1 to 1.2)",
        ]


def test_what_is_measured_stands_beside_what_was_predicted():
    run = pair()
    seconds = {cell.id: cell.metrics["latency"] for cell in run.cells}
    first, second = claims.predictions(row(predicted=(LATENCY, RATIO)), run)
    assert (
        first
        == f"predicted for vllm on h200x2: latency 265.7 to 1,338.5 ms, measured {seconds[LATENCY.cell] * 1e3:.4g} ms"
    )
    assert seconds[LATENCY.cell] / seconds[RATIO.over] == pytest.approx(2, rel=0.01)
    assert second.endswith("batch-1 1.1 to 1.2 x, measured 2 x, outside")


def test_what_is_recorded_stands_beside_what_was_predicted_unless_the_run_measured_it():
    known = dataclasses.replace(LATENCY, recorded=200.0)
    assert claims.predictions(row(predicted=(known,))) == [
        "predicted for vllm on h200x2: latency 265.7 to 1,338.5 ms, recorded 200 ms, outside"
    ]
    (measured,) = claims.predictions(row(predicted=(known,)), pair())
    assert "measured" in measured
    assert "recorded" not in measured


def test_boots_that_do_not_count_and_other_lengths_are_no_measurement():
    def changed(**changes):
        cells = [dataclasses.replace(c, **changes) if c.id == LATENCY.cell else c for c in pair().cells]
        return pair(cells=tuple(cells))

    cell = next(c for c in pair().cells if c.id == LATENCY.cell)
    invalid = tuple(dataclasses.replace(boot, invalid="throttled") for boot in cell.boots)
    for run in (changed(boots=invalid), changed(boots=()), changed(workload=cell.workload | {"dataset": "1f2e"})):
        assert "not measured" in claims.predictions(row(predicted=(LATENCY,)), run)[0]
    half = changed(boots=(invalid[0], cell.boots[1]))
    assert "measured" in claims.predictions(row(predicted=(LATENCY,)), half)[0]


def test_the_terminal_shows_predictions_below_what_was_found():
    lines = [line for line, _ in claims.terminal({"a": row(predicted=(LATENCY,))}, {}, pair())]
    found = next(i for i, line in enumerate(lines) if line.startswith("a "))
    assert "predicted for vllm on h200x2: latency" in lines[found + 1]
    assert "measured" in " ".join(lines[found + 1 : found + 3])

"""The reports of a run: what each says, that nothing a user named becomes markup, and that they can be made again."""

import dataclasses
import json
import re
import statistics
from html.parser import HTMLParser

import pytest

from fixtures.claims.ledger import ledger
from fixtures.errors import UsageError
from fixtures.metrics import METRICS
from fixtures.report import __main__ as command
from fixtures.report import charts, expectation, findings, html, markdown, nights, page, reports, table, terminal
from fixtures.report.nights import Point
from fixtures.store import history, run
from fixtures.store.run import BlockRecord, CellRecord, Judged, Log, Run
from fixtures.store.sample import Sample
from perf_tests.fakes.synthetic_run import routing, synthetic_history, synthetic_run
from perf_tests.paths import GOLDEN

pytestmark = pytest.mark.cpu
EVIL = "<script>alert(1)</script>|`*"
VOID = {"meta", "br", "input", "link", "img"}


def calm():
    return synthetic_run(cells=4, models=("llama-3.1-8b-twin",))


def judged(metric, outcome, **others):
    return Judged(metric, outcome, "why", METRICS[metric].tolerance, **others)


def worse():
    """Something of each outcome, under names that must not become markup."""
    block = BlockRecord(
        f"vllm/{EVIL}/tp1",
        "vllm",
        EVIL,
        1,
        "bf16",
        {"hardware": EVIL, "devices": 1, "model": {}, "engine": EVIL, "tensor_parallel": 1, "weights": EVIL},
        f"baselines/{EVIL}.json",
    )
    sample = Sample(
        "b1", "h1", "2026-03-31T02:17:00+00:00", {"latency": 0.44}, {"latency": (0.44,)}, {"engine_version": EVIL}, EVIL
    )
    slower = judged(
        "latency",
        "regression",
        value=0.44,
        baseline=0.4,
        change=0.1,
        error=0.01,
        detectable=0.06,
        known=(0.4, 0.401, 0.399),
        command=f"pytest '--cells={EVIL}'",
    )
    fewer = judged("completed", "regression", value=7.0, baseline=8.0, change=-0.125, known=(8.0,) * 3)
    open_ = judged(
        "latency",
        "inconclusive",
        value=0.43,
        baseline=0.4,
        change=0.075,
        error=0.02,
        detectable=0.09,
        known=(0.4,),
        command="pytest --cells=b",
    )
    kind = {"kind": "batch", "batch_size": 8, "input_len": 32, "output_len": 64}
    cells = (
        CellRecord(f"{block.id}/a", block.id, "a", kind, (sample,), (slower, fewer), changed=("driver 1 -> 2",)),
        CellRecord(f"{block.id}/b", block.id, "b", kind, (dataclasses.replace(sample, invalid=""),), (open_,)),
        CellRecord(f"{block.id}/c", block.id, "c", kind, (), (), error=f"it died; its last lines:\n{EVIL}\n```"),
        CellRecord(f"{block.id}/d", block.id, "d", kind, (sample,), (judged("latency", "no baseline", value=0.4),)),
    )
    return Run(
        "r1",
        "2026-03-31T02:17:00+00:00",
        EVIL,
        EVIL,
        (block,),
        cells,
        claims={"h100-memory": ("failed",)},
        remarks=(f"changed: {EVIL}",),
    )


def test_the_terminal_tells_a_regression_in_a_sentence_and_what_to_try_next():
    lines = terminal.regressions(worse())
    assert " ".join(line.strip() for line, markup in lines if markup == {"red": True}) == (
        f"regression: completed of vllm/{EVIL}/tp1/a: 8 requests -> 7 requests, -12.5%, "
        f"against 3 boots of baselines/{EVIL}.json: why "
        f"regression: latency of vllm/{EVIL}/tp1/a: 400 ms -> 440 ms, +10.0% (95%: +8.0% to +12.0%), "
        f"against 3 boots of baselines/{EVIL}.json: why"
    )
    assert max(len(line) for line, _ in lines) <= table.WIDTH
    assert [line for line, markup in lines if not markup] == [
        "",
        "  try next: Look first at what changed since the baseline: driver 1 -> 2.",
        "  try next: With --profile the engine's profiler runs on it.",
        f"  measure it again: pytest '--cells={EVIL}'",
    ]
    assert terminal.regressions(calm()) == []


def rendered(told, entries=(), points=None, logs=()):
    return html.render(page.build(told, ledger(), nights.nights(told, entries, points or {}), logs))


@pytest.fixture(scope="module")
def everything():
    """A page with every section."""
    told = synthetic_run(cells=36)
    told = dataclasses.replace(told, routing=(routing(told.cells[0]),))
    return rendered(told, synthetic_history(told, 3), logs=[Log("a", "b", False)])


class Elements(HTMLParser):
    """Counts elements and refuses those that are not closed in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.ids, self.references = [], [], set(), []
        self.feed(text)
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.tags.append(tag)
        self.ids.add(given.get("id"))
        self.references += [given[key] for key in ("href", "src", "xlink:href") if key in given]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, self.getpos()


# -- in words --------------------------------------------------------------------------------------------------------------


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
    told = dataclasses.replace(
        calm(), cells=(CellRecord("c", calm().blocks[0].id, "c", {"kind": "batch"}, (), verdicts),)
    )
    assert findings.headline(told).tone == tone
    assert findings.headline(told).sentence == sentence


def test_what_could_not_be_measured_and_a_contradicted_claim_are_bad():
    told = dataclasses.replace(calm(), claims={"x": ("passed", "failed")})
    told = dataclasses.replace(told, cells=(*told.cells, dataclasses.replace(told.cells[0], id="n", error="died")))
    assert findings.headline(told).tone == "bad"
    assert "1 cell could not be measured; 1 claim came out otherwise" in findings.headline(told).sentence


def test_findings_are_told_by_cell_the_gravest_first_with_interval_and_next_steps():
    first, second = findings.findings(worse())
    assert [one.metric for one in first.judged] == ["completed", "latency"]
    assert findings.change(first.judged[1]) == "400 ms -> 440 ms, +10.0% (95%: +8.0% to +12.0%)"
    assert first.advice[0] == "Look first at what changed since the baseline: driver 1 -> 2."
    assert second.advice[0] == "The baseline holds 1 boot: --update-baselines=append adds more."
    assert "1 boot could not decide it: --max-boots=7 allows more" in second.advice[1]


def test_worse_is_positive_whichever_way_a_metric_goes():
    assert judged("latency", "pass", change=0.1).worse == 0.1
    assert judged("output_throughput", "pass", change=0.1).worse == -0.1
    assert judged("completed", "pass", change=-0.1).worse == 0.1


@pytest.mark.parametrize(("name", "told"), [("calm", calm), ("worse", worse)])
def test_markdown_is_the_golden_one(name, told):
    before = (GOLDEN / f"report_{name}.md").read_text()
    remedy = "look at the difference; `python -m perf_tests.documentation.generate` writes it anew"
    assert markdown.markdown(told(), ledger()) == before, remedy


def test_markdown_fits_a_comment_and_leaves_out_what_matters_least():
    text = markdown.markdown(synthetic_run(cells=200, boots=3, changes={3: 0.3}), ledger())
    assert len(text) < 65_536
    assert "lines left out: report.html has them" in text
    assert text.count("| regression") == 2
    assert text.index("### regression") < text.index("<details>")
    assert len(text) > 55_000, "as much of what passed as there is room for"
    assert "| pass" in text
    assert "| recorded" not in text


# -- the page --------------------------------------------------------------------------------------------------------------


def test_nothing_that_a_user_names_becomes_markup():
    text = rendered(worse(), logs=[Log(EVIL, EVIL, True)])
    found = Elements(text)
    assert found.tags.count("script") == 1, "the page's own"
    assert text.count("&lt;script&gt;alert(1)&lt;/script&gt;") > 10
    assert "<script>alert" not in markdown.markdown(worse(), ledger()).split("```")[0]


def test_the_page_refers_to_nothing_outside_itself(everything):
    found = Elements(everything)
    assert all(one.startswith("#") and (one[1:] in found.ids) for one in found.references), found.references
    assert not re.search(r"https?://|@import|url\((?!#)", everything)
    assert "default-src 'none'" in everything


def test_sections_that_a_run_has_nothing_for_are_left_out(everything):
    ids = Elements(rendered(calm())).ids
    assert {"changed", "cells", "distributions", "environment", "everything"} <= ids
    assert not ids & {"document", "roofline", "ratio", "experts", "history", "logs"}
    assert {"document", "roofline", "ratio", "experts", "history", "claims", "logs"} <= Elements(everything).ids


def test_predictions_are_marked_in_page_and_markdown_and_a_measurement_stands_beside():
    told = synthetic_run(cells=36)
    names = {cell.id: cell.id.replace("/tp1/", "/tp2/") for cell in told.cells}
    cells = tuple(dataclasses.replace(cell, id=names[cell.id]) for cell in told.cells)
    claims = {"tp2-no-gain": ("skipped",), "latency-h200-batch-8": ("passed",)}
    told = dataclasses.replace(told, deployment="h200x2", cells=cells, claims=claims)
    (latency,) = ledger()["latency-h200-batch-8"].predicted
    boots = next(cell for cell in cells if cell.id == latency.cell).boots
    measured = statistics.median(boot.metrics["latency"] for boot in boots) * 1e3
    assert measured > latency.high, "this run is slower than any that is predicted"
    in_page = re.findall(r'<div class="predicted">(.*?)</div>', rendered(told))
    assert len(in_page) == sum(len(claim.predicted) for claim in ledger().values())
    in_markdown = [line for line in markdown.markdown(told, ledger()).splitlines() if "predicted for" in line]
    assert [line.split(":")[0] for line in in_markdown] == ["- `tp2-no-gain`"] * 2 + ["- `latency-h200-batch-8`"]
    for lines in (in_page, in_markdown):
        beside = next(line for line in lines if f"latency {latency.low:,.10g} to {latency.high:,.10g} ms" in line)
        assert beside.endswith(f"ms, measured {measured:,.4g} ms, outside")
        assert any(
            re.match("(- `tp2-no-gain`: )?predicted for vllm on h100x2: output_throughput of .* recorded", line)
            for line in lines
        )


def test_experts_are_drawn_by_layer_beside_the_band_that_the_document_calls_uniform():
    even, odd = (0.125,) * 8, (0.3, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1)
    drawn = charts.layer_strips([even, odd])
    (left, width) = map(float, re.search(r'class="band" x="([\d.]+)" y="0" width="([\d.]+)"', drawn).groups())
    rows = [
        [float(x) for x in re.findall(r"M([\d.]+) ", path)] for path in re.findall(r'dots layer" d="([^"]+)"', drawn)
    ]
    assert [len(row) for row in rows] == [8, 8]
    assert all(place == pytest.approx(left + width / 2, abs=0.1) for place in rows[0])
    assert width / 2 == pytest.approx(0.15 * (left + width / 2 - 24), abs=0.1)
    assert [left <= place <= left + width for place in rows[1]] == [False] * 8


def test_the_document_s_figures_are_drawn_with_this_run(everything):
    for title in ("Llama-3.1-8B, 32 tokens in, 64 out", "Mixtral-8x7B, 32 tokens in, 64 out"):
        assert title in everything
    assert "this run, vllm H200 TP=1" in everything


def test_change_points_are_marked_where_they_are_given():
    told = calm()
    entries = synthetic_history(told, 20)
    latency = [entry for entry in entries if entry.cell == told.cells[0].id and entry.metric == "latency"]
    point = Point(latency[10].time, 0.04, "worse", "c0009..c0010")
    text = rendered(told, entries, {(told.cells[0].id, "latency", "f00d"): (point,)})
    assert text.count('class="mark"') == 1
    assert "worse from" in text
    assert "c0009..c0010" in text
    assert "given with --change-points" in rendered(told, entries)


def test_series_that_never_vary_or_are_of_other_cells_are_not_drawn():
    told = calm()
    entries = synthetic_history(told, 3)
    drawn = nights.nights(told, [*entries, dataclasses.replace(entries[0], cell="other")], {})
    assert {one.series.metric for one in drawn} == {"latency", "tpot_p50"}


def test_a_strip_sets_worse_to_the_right_whichever_way_a_metric_goes():
    def place(metric, value):
        one = judged(metric, "pass", value=value, baseline=1.0, change=value - 1, error=0.01, known=(1.0,))
        return float(re.search(r'dots now pass" d="M([\d.]+)', charts.strip(one, (value,)))[1])

    assert place("latency", 1.04) > 100
    assert place("output_throughput", 1.04) < 100
    assert place("latency", 9.0) == place("latency", 5.0) == 195, "off the scale is at its end"


@pytest.mark.parametrize("low", [0.0005, 0.013])
@pytest.mark.parametrize("ratio", [1.5, 3, 40, 1e4])
def test_an_axis_has_some_ticks_and_not_too_many(low, ratio):
    assert 1 <= len(charts.ticks(low, low * ratio)) <= 8


# -- kept and made again ---------------------------------------------------------------------------------------------------


def test_a_run_is_kept_and_its_reports_made_again(tmp_path, capsys):
    told = calm()
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "01-vllm.log").write_text("".join(f"line {i}\n" for i in range(200)) + "\x1b[31mred\x1b[0m\n")
    history.append(tmp_path / "history.jsonl", synthetic_history(told, 3))
    reports.write(tmp_path, told)
    once = (tmp_path / "report.html").read_text()
    assert command.main([str(tmp_path)]) == 0
    assert (tmp_path / "report.html").read_text() == once
    assert "line 199\nred" in once
    assert "line 100" not in once
    assert command.main([str(tmp_path), "--history", str(tmp_path / "history.jsonl")]) == 0
    assert 'id="history"' in (tmp_path / "report.html").read_text()
    assert capsys.readouterr().out.count("report.html") == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "run.json: no such file; name the directory of a run"),
        ("{", "not valid JSON"),
        ('{"version": 9}', "version 9, this suite reads 1"),
        ('{"version": 1}', "missing key 'id'"),
    ],
)
def test_a_run_that_cannot_be_read_is_named(tmp_path, capsys, text, message):
    if text is not None:
        (tmp_path / "run.json").write_text(text)
    assert command.main([str(tmp_path)]) == 2
    assert message in capsys.readouterr().err


def test_a_run_with_an_unknown_metric_is_refused():
    text = run.text(calm()).replace('"metric": "latency"', '"metric": "speed"')
    with pytest.raises(UsageError, match="there: vllm/llama-3.1-8b-twin/tp1/batch-1: unknown metric 'speed'"):
        run.parse(text, "there")


def test_change_points_are_read_from_what_the_history_command_prints(tmp_path):
    sides = {"last_good": {"commit": "aaaa"}, "first_bad": {"commit": "bbbb", "time": "2026-03-01T00:00:00+00:00"}}
    one = {
        "cell": "c",
        "metric": "latency",
        "fingerprint": "f",
        "change_points": [{"change": 0.1, "reads": "worse", **sides}],
    }
    (tmp_path / "points.json").write_text(json.dumps({"series": [one]}))
    assert nights.read_points(tmp_path / "points.json") == {
        ("c", "latency", "f"): (Point("2026-03-01T00:00:00+00:00", 0.1, "worse", "aaaa..bbbb"),)
    }
    (tmp_path / "points.json").write_text("{}")
    with pytest.raises(UsageError, match="expected the output of"):
        nights.read_points(tmp_path / "points.json")


def test_the_figure_of_the_documents_prompts_has_no_others():
    """Neither those that are streamed nor those with longer answers."""
    run = synthetic_run(cells=1, boots=1)
    (cell,) = run.cells
    given = {"kind": "offline", "num_prompts": 150, "lengths": "fixed", "input_len": 75, "output_len": 128}
    traffic = {
        "offline-150": (given | {"stream": False}, 12_000.0),
        "offline-150-streamed": (given, 9_000.0),
        "offline-150-long": (given | {"stream": False, "output_len": 512}, 15_000.0),
    }
    cells = tuple(
        dataclasses.replace(
            cell,
            id=f"{cell.block}/{name}",
            name=name,
            workload=workload,
            boots=(dataclasses.replace(cell.boots[0], metrics={"output_throughput": rate}),),
        )
        for name, (workload, rate) in traffic.items()
    )
    (line,) = expectation.offline(dataclasses.replace(run, cells=cells))
    assert line.points == {1: 12_000.0}
    assert line.expected.keys() == {1}

"""The comment on a pull request."""

import dataclasses

import pytest

from fixtures.report import comment
from fixtures.report.comment import LINES, MARKER
from fixtures.report.reports import write
from perf_tests.fakes.reported_runs import EVIL, calm, worse
from perf_tests.fakes.synthetic_run import synthetic_run
from perf_tests.paths import ROOT

pytestmark = pytest.mark.cpu


def lines(run, link=""):
    text = comment.comment(run, link)
    assert text.endswith("\n")
    first, *others = text.splitlines()
    assert first == MARKER
    return others


def test_a_calm_run_is_two_lines():
    head, end = lines(calm(), "https://ci.example.org/1")
    assert "**moegauge" in head
    assert end.endswith("verdicts pass; [report, samples and logs](https://ci.example.org/1)")


def test_the_worst_comes_first_and_ten_lines_are_never_exceeded():
    run = synthetic_run(cells=36, boots=3, changes=dict.fromkeys(range(36), 0.3))
    found = lines(run)
    assert len(found) == LINES
    assert all(one.startswith("- ") for one in found[1:-1])
    assert "more in the report" in found[-1]
    assert found[1].startswith(("- regression", "- vllm"))


def test_names_are_escaped_and_lines_stay_lines():
    run = dataclasses.replace(worse(), deployment=f"{EVIL}\n{EVIL}")
    found = lines(run)
    assert len(found) <= LINES
    assert "<script" not in "".join(found)


def test_the_command_prints_it_and_the_workflow_looks_for_its_marker(tmp_path, capsys):
    write(tmp_path, calm())
    assert comment.main([str(tmp_path), "--link", "https://ci.example.org/1"]) == 0
    assert capsys.readouterr().out == comment.comment(calm(), "https://ci.example.org/1")
    assert comment.main([str(tmp_path / "none")]) == 2
    assert MARKER in (ROOT / ".github" / "workflows" / "pull-request.yml").read_text()

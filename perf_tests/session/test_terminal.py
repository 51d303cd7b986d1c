"""What a session prints, and that pytest's own options do what its users expect: real sessions, most on recorded results."""

import json
import os
import pty
import re
import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest

from fixtures.plugin.hooks import MARKERS
from fixtures.report.table import WIDTH
from perf_tests.documentation import evidence, screens
from perf_tests.fakes.deployments import BLOCK
from perf_tests.fakes.suite import Suite
from perf_tests.paths import ROOT

RECORDING = evidence.block("h200x1", "vllm") / "llama-3.1-8b.json"
CELL = "vllm/llama-3.1-8b/tp1/batch-8"
ITEM = f"perf_tests/serving/test_verdict.py::test_verdict[{CELL}-completed]"


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    """Plays back a recording in which a request of one cell was lost, in a pytest of its own: exit status and output."""
    directory = tmp_path_factory.mktemp("session")
    data = json.loads(RECORDING.read_text())
    (cell,) = [b for b in data["benchmarks"] if b["fullname"] == CELL]
    cell["extra_info"]["boots"][-1]["metrics"]["completed"] -= 1
    (directory / "recording").mkdir()
    (directory / "recording" / RECORDING.name).write_text(json.dumps(data))

    def run(*options, terminal=False, **variables):
        command = [
            sys.executable,
            "-m",
            "pytest",
            "perf_tests/serving",
            "-m",
            "serving",
            "--deployment=h200x1",
            f"--replay={directory / 'recording'}",
            f"--artifacts={directory / 'run'}",
            f"--cells={CELL}",
            "-o",
            f"cache_dir={directory / 'cache'}",
            "-p",
            "no:hypothesispytest",
            "-p",
            "no:anyio",
            *options,
        ]
        return (on_a_terminal if terminal else piped)(command, variables)

    return run


@pytest.fixture(scope="module")
def usual(session, tmp_path_factory):
    """A session with ``--tb=no``: exit status, output, and its JUnit file."""
    junit = tmp_path_factory.mktemp("usual") / "junit.xml"
    return *session("--tb=no", f"--junitxml={junit}"), junit


def clean(variables):
    # With CI set pytest tells a failure once more in its summary.
    given = ("NO_COLOR", "FORCE_COLOR", "CI")
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_") and k not in given}
    return kept | {"COLUMNS": "120"} | variables


def piped(command, variables):
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=clean(variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


def on_a_terminal(command, variables):
    """As :func:`piped`, on a pseudo-terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command, cwd=ROOT, env=clean(variables), stdin=theirs, stdout=theirs, stderr=theirs, close_fds=True
    )
    os.close(theirs)
    data = b""
    while True:
        try:
            chunk = os.read(ours, 65536)
        except OSError:  # the other side is closed
            break
        data += chunk
        if not chunk:
            break
    os.close(ours)
    return process.wait(), data.decode()


def summary(text):
    """The lines of the suite's own section."""
    lines = text.splitlines()
    begin = next(i for i, line in enumerate(lines) if re.fullmatch(r"=+ moegauge: h200x1 =+", line))
    end = next(i for i, line in enumerate(lines) if line.startswith("verdicts: "))
    return lines[begin + 1 : end]


@pytest.mark.faults
def test_the_start_page_shows_what_its_command_prints():
    page = screens.PAGE.read_text(encoding="utf-8")
    assert screens.filled(page) == page, (
        "look at the difference; `python -m perf_tests.documentation.generate` writes it anew"
    )


@pytest.mark.faults
def test_without_tracebacks_the_summary_still_shows_the_regression_and_fits(usual):
    status, text, _ = usual
    assert status == 1
    lines = summary(text)
    assert not [line for line in lines if len(line) > WIDTH and "measure it again: " not in line]
    shown = " ".join(" ".join(lines).split())
    assert f"regression: completed of {CELL}: 8 requests -> 7 requests, -12.5%, against " in shown
    assert "recorded earlier: 7 instead of 8" in shown
    assert f"measure it again: {sys.executable} -m pytest -m serving --deployment=h200x1 --cells={CELL}" in shown
    assert "reproduce: " not in text, "that is pytest's own account of a failure"
    assert f"FAILED {ITEM}" in text


@pytest.mark.faults
def test_junit_holds_each_verdict_and_the_reason_of_a_failure(usual):
    cases = {case.get("name"): case for case in ET.parse(usual[2]).getroot().iter("testcase")}
    failure = cases[f"test_verdict[{CELL}-completed]"].find("failure")
    assert failure.get("message").startswith(f"Failed: regression: {CELL} completed 7 requests, baseline 8 requests")
    assert f"--cells={CELL}" in failure.text
    assert not list(cases[f"test_verdict[{CELL}-output_tokens]"])
    assert not list(cases[f"test_batch[{CELL}]"].iter("failure"))


@pytest.mark.faults
def test_quiet_leaves_the_table_out(session, usual):
    status, text = session("-q", "--tb=no")
    assert status == 1
    assert "detectable  verdict" in usual[1]
    assert "detectable  verdict" not in text
    assert f"regression: completed of {CELL}: " in text
    assert re.search(r"^verdicts: \d+ pass, 1 regression\b", text, re.MULTILINE)


@pytest.mark.faults
def test_exitfirst_stops_at_a_regression_and_last_failed_runs_it_alone_and_verbose_shows_every_metric(session, usual):
    status, text = session("-x", "-v")
    assert status == 1
    assert f"{ITEM} FAILED" in text
    assert "stopping after 1 failures" in text
    assert f"test_verdict[{CELL}-output_tokens]" not in text, "it comes after"
    rows, more = ({row.split()[0] for row in summary(one) if row.startswith("  ")} for one in (usual[1], text))
    assert {"completed", "latency"} <= rows
    assert {"output_tokens", "itl_p50"} <= more - rows
    status, text = session("--lf", "-v")
    assert status == 1
    ran = re.findall(r"^(\S+)(?: <- \S+)? (?:PASSED|FAILED|SKIPPED)", text, re.MULTILINE)
    assert ran == [ITEM]


@pytest.mark.faults
def test_colour_by_verdict_on_a_terminal_unless_it_is_not_wanted(session):
    _, coloured = session("--tb=no", terminal=True)
    assert re.search(r"\x1b\[31m  completed .*regression\x1b\[0m", coloured)
    assert re.search(r"\x1b\[1m" + CELL, coloured)
    _, plain = session("--tb=no", terminal=True, NO_COLOR="1")
    assert "regression" in plain
    assert "\x1b[" not in plain


@pytest.mark.faults
def test_serving_tests_are_not_shared_out_among_processes(session):
    pytest.importorskip("xdist")
    status, text = session("-n", "1")
    assert status == 4
    assert "ERROR: -n: serving tests share a server and its cards" in text
    assert "INTERNALERROR" not in text


@pytest.mark.faults
def test_help_explains_every_option_in_one_group_and_the_markers_are_listed():
    status, text = piped([sys.executable, "-m", "pytest", "--help"], {})
    assert status == 0
    _, _, rest = text.partition("\nmoegauge: performance regression tests of LLM serving:\n")
    group = re.split(r"\n(?=\S)", rest)[0]
    options = re.split(r"\n  (?=--)", "\n" + group)[1:]
    names = {option.split()[0].partition("=")[0].rstrip("[") for option in options}
    source = "".join(path.read_text() for path in (ROOT / "fixtures" / "plugin").glob("*.py"))
    own = set(re.findall(r'add\(\s*"(--[\w-]+)"', source))
    assert own == names
    for option in options:
        assert len(option.split()) > 4, f"unexplained: {option}"
    _, text = piped([sys.executable, "-m", "pytest", "--markers"], {})
    for marker in MARKERS:
        assert f"@pytest.mark.{marker}" in text


@pytest.mark.faults
def test_a_line_for_each_cell_with_its_phase_and_time(tmp_path):
    suite = Suite(tmp_path)
    process = suite.start("--tb=no")
    command, text = process.args, suite.wait(process).text
    cells = [f"{BLOCK}/{name}" for name in ("startup", "batch-1", "batch-4")]
    measured = [
        rf"{cell}: measured \(\d+ s\); {i} of 3 cells(: all are measured|, about \d+ s left)"
        for i, cell in enumerate(cells, 1)
    ]
    for line in measured:
        assert len(re.findall(rf"^{line}$", text, re.MULTILINE)) == 1
    assert "measuring 1/3" not in text, "what passes is for a terminal"
    assert re.search(rf"^{BLOCK}: [a-zA-Z ]+ \(\d+ s\)$", text, re.MULTILINE)
    status, text = on_a_terminal(command, suite.variables | {"TMPDIR": str(suite.scratch)})
    assert status == 0
    screen = [
        re.sub(r"\x1b\[[\d;]*m", "", line).rstrip("\r").split("\r")[-1].rstrip(" .s") for line in text.split("\n")
    ]
    for one in measured:
        assert len([line for line in screen if re.fullmatch(one, line)]) == 1
    assert len([line for line in screen if line.startswith(f"{BLOCK}: ")]) == 1, "one boot, rewritten"
    assert not [line for line in screen if "measuring" in line]
    assert f"{cells[1]}: measuring 3/3" in text
    suite.assert_nothing_left()

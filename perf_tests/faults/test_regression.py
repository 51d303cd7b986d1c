"""Engines that got slower: confirmed in fresh boots, against baselines and against another engine of the same session."""

import json
import re
import shlex
import signal
import subprocess
from xml.etree import ElementTree

import pytest

from fixtures.store import history
from perf_tests.documentation.faults import fault
from perf_tests.fakes import fake_engine
from perf_tests.fakes.deployments import BLOCK
from perf_tests.paths import ROOT

SLOW = "--gap 0.04"


def outcomes(path):
    """The items of a JUnit file by outcome, with their messages."""
    found = {"passed": {}, "failure": {}, "skipped": {}}
    for case in ElementTree.parse(path).iter("testcase"):
        (child,) = [one for one in case if one.tag in found] or [None]
        name = case.get("name").replace(f"{BLOCK}/", "")
        found["passed" if child is None else child.tag][name] = "" if child is None else child.get("message")
    return found


@fault(
    "Engine",
    "slower in every boot",
    "one regression for all cells after three boots, with the command that reproduces it",
)
def test_slower_in_every_boot(judged):
    judged.boots_with(SLOW)
    junit, kept = judged.directory / "junit.xml", judged.directory / "history.jsonl"
    done = judged.run("--profile", f"--junitxml={junit}", f"--history={kept}")
    assert done.status == 1
    assert done.text.count("\nregression: ") == 1, done.text
    assert "\nregression: vllm/speed, every time and rate: worse by " in done.text
    assert f"\n  latency of {BLOCK}/batch-1: " in done.text
    items = outcomes(junit)
    assert list(items["failure"]) == ["test_cause[vllm/speed]"]
    assert "batch-1 latency" in items["failure"]["test_cause[vllm/speed]"]
    for cell in ("batch-1", "batch-4"):
        assert "told once, by test_cause[vllm/speed]" in items["skipped"][f"test_verdict[{cell}-latency]"]
        (entry,) = [one for one in history.read(kept) if one.cell.endswith(cell) and one.metric == "latency"]
        assert (entry.outcome, entry.cause) == ("regression", "vllm/speed")
    assert "### regression: vllm/speed" in (judged.artifacts / "report.md").read_text()
    assert judged.verdicts()["batch-1 latency"] == judged.verdicts()["batch-4 latency"] == "regression"
    assert judged.verdicts()["startup kv_capacity"] == judged.verdicts()["batch-1 completed"] == "pass"
    assert judged.samples().count("batch-1") == 3
    trace = judged.artifacts / "profile" / f"{BLOCK}-batch-4".replace("/", "-") / "trace.json"
    assert json.loads(trace.read_text()) == {"completions": 4}
    (command,) = re.findall(r"^  measure them again: (.*)$", done.text, re.MULTILINE)
    assert f"--cells={BLOCK}/batch-4" in shlex.split(command)
    again = [
        *shlex.split(command.replace(f"--cells={BLOCK}/batch-1 ", "")),
        f"--artifacts={judged.directory / 'again'}",
    ]
    reproduced = subprocess.run(again, cwd=ROOT, capture_output=True, text=True, check=False)
    assert reproduced.returncode == 1, reproduced.stdout
    assert f"regression: latency of {BLOCK}/batch-4: " in reproduced.stdout
    assert "batch-1" not in reproduced.stdout


@pytest.mark.faults
def test_without_the_test_of_their_cause_cells_fail_by_themselves(judged):
    judged.boots_with(SLOW)
    junit = judged.directory / "junit.xml"
    done = judged.run(f"--junitxml={junit}", "-k", "test_batch or test_verdict")
    assert done.status == 1
    assert set(outcomes(junit)["failure"]) == {"test_verdict[batch-1-latency]", "test_verdict[batch-4-latency]"}


@fault("Engine", "slower in all cells, after one boot", "inconclusive in common too; fails with --strict-verdicts")
@pytest.mark.faults
def test_one_boot_confirms_no_cause(judged):
    judged.boots_with(SLOW)
    junit = judged.directory / "junit.xml"
    done = judged.run("--max-boots=1", "--strict-verdicts", f"--junitxml={junit}")
    assert done.status == 1
    assert "test_cause[vllm/speed]" in outcomes(junit)["failure"]
    assert "cause vllm/speed is inconclusive: worse by " in done.text
    assert judged.run("--max-boots=1").status == 0


def assert_judged_alike(suite, done):
    """A run that is judged again, by the same code, comes to what it came to; nothing is measured for it."""
    booted, before = len(fake_engine.boots(suite.engine)), suite.verdicts()
    again = suite.judge_again()
    assert again.status == done.status, again.text
    assert suite.verdicts() == before
    told = [
        re.findall(r"^(?:regression: \S+ of \S+|regression: \S+,|causes: .*)", one.text, re.MULTILINE)
        for one in (done, again)
    ]
    assert told[0] == told[1]
    assert len(fake_engine.boots(suite.engine)) == booted


@fault("Engine", "slower in one boot", "measured again in a fresh boot: pass")
def test_slower_in_one_boot(judged):
    judged.boots_with(SLOW, "")
    done = judged.run("--profile")
    assert done.status == 0, done.text
    assert judged.verdicts()["batch-1 latency"] == "pass"
    assert 2 <= judged.samples().count("batch-1") <= 5
    assert not (judged.artifacts / "profile").exists()
    assert_judged_alike(judged, done)


@fault("Engine", "one that is compared is slower", "regression of the candidate; both boot in turn")
def test_the_slower_of_two_engines(suite):
    candidate = fake_engine.build(suite.directory / "candidate", SLOW)
    done = suite.run(f"--compare-engine-env=vllm={candidate}", "--profile")
    assert done.status == 1
    assert suite.verdicts()["batch-1 latency"] == "regression"
    (grew,) = (suite.artifacts / "profile").glob("*-batch-1/difference.txt")
    _, rule, first, *_ = grew.read_text().partition("\n\n")[2].splitlines()
    assert set(rule) == {"-", " "}
    assert "aten::mm" in first
    assert f"profile of {BLOCK}/batch-1: {grew}" in done.text
    assert suite.verdicts()["startup kv_capacity"] == "pass"
    assert f"baseline is this session's engine, value the candidate: vllm of {candidate}" in done.text
    lines = [json.loads(line) for line in (suite.artifacts / "samples.jsonl").read_text().splitlines()]
    order = [line["candidate"] for line in lines if line["cell"].endswith("batch-1")]
    assert order[:6] == [False, True, True, False, False, True]
    assert len({line["boot"] for line in lines}) == len(order)
    assert "The candidate costs " in " ".join(done.text.split())
    assert "decide by " in " ".join(done.text.split())
    assert "### May we upgrade?" in (suite.artifacts / "report.md").read_text()
    assert '<section id="upgrade">' in (suite.artifacts / "report.html").read_text()
    assert_judged_alike(suite, done)
    assert "### May we upgrade?" in (suite.artifacts / "report.md").read_text()
    assert "regression" not in set(suite.judge_again("--max-boots=1") and suite.verdicts().values())


@pytest.mark.faults
def test_two_engines_that_are_up_at_the_same_time(suite):
    """Both are booted afresh for each pair, in turn first, and neither is stopped while the other is measured."""
    candidate = fake_engine.build(suite.directory / "candidate", SLOW)
    done = suite.run(f"--compare-engine-env=vllm={candidate}", "--side-by-side")
    assert done.status == 1, done.text
    assert suite.verdicts()["batch-1 latency"] == "regression"
    lines = [json.loads(line) for line in (suite.artifacts / "samples.jsonl").read_text().splitlines()]
    own = [line for line in lines if line["cell"].endswith("batch-1")]
    assert [line["candidate"] for line in own][:6] == [False, True, True, False, False, True]
    assert len({line["boot"] for line in own}) == len(own)
    by_boot = {line["boot"]: {one["cell"] for one in lines if one["boot"] == line["boot"]} for line in own}
    assert len(set(map(frozenset, by_boot.values()))) == 1, "every boot measures all cells"
    order = [line["candidate"] for line in lines]
    assert order[:6] == [False, True] * 3, "cell by cell"
    assert_judged_alike(suite, done)


@fault("Run", "a comparison that is interrupted", "what was measured of it is judged by --replay")
def test_an_interrupted_comparison_is_judged_afterwards(suite):
    candidate = fake_engine.build(suite.directory / "candidate", SLOW)
    run = suite.start(f"--compare-engine-env=vllm={candidate}", "--max-boots=5")
    suite.await_samples(20)  # three pairs of three cells, and a part of the fourth
    run.send_signal(signal.SIGINT)
    done = suite.wait(run)
    assert done.status == 2, done.text
    (printed,) = re.findall(r"this judges what was measured: (.*)$", done.text, re.MULTILINE)
    made = suite.directory / "made"
    as_printed = [*shlex.split(printed), f"--artifacts={made}", "--max-boots=1"]
    judged = subprocess.run(as_printed, cwd=ROOT, capture_output=True, text=True, check=False)
    assert judged.returncode == 0, judged.stdout + judged.stderr
    assert "verdicts: " in judged.stdout
    again = suite.judge_again()
    assert again.status == 1, again.text
    assert suite.verdicts()["batch-1 latency"] == "regression"
    assert suite.verdicts()["startup kv_capacity"] == "pass"
    assert "measure it again" not in again.text, "how it was measured is not known"
    assert "The candidate costs " in " ".join(again.text.split())
    over = suite.run_here(f"--replay={suite.artifacts}")
    assert (over.status, "holds the run that is judged again: give another" in over.text) == (4, True), over.text


@pytest.mark.faults
@pytest.mark.parametrize("options", ["--crash", "--fault http-500 --after 2"])
def test_a_candidate_that_fails_beside_the_other(suite, options):
    candidate = fake_engine.build(suite.directory / "candidate", options)
    done = suite.run(f"--compare-engine-env=vllm={candidate}", "--side-by-side", "--strict-verdicts")
    assert done.status == 1
    assert "inconclusive" in suite.verdicts().values()
    assert "regression" not in suite.verdicts().values()
    lines = [json.loads(line) for line in (suite.artifacts / "samples.jsonl").read_text().splitlines()]
    own = [line["cell"].rpartition("/")[2] for line in lines if not line["candidate"]]
    assert own == ["startup", "batch-1", "batch-4"], "what the other engine measured is kept"


def control_of(suite, release, *boots):
    """A control engine whose packages say that they are of a release, and which serves as told."""
    found = fake_engine.build(suite.directory / "control", *boots)
    (named,) = found.glob("vllm-*.dist-info")
    named.rename(found / f"vllm-{release}.dist-info")
    return found


@fault("Machine", "slower, be the engine what it was", "pass beside a control engine, and by how much it is slower")
def test_a_slow_machine_beside_a_control_engine(judged):
    judged.boots_with(SLOW)
    control = control_of(judged, "0.0.1", SLOW)
    done = judged.run(f"--control-engine-env=vllm={control}")
    assert done.status == 0, done.text
    assert judged.verdicts()["batch-1 latency"] == judged.verdicts()["batch-4 latency"] == "pass"
    assert f"control engine vllm 0.0.1 of {control}: batch-1, batch-4 of {BLOCK}, judged by pairs" in done.text
    assert " slower than the baseline's in batches" in done.text
    lines = [json.loads(line) for line in (judged.artifacts / "samples.jsonl").read_text().splitlines()]
    assert [line["cell"].rpartition("/")[2] for line in lines if line.get("control")][:2] == ["batch-1", "batch-4"]
    assert judged.samples()[:3] == ["startup", "batch-1", "batch-4"]
    assert_judged_alike(judged, done)


@pytest.mark.faults
def test_a_slow_machine_with_the_control_engine_up_at_the_same_time(judged):
    judged.boots_with(SLOW)
    done = judged.run(f"--control-engine-env=vllm={control_of(judged, '0.0.1', SLOW)}", "--side-by-side")
    assert done.status == 0, done.text
    assert judged.verdicts()["batch-1 latency"] == judged.verdicts()["batch-4 latency"] == "pass"
    lines = [json.loads(line) for line in (judged.artifacts / "samples.jsonl").read_text().splitlines()]
    assert [line["cell"].rpartition("/")[2] for line in lines][:5] == ["startup", *["batch-1"] * 2, *["batch-4"] * 2]
    assert [bool(line.get("control")) for line in lines][:5] == [False, False, True, False, True]


@pytest.mark.faults
def test_a_control_engine_that_dies_beside_tonights_leaves_the_verdicts_to_the_baseline(judged):
    judged.boots_with(SLOW)
    control = control_of(judged, "0.0.1", "--fault http-500 --after 2")
    done = judged.run(f"--control-engine-env=vllm={control}", "--side-by-side", "-k", "batch-1")
    assert done.status == 1, done.text
    assert judged.verdicts()["batch-1 latency"] == "regression"


@fault("Engine", "slower than a control engine of the baseline's release", "regression, by pairs of boots")
def test_an_engine_that_is_slower_than_the_control(judged):
    judged.boots_with(SLOW)
    done = judged.run(f"--control-engine-env=vllm={control_of(judged, '0.0.1')}")
    assert done.status == 1
    assert judged.verdicts()["batch-1 latency"] == "regression"
    assert "3 pairs of boots" in (judged.artifacts / "run.json").read_text()
    assert_judged_alike(judged, done)


@pytest.mark.faults
def test_a_control_engine_that_does_not_boot_leaves_the_verdicts_to_the_baseline(judged):
    judged.boots_with(SLOW)
    done = judged.run(f"--control-engine-env=vllm={control_of(judged, '0.0.1', '--crash')}", "-k", "batch-1")
    assert done.status == 1, done.text
    assert judged.verdicts()["batch-1 latency"] == "regression", "confirmed in further boots of tonight's engine alone"
    assert "measured nothing: the server ended with status 1 while loading weights" in done.text
    assert "could not be measured" not in done.text


@pytest.mark.faults
def test_a_control_engine_of_another_release_is_refused_before_anything_boots(judged):
    done = judged.run(f"--control-engine-env=vllm={control_of(judged, '0.0.9')}")
    assert done.status == 4
    assert " is 0.0.9, " in done.text
    assert " is of 0.0.1: give that release" in done.text
    assert not (judged.artifacts / "samples.jsonl").exists()


@fault(
    "Engine",
    "the candidate of a comparison does not boot",
    "inconclusive, with the cause; the other's results are kept",
)
@pytest.mark.faults
def test_a_candidate_that_does_not_boot(suite):
    candidate = fake_engine.build(suite.directory / "candidate", "--crash")
    done = suite.run(f"--compare-engine-env=vllm={candidate}", "--strict-verdicts")
    assert done.status == 1
    assert set(suite.verdicts().values()) == {"inconclusive"}
    assert "the server ended with status 1 while loading weights" in done.text
    assert suite.samples() == ["startup", "batch-1", "batch-4"]


@pytest.mark.faults
def test_options_of_the_engine_are_compared_too(suite):
    done = suite.run("--compare-engine-options=vllm=--max-num-seqs 64", "-k", "batch-1")
    assert done.status == 0, done.text
    assert "value the candidate: vllm with --max-num-seqs 64" in done.text


@pytest.mark.cpu
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--compare-engine-env=tgi=x"], "--compare-engine-env: unknown engine 'tgi'"),
        (["--compare-engine-env=vllm=/nowhere"], "--engine-env vllm=/nowhere: no such directory"),
        (["--compare-engine-options=vllm=--x", "--update-baselines"], "leave out --update-baselines"),
        (["--control-engine-env=vllm=/nowhere"], "--control-engine-env vllm=/nowhere: no such directory"),
        (["--control-engine-env=sglang=."], "deployment 'fake' has no engine 'sglang'; expected one of vllm"),
    ],
)
def test_a_comparison_that_cannot_be_made_is_refused(suite, options, message):
    done = suite.run_here(*options)
    assert done.status == 4
    assert message in done.text

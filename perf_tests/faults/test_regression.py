"""Engines that got slower: confirmed in fresh boots, against baselines and against another engine of the same session."""

import json
import re
import shlex
import subprocess

import pytest

from perf_tests.documentation.faults import fault
from perf_tests.fakes import fake_engine
from perf_tests.fakes.deployments import BLOCK
from perf_tests.paths import ROOT

SLOW = "--gap 0.04"


@fault("Engine", "slower in every boot", "regression after three boots, with the command that reproduces it")
def test_slower_in_every_boot(judged):
    judged.boots_with(SLOW)
    done = judged.run("--profile")
    assert done.status == 1
    assert done.text.count(f"regression: latency of {BLOCK}/batch-1: ") == 1
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


@fault("Engine", "slower in one boot", "measured again in a fresh boot: pass")
def test_slower_in_one_boot(judged):
    judged.boots_with(SLOW, "")
    done = judged.run("--profile")
    assert done.status == 0, done.text
    assert judged.verdicts()["batch-1 latency"] == "pass"
    assert 2 <= judged.samples().count("batch-1") <= 5
    assert not (judged.artifacts / "profile").exists()


@fault("Engine", "one that is compared is slower", "regression of the candidate; both boot in turn")
def test_the_slower_of_two_engines(suite):
    candidate = fake_engine.build(suite.directory / "candidate", SLOW)
    done = suite.run(f"--compare-engine-env=vllm={candidate}")
    assert done.status == 1
    assert suite.verdicts()["batch-1 latency"] == "regression"
    assert suite.verdicts()["startup kv_capacity"] == "pass"
    assert f"baseline is this session's engine, value the candidate: vllm of {candidate}" in done.text
    lines = [json.loads(line) for line in (suite.artifacts / "samples.jsonl").read_text().splitlines()]
    order = [line["candidate"] for line in lines if line["cell"].endswith("batch-1")]
    assert order[:6] == [False, True, True, False, False, True]
    assert len({line["boot"] for line in lines}) == len(order)


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
    ],
)
def test_a_comparison_that_cannot_be_made_is_refused(suite, options, message):
    done = suite.run_here(*options)
    assert done.status == 4
    assert message in done.text

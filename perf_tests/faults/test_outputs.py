"""Engines that are as fast as ever, and answer something else."""

import json
import subprocess
import sys

import pytest

from perf_tests.documentation.faults import fault
from perf_tests.fakes.deployments import BLOCK, FAKE
from perf_tests.fakes.suite import Suite
from perf_tests.paths import ROOT

FOUND = f"regression: output_difference of {BLOCK}/outputs: 0.2 nats"
ASKED = FAKE.replace("outputs = false", "outputs = true")


@pytest.fixture
def asked(tmp_path):
    """A suite whose servers are asked for outputs, with a baseline of them."""
    suite = Suite(tmp_path, ASKED)
    done = suite.run("--update-baselines", "--cells=*/startup")
    assert done.status == 0, done.text
    assert set(suite.stored()) == {"startup", "outputs"}, "outputs are asked for with any cell of a server"
    yield suite
    suite.assert_nothing_left()


@fault("Engine", "answers otherwise than its baseline, as fast as ever", "regression by its outputs, in one boot")
def test_a_fast_wrong_engine(asked):
    asked.boots_with("--off 0.2")
    done = asked.run("--cells=*/startup")
    assert done.status == 1
    assert FOUND in done.text
    assert "at most 0.02 nats is right" in " ".join(done.text.split())
    assert asked.verdicts()["outputs output_difference"] == "regression"
    assert asked.verdicts()["outputs output_others"] == asked.verdicts()["startup kv_capacity"] == "pass"


@pytest.mark.faults
def test_the_same_answers_pass_and_small_differences_too(asked):
    asked.boots_with("--off 0.01")
    done = asked.run("--cells=*/startup", "--strict-baselines")
    assert done.status == 0, done.text
    assert asked.verdicts()["outputs output_difference"] == "pass"


@fault(
    "Engine", "answers otherwise while baselines are written", "its block's baseline stays as it was, with the remedy"
)
@pytest.mark.parametrize("how", ["--update-baselines", "--update-baselines=append"])
def test_no_baseline_is_written_of_a_wrong_engine(asked, how):
    before = asked.baseline().read_bytes()
    asked.boots_with("--off 0.2")
    done = asked.run("--cells=*/startup", how)
    assert done.status == 1
    assert FOUND in done.text
    assert asked.baseline().read_bytes() == before
    assert "if the outputs are meant to change, remove the file first" in " ".join(done.text.split())
    accept = [sys.executable, "-m", "fixtures.store.accept", str(asked.artifacts), f"--baselines={asked.baselines}"]
    accepted = subprocess.run(accept, cwd=ROOT, capture_output=True, text=True, check=False)
    assert accepted.returncode == 2
    assert "a boot that answers wrongly is no baseline" in accepted.stderr
    assert asked.baseline().read_bytes() == before


@fault("Engine", "answers otherwise in a fresh boot only", "regression: what a boot served wrongly, it served")
def test_a_later_boot_that_answers_wrongly(tmp_path):
    suite = Suite(tmp_path, ASKED)
    for _ in range(3):  # a busy machine makes a cell invalid now and then
        done = suite.run("--update-baselines")
        if done.status == 0 and len(suite.stored()) == 4:
            break
    suite.boots_with("--gap 0.04", "--off 0.2")
    done = suite.run()
    assert done.status == 1
    assert FOUND in done.text
    assert suite.samples().count("outputs") >= 2
    lines = [json.loads(line) for line in (suite.artifacts / "samples.jsonl").read_text().splitlines()]
    found = [line["metrics"].get("output_difference") for line in lines if line["cell"].endswith("/outputs")]
    found = [one for one in found if one is not None]  # of those runs that had a baseline
    assert found[:2] == [0, pytest.approx(0.2)]
    suite.assert_nothing_left()


@fault("Engine", "tells no probabilities of tokens", "the cell fails and says so; all others are measured")
def test_a_server_that_tells_no_probabilities(asked):
    asked.boots_with("--no-logprobs")
    done = asked.run("--cells=*/startup")
    assert done.status == 1
    assert "no log-probabilities in the answer" in done.text
    assert asked.verdicts()["outputs output_difference"] == "inconclusive"
    assert asked.verdicts()["startup kv_capacity"] == "pass"

"""Whole sessions in which many cells are worse: which items fail, and what exit status, JUnit and reports say.

On recorded boots of one H200, of which the last were changed.
"""

import json
from xml.etree import ElementTree

import pytest

from fixtures.demo import __main__ as demo
from perf_tests.fakes.suite import Suite

pytestmark = pytest.mark.cpu


def slower_host(cell, metrics):
    """0.3 ms more in every decode step of both models."""
    if "tpot_p50" in metrics:
        metrics["tpot_p50"] += 3e-4
    if "latency" in metrics:
        metrics["latency"] += 3e-4 * (cell["extra_info"]["workload"]["output_len"] - 1)


def slower_experts_and_more_memory(cell, metrics):
    """The mixture's steps take 8% longer, and weights of both models 3% more."""
    if "mixtral" in cell["fullname"] and "tpot_p50" in metrics:
        metrics["tpot_p50"] *= 1.08
        metrics |= {"latency": metrics["latency"] * 1.08} if "latency" in metrics else {}
    if "weight_memory" in metrics:
        metrics["weight_memory"] *= 1.03
        metrics["startup_memory"] *= 1.1
        metrics["kv_capacity"] *= 0.9


def nothing(cell, metrics):
    """As it was."""


@pytest.fixture
def night(tmp_path):
    """A session on recorded boots of which those of tonight were changed: its end, and its items by outcome."""
    suite = Suite(tmp_path)
    recording = tmp_path / "recorded"
    recording.mkdir()

    def run(change, *options):
        for path in sorted(demo.RECORDED.glob("*.json")):
            made = demo.with_night(json.loads(path.read_text()), 1.0)
            for cell in made["benchmarks"]:
                for boot in cell["extra_info"]["boots"][-demo.NIGHT :]:
                    change(cell, boot["metrics"])
            (recording / path.name).write_text(json.dumps(made))
        junit = tmp_path / "junit.xml"
        asked = [f"--max-boots={demo.NIGHT}", f"--junitxml={junit}", "-k", "test_verdict or test_cause", *options]
        done = suite.replay(recording, demo.DEPLOYMENT, *asked)
        items = {"passed": {}, "failure": {}, "skipped": {}}
        for case in ElementTree.parse(junit).iter("testcase"):
            kind = next((one for one in case if one.tag in items), None)
            items["passed" if kind is None else kind.tag][case.get("name")] = kind
        return done, items, suite

    return run


def told_once(items, cause):
    """The verdicts whose items say that a cause tells them."""
    return [
        name for name, one in items["skipped"].items() if f"told once, by test_cause[{cause}]" in one.get("message")
    ]


def test_a_shift_of_all_cells_fails_one_item(night):
    done, items, suite = night(slower_host)
    assert done.status == 1, done.text
    assert list(items["failure"]) == ["test_cause[vllm/decode]"]
    assert "\nregression: vllm/decode, time of a decode step: worse by " in done.text
    told = [name for name in told_once(items, "vllm/decode") if name.startswith("test_verdict")]
    assert len(told) > 5
    assert "the host, not the card" in " ".join(done.text.partition("\nregression: ")[2].split())
    run = json.loads((suite.artifacts / "run.json").read_text())
    causes = {judged["metric"] for cell in run["cells"] for judged in cell["judged"] if judged["cause"]}
    assert causes == {"tpot_p50", "latency"}, "latency is a sum of which decode is a part"


def test_two_causes_at_once_fail_two_items(night):
    done, items, _ = night(slower_experts_and_more_memory)
    assert done.status == 1
    assert set(items["failure"]) == {"test_cause[vllm/moe]", "test_cause[vllm/memory]"}
    assert done.text.count("\nregression: ") == 2
    assert told_once(items, "vllm/memory")
    assert told_once(items, "vllm/moe")


def test_without_a_change_nothing_fails_and_strict_verdicts_do_not_change_that(night):
    done, items, _ = night(nothing, "--strict-verdicts")
    assert done.status == 0, done.text
    assert items["failure"] == {}
    assert "causes: 0 told of " in done.text


def test_what_could_not_be_confirmed_fails_a_strict_session(night):
    done, items, _ = night(slower_host, "--max-boots=1", "--strict-verdicts")
    assert done.status == 1
    assert "test_cause[vllm/decode]" in items["failure"]
    relaxed, items, _ = night(slower_host, "--max-boots=1")
    assert relaxed.status == 0, relaxed.text
    assert "test_cause[vllm/decode]" in items["skipped"]

"""The demo: recorded boots of which some are slowed go through gate, verdicts and report."""

import json

import pytest

from fixtures.demo import __main__ as demo
from fixtures.gate.verdict import Outcome
from perf_tests.documentation import demo_recording, screens
from perf_tests.fakes.commands import run_here

pytestmark = pytest.mark.cpu


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    """The demo as it is: its session and how that ended."""
    directory = tmp_path_factory.mktemp("demo")
    demo.prepare(directory / "recorded", demo.FACTOR)
    return demo.play(directory / "recorded", directory / "artifacts")


def test_what_is_slowed_is_found_and_nothing_else(played):
    config, finished = played
    regressed = {
        cell for (cell, _), verdict in config.session.verdicts.items() if verdict.outcome is Outcome.REGRESSION
    }
    timed = ("batch-1", "batch-8", "batch-32", "offline-150", "online-4")
    assert regressed == {f"vllm/{demo.SLOWED}/tp1/{name}" for name in timed}
    others = {v.outcome for (cell, _), v in config.session.verdicts.items() if cell not in regressed}
    assert others == {Outcome.PASS}
    changed = "changed since the baseline: engine version 0.26.0 -> 0.26.0+slowed"
    assert changed in [remark.text for remark in finished.remarks]
    assert (config.artifacts / "report.html").stat().st_size > 100_000


def test_a_suspicion_takes_the_recorded_boots_one_after_the_other(played):
    config, _ = played
    recorded = json.loads((demo.RECORDED / f"{demo.SLOWED}.json").read_text())
    for entry in recorded["benchmarks"]:
        (cell,) = [cell for cell in config.cells if cell.id == entry["fullname"]]
        own, known = [boot["boot"] for boot in entry["extra_info"]["boots"]], config.session.boots[cell]
        night = [f"{boot}-again" for boot in own[-demo.NIGHT :]]
        assert [boot.boot for boot in known] == night[: len(known)]
        earlier, _ = config.session.judge.reference.boots(cell)
        assert [boot.boot for boot in earlier] == own
        if cell.workload.kind != "startup":
            assert len(known) > 1, "a suspicion takes further boots"


def test_times_grow_rates_fall_and_what_is_no_time_stays():
    path = demo.RECORDED / f"{demo.SLOWED}.json"
    before, after = json.loads(path.read_text()), demo.with_night(json.loads(path.read_text()), 2.0)
    seen = set[str]()
    for cell, other in zip(before["benchmarks"], after["benchmarks"], strict=True):
        boots, more = cell["extra_info"]["boots"], other["extra_info"]["boots"]
        assert more[: len(boots)] == boots
        for boot, slower in zip(boots[-demo.NIGHT :], more[len(boots) :], strict=True):
            ratios = {name: slower["metrics"][name] / value for name, value in boot["metrics"].items() if value}
            assert {ratios[name] for name in ratios.keys() & {"latency", "tpot_p50", "ttft_p99", "boot_time"}} <= {2.0}
            assert ratios.get("output_throughput", 0.5) == 0.5
            same = {"completed", "peak_memory", "weight_memory", "send_lag_p99", "latency_to_dense"}
            assert {ratios[name] for name in ratios.keys() & same} <= {1.0}
            assert slower["provenance"]["engine_version"] == "0.26.0+slowed"
            seen |= ratios.keys()
    assert {"latency", "boot_time", "output_throughput", "completed", "send_lag_p99", "latency_to_dense"} <= seen


def test_without_a_slowdown_nothing_regresses_and_the_report_is_named(tmp_path):
    done = run_here(demo.main, "--factor=1", f"--artifacts={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert "regression" not in done.stdout
    assert done.stdout.endswith(f"the report to look at: {tmp_path / 'report.html'}\n")
    assert "--profile" not in done.stdout


@pytest.mark.parametrize("factor", ["0.9", "nan", "inf", "fast"])
def test_a_factor_that_slows_nothing_down_is_refused(factor):
    done = run_here(demo.main, f"--factor={factor}")
    assert done.returncode == 2
    assert f"expected 1 or more, as 1.1 for 10% slower, found '{factor}'" in done.stderr


@pytest.mark.documentation
@pytest.mark.parametrize("model", demo_recording.MODELS)
def test_the_boots_are_those_of_the_evidence(model):
    assert (demo_recording.DIRECTORY / f"{model}.json").read_text() == demo_recording.text(model)


@pytest.mark.documentation
def test_readme_shows_what_the_demo_prints():
    page = screens.README.read_text(encoding="utf-8")
    assert screens.demonstrated(page) == page, "`python -m perf_tests.documentation.generate README.md` writes it anew"

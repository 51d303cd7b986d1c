"""Whole runs that boot with empty caches, and again with what that left: what is kept, judged, and left behind."""

import json
import signal

import pytest

from fixtures.engines.registry import ENGINES
from perf_tests.documentation.faults import fault
from perf_tests.fakes import fake_engine
from perf_tests.fakes.deployments import BLOCK, head, workload
from perf_tests.fakes.waiting import wait_until

GATED = ["kv_capacity", "cold_kv_capacity", "warm_kv_capacity"]
CELLS = workload("startup", "startup") + workload("cold-startup", "cold-startup")
DEPLOYMENT = head(max_model_len=256, boot_timeout=30, gated=GATED) + CELLS
# Tokens of KV cache that a boot has less that compiles, and what it has else.
LESS, TOKENS = 1024, 16_384


@pytest.fixture
def cold(suite):
    """A suite of a startup and a cold-startup cell, whose engine compiles and keeps that."""
    suite.deployment.write_text(DEPLOYMENT)
    suite.boots_with("--compiles 0")
    return suite


def samples(suite):
    """The samples of cold-startup, from the run's own record."""
    lines = [json.loads(line) for line in (suite.artifacts / "samples.jsonl").read_text().splitlines()]
    return [line for line in lines if line["cell"].endswith("/cold-startup")]


@pytest.mark.faults
def test_the_cold_boot_finds_no_caches_and_the_warm_one_what_it_left(cold):
    cold.boots_with(f"--compiles {LESS}")
    done = cold.run("--update-baselines")
    assert done.status == 0, done.text
    assert f"{BLOCK}/cold-startup: measured" in done.text
    assert "2 of 2 cells" in done.text
    assert cold.samples() == ["startup", "cold-startup"]
    (sample,) = samples(cold)
    found = sample["metrics"]
    assert (found["cold_kv_capacity"], found["warm_kv_capacity"]) == (TOKENS - LESS, TOKENS)
    assert found["cold_kv_cost"] == pytest.approx(LESS / TOKENS)
    assert (found["cold_compile_time"], found["warm_compile_time"]) == (4.0, 0.5)
    assert (found["cold_files"], found["warm_files"]) == (len(ENGINES["vllm"].releases.caches), 0)
    assert found["cold_boot_time"] > 0 < found["warm_boot_time"]
    assert not set(ENGINES["vllm"].releases.caches) & set(sample["provenance"].get("environment", {}))
    assert set(cold.stored()) == {"startup", "cold-startup"}
    assert len(fake_engine.boots(cold.engine)) == 3
    again = cold.run()
    assert again.status == 0, again.text
    assert {cold.verdicts()[f"cold-startup {name}"] for name in GATED[1:]} == {"pass"}
    booted = len(fake_engine.boots(cold.engine))
    replayed = cold.run(f"--replay={cold.baselines}")
    assert replayed.status == 0, replayed.text
    assert cold.verdicts()["cold-startup cold_kv_capacity"] == "no baseline", "the recording has no earlier boot"
    assert f" {TOKENS - LESS:,} tokens " in (cold.artifacts / "report.md").read_text()
    assert len(fake_engine.boots(cold.engine)) == booted


@pytest.mark.faults
def test_less_kv_cache_after_a_cold_boot_is_a_regression_which_cold_boots_alone_confirm(cold):
    assert cold.run("--update-baselines").status == 0
    cold.boots_with(f"--compiles {LESS}")
    done = cold.run()
    assert done.status == 1, done.text
    assert f"regression: cold_kv_capacity of {BLOCK}/cold-startup: " in done.text
    assert cold.verdicts()["cold-startup warm_kv_capacity"] == cold.verdicts()["startup kv_capacity"] == "pass"
    assert cold.samples()[2:] == ["startup", *["cold-startup"] * 3], "beside those of the baseline"
    assert len(fake_engine.boots(cold.engine)) == 1 + 3 * 2


@pytest.mark.faults
def test_sglang_has_caches_of_its_own(cold):
    text = DEPLOYMENT.replace('["vllm"]', '["sglang"]').replace("[[models]]", "kv_cache_gib = 1\n[[models]]", 1)
    cold.deployment.write_text(text)
    done = cold.run(f"--engine-env=sglang={cold.engine}")
    assert done.status == 0, done.text
    ((found),) = [one["metrics"] for one in samples(cold)]
    assert (found["cold_capture_time"], found["warm_capture_time"]) == (2.5, 0.5)
    assert (found["cold_files"], found["warm_files"]) == (len(ENGINES["sglang"].releases.caches), 0)


@pytest.mark.faults
def test_two_engines_are_cold_and_warm_in_turn_but_not_side_by_side(cold):
    candidate = fake_engine.build(cold.directory / "candidate", f"--compiles {LESS}")
    compared = f"--compare-engine-env=vllm={candidate}"
    done = cold.run(compared)
    assert done.status == 1, done.text
    assert cold.verdicts()["cold-startup cold_kv_capacity"] == "regression"
    assert cold.verdicts()["cold-startup warm_kv_capacity"] == "pass"
    assert "not written" not in done.text, done.text
    own = [line["candidate"] for line in samples(cold)]
    assert own[:4] == [False, True, True, False]
    refused = cold.run_here(compared, "--side-by-side")
    assert refused.status == 4
    assert f"--side-by-side: {BLOCK}/cold-startup is measured while nothing else is up" in refused.text


@pytest.mark.faults
def test_models_that_are_measured_in_turn_boot_no_more_often_than_elsewhere(cold):
    models = head(["llama-3.1-8b-twin", "mixtral-8x7b-twin"], in_turn=True, max_model_len=256, gated=GATED)
    cold.deployment.write_text(models + 'dense_reference = "llama-3.1-8b-twin"\n' + CELLS)
    done = cold.run()
    assert done.status == 0, done.text
    assert len(fake_engine.boots(cold.engine)) == 2 + 2 * 2


@pytest.mark.faults
def test_alone_in_a_run_an_ordinary_boot_of_each_engine_reads_the_disk_first(cold):
    candidate = fake_engine.build(cold.directory / "candidate", "--compiles 0")
    done = cold.run(f"--compare-engine-env=vllm={candidate}", "--cells=*/cold-startup")
    assert done.status == 0, done.text
    assert [len(fake_engine.boots(one)) for one in (cold.engine, candidate)] == [1 + 2, 1 + 2]


@pytest.mark.parametrize(
    ("boots", "which"),
    [
        pytest.param(
            ("", "--crash"),
            "cold",
            marks=fault("Server", "dies at a cold boot", "its cell fails, and no cache is left", "everything else"),
        ),
        pytest.param(
            ("", "--compiles 0", "--crash"),
            "warm",
            marks=fault("Server", "dies at the warm boot after it", "as at the cold one", "everything else"),
        ),
    ],
)
def test_a_boot_that_fails_is_named_and_its_caches_are_removed(cold, boots, which):
    cold.boots_with(*boots)
    done = cold.run()
    assert done.status == 1
    assert f"{BLOCK}/cold-startup: {which} boot: the server ended with status 1 while loading weights" in done.text
    assert cold.samples() == ["startup"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@fault("Host", "Ctrl-C in a cold boot, or a cancelled job", "ends at once, and no cache is left", "everything measured")
def test_a_run_that_is_ended_leaves_no_caches(cold, number):
    cold.boots_with("", "--compiles 0 --boot 600")
    run = cold.start()
    wait_until(lambda: len(fake_engine.boots(cold.engine)) == 2 and list(cold.scratch.glob("*/*/kernel")))
    run.send_signal(number)
    done = cold.wait(run)
    assert done.status == 2, done.text
    assert cold.samples() == ["startup"]

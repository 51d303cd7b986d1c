"""Whole runs on both engines, and on a server that speaks either protocol and wants a key."""

import json
import os

import pytest

from perf_tests.documentation.faults import fault
from perf_tests.fakes.deployments import FAKE
from perf_tests.fakes.server_process import mock_server

KEY = "sk-AbCdEf0123456789"


@pytest.mark.faults
def test_both_engines_are_measured_by_the_same_cells_and_set_side_by_side(suite):
    text = FAKE.replace('["vllm"]', '["vllm", "sglang"]')
    text = text.replace("[[models]]", "kv_cache_gib = 1\n[[models]]", 1)
    suite.deployment.write_text(text)
    # The second boot is SGLang's.
    suite.boots_with("", "--gap 0.02 --incremental")
    done = suite.run(f"--engine-env=sglang={suite.engine}", "--update-baselines")
    assert done.status in (0, 1), done.text
    assert "not written: report" not in done.text, done.text[-600:]
    lines = [json.loads(line) for line in (suite.artifacts / "samples.jsonl").read_text().splitlines()]
    cells = [line["cell"] for line in lines]
    assert cells == [
        f"{engine}/llama-3.1-8b-twin/tp1/{name}"
        for engine in ("vllm", "sglang")
        for name in ("startup", "batch-1", "batch-4")
    ]
    startup = {line["cell"].partition("/")[0]: line for line in lines if line["cell"].endswith("/startup")}
    assert {name: line["provenance"]["engine_version"] for name, line in startup.items()} == {
        "vllm": "0.0.1",
        "sglang": "0.0.2",
    }
    # 1 GiB by what a token takes of the twin: the fake says what it was asked for.
    assert startup["sglang"]["metrics"]["kv_capacity"] == 2**30 // (2 * 2 * 4 * 128 * 2)
    assert startup["sglang"]["metrics"]["weight_memory"] == pytest.approx(0.01 * 2**30, rel=1e-5)
    assert startup["sglang"]["metrics"]["capture_time"] == 0.5
    report = (suite.artifacts / "report.md").read_text()
    assert "### sglang beside vllm" in report
    page = (suite.artifacts / "report.html").read_text()
    assert "decode full, 3 sizes up to 4" in page
    for engine in ("vllm", "sglang"):
        assert (suite.baselines / "cpu" / f"{engine}-tp1-random" / "llama-3.1-8b-twin.json").exists()
    again = suite.run(f"--engine-env=sglang={suite.engine}", "--cells=sglang/*", "--strict-baselines")
    assert "no baseline" not in again.text.split("verdicts:")[1].splitlines()[0], again.text


@fault("Engine", "SGLang crashes while it loads", "its cells fail with its last lines; vLLM's are measured")
def test_one_of_two_engines_crashes(suite):
    suite.deployment.write_text(FAKE.replace('["vllm"]', '["vllm", "sglang"]'))
    suite.boots_with("", "--crash")
    done = suite.run(f"--engine-env=sglang={suite.engine}")
    assert done.status == 1
    assert suite.samples() == ["startup", "batch-1", "batch-4"]
    assert "sglang/llama-3.1-8b-twin/tp1/startup: the server ended with status 1 while loading weights" in done.text
    assert "CUDA out of memory" in done.text


def everything_written(*places):
    """All that a run left, as text."""
    return {path: path.read_text(errors="replace") for place in places for path in place.rglob("*") if path.is_file()}


@pytest.mark.parametrize("protocol", ["openai", "sglang"])
@pytest.mark.faults
def test_a_remote_server_is_measured_with_a_key_that_is_found_nowhere(suite, protocol):
    suite.variables = {"MOEGAUGE_API_KEY": KEY}
    external = [f"--engine-protocol={protocol}", "--update-baselines", "--strict-verdicts", "-l", "--engine-url"]
    with mock_server("--ttft", "0.02", "--gap", "0.004", "--api-key", KEY) as url:
        done = suite.run(*external, url)
        assert suite.samples() == ["batch-1", "batch-4"], done.text
        suite.variables["MOEGAUGE_API_KEY"] = f"{KEY}-refused"
        refused = suite.run(*external, url)
    assert refused.status == 4
    assert "HTTP Error 401" in refused.text
    written = everything_written(suite.artifacts, suite.baselines)
    assert len(written) >= 5
    for where, text in [*written.items(), ("terminal", done.text), ("terminal", refused.text)]:
        assert KEY not in text, where


@fault("Engine", "another server's key in the environment", "an engine that prints its environment doesn't know it")
def test_an_engine_does_not_inherit_the_key_of_other_servers(suite):
    suite.variables = {"MOEGAUGE_API_KEY": KEY}
    suite.boots_with("--print-environment")
    suite.run("-k", "batch-1")
    written = everything_written(suite.artifacts)
    assert any("CUDA" in text or os.environ.get("PATH", "?") in text for text in written.values()), "it was printed"
    assert not [where for where, text in written.items() if KEY in text]


@pytest.mark.cpu
@pytest.mark.parametrize(
    ("options", "key", "message"),
    [
        (["--engine-protocol=sglang"], "", "--engine-protocol: says how --engine-url is spoken to; give that too"),
        (["--engine-protocol=tgi"], "", "invalid choice: 'tgi'"),
        (["--engine-url=http://127.0.0.1:9"], "a key", "MOEGAUGE_API_KEY: expected a key without spaces"),
    ],
)
def test_what_makes_no_sense_is_refused(suite, options, key, message):
    suite.variables = {"MOEGAUGE_API_KEY": key}
    done = suite.run_here(*options)
    assert done.status == 4, done.text
    assert message in done.text

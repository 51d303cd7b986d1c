"""The client held against an engine's own benchmark: the command in a process of its own, on a fake engine."""

import json
import subprocess
import sys

import pytest

from fixtures.models.model import Model
from perf_tests.harness.faults import suite as suite_module
from perf_tests.harness.faults.fake_engine import ROOT
from perf_tests.harness.faults.table import fault


def cross_check(suite, *options):
    command = [sys.executable, "-m", "fixtures.cross_check", f"--deployment={suite.deployment}"]
    command += [f"--artifacts={suite.artifacts}", *(f"--engine-env={e}={suite.engine}" for e in ("vllm", "sglang"))]
    return subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture
def both(suite):
    """A deployment of both engines, whose answers take long enough for a busy machine."""
    text = suite_module.DEPLOYMENT.replace('["vllm"]', '["vllm", "sglang"]')
    suite.deployment.write_text(text.replace("[[models]]", "kv_cache_gib = 1\n[[models]]", 1))
    suite.boots_with("--ttft 0.1 --gap 0.02")
    return suite


@pytest.mark.faults
@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_a_benchmark_that_tells_other_times_differs(both, engine):
    both.boots_with("--ttft 0.1 --gap 0.02 --benchmark-factor 1.5")
    done = cross_check(both, f"--cells={engine}/*/batch-4", "--rounds=3", "--again")
    assert done.returncode == 1, done.stderr
    lines = {line.split()[0]: line for line in done.stdout.splitlines() if line.endswith("differ")}
    assert list(lines) == ["ttft_p50", "tpot_p50", "itl_p50", "e2e_p50"], done.stdout
    found = json.loads((both.artifacts / f"{engine}-llama-3.1-8b-twin-tp1-batch-4.json").read_text())
    assert {name: len(values["ttft_p50"]) for name, values in found.items()} == {"ours": 3, "theirs": 3, "again": 3}
    assert all(value >= 0.1 for value in found["ours"]["ttft_p50"])
    assert all(value >= 0.15 for name in ("theirs", "again") for value in found[name]["ttft_p50"])
    # The tokenizer that the server was booted with, a word for each id, and what the benchmark wrote.
    tokenizer = json.loads((both.artifacts / "tokenizer-llama-3.1-8b-twin" / "tokenizer.json").read_text())
    assert len(tokenizer["model"]["vocab"]) == Model.load("llama-3.1-8b-twin", "").vocab_size
    assert len(list(both.artifacts.glob(f"{engine}-*-[012]-theirs.json"))) == 3


@pytest.mark.faults
def test_the_same_clock_twice_does_not_differ(both):
    done = cross_check(both, "--cells=vllm/*/batch-4", "--rounds=4")
    assert done.returncode in (0, 2), done.stderr
    assert "differ" not in done.stdout
    assert "95% interval" in done.stdout


@fault("Engine", "its own benchmark loses requests or ends early", "cross_check says so, with its last lines")
@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--benchmark-lost 1", "vllm's own benchmark: 3 of 4 requests completed"),
        ("--benchmark-crash", "RuntimeError: this benchmark has no tokenizer"),
    ],
)
def test_a_benchmark_that_fails(both, option, message):
    both.boots_with(f"--ttft 0.02 --gap 0.005 {option}")
    done = cross_check(both, "--cells=vllm/*/batch-4", "--rounds=1")
    assert done.returncode == 2
    assert message in done.stderr


@pytest.mark.faults
def test_cells_that_no_benchmark_can_send(both):
    done = cross_check(both, "--cells=vllm/*/startup")
    assert done.returncode == 2
    assert "no traffic that the engines' benchmarks send: choose batch, offline or online cells" in done.stderr

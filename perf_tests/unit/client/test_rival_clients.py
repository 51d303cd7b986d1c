"""Other load clients: their commands, and what is read of their results."""

import json
import stat

import pytest

from fixtures.workloads.workload import Workload
from perf_tests.tools.rival_clients import AIPerf, EngineBenchmark, GuideLLM, VllmRust

pytestmark = pytest.mark.cpu

WORKLOAD = Workload("online", "online", rate=50, num_prompts=40, input_len=32, output_len=64)
TTFT = {"median_ttft_ms": 50.5, "p99_ttft_ms": 61}
PERCENTILES = {"time_to_first_token_ms": {"successful": {"percentiles": {"p50": 50.5, "p99": 61}}}}


@pytest.fixture
def program(tmp_path):
    """What makes a program that writes its arguments down and a result to a file."""

    def make(result, path):
        (tmp_path / "aiperf").mkdir()
        made = tmp_path / "program"
        noted, written = f"printf '%s\\n' \"$@\" > {tmp_path}/arguments", f"cat > {tmp_path / path} <<'EOF'"
        script = "\n".join(["#!/bin/sh", noted, written, json.dumps(result), "EOF", ""])
        made.write_text(script, encoding="utf-8")
        made.chmod(made.stat().st_mode | stat.S_IXUSR)
        return str(made)

    return make


@pytest.mark.parametrize(
    ("make", "result", "path", "begin", "has"),
    [
        (
            lambda program: EngineBenchmark(program, "sglang", ("--rust-client",)),
            TTFT,
            "result.json",
            ["-m", "sglang.benchmark.serving"],
            "--rust-client",
        ),
        (lambda program: VllmRust(program, "vllm"), TTFT, "result.json", ["bench", "serve"], "--ignore-eos"),
        (
            AIPerf,
            {"time_to_first_token": {"p50": 50.5, "p99": 61}},
            "aiperf/profile_export_aiperf.json",
            ["profile"],
            "--streaming",
        ),
        (GuideLLM, {"benchmarks": [{"metrics": PERCENTILES}]}, "guidellm.json", ["run"], "--disable-console"),
    ],
)
def test_it_is_run_by_its_own_command_and_its_first_tokens_are_read(program, tmp_path, make, result, path, begin, has):
    rival = make(program(result, path))
    assert rival.measure("http://127.0.0.1:1", WORKLOAD, tmp_path) == (50.5, 61)
    arguments = (tmp_path / "arguments").read_text(encoding="utf-8").splitlines()
    assert arguments[: len(begin)] == begin
    assert has in arguments
    assert {"40", "kind=max_requests,count=40"} & set(arguments)


def test_a_result_of_the_run_before_is_not_taken_for_this_one(program, tmp_path):
    (tmp_path / "result.json").write_text(json.dumps(TTFT), encoding="utf-8")
    with pytest.raises(FileNotFoundError):
        VllmRust(program({}, "elsewhere"), "vllm").measure("http://127.0.0.1:1", WORKLOAD, tmp_path)


def test_one_that_fails_says_why(tmp_path):
    with pytest.raises(RuntimeError, match="ls: unrecognized option '--backend'"):
        GuideLLM("ls").measure("http://127.0.0.1:1", WORKLOAD, tmp_path)

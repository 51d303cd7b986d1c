"""Variables that a server inherits: which are recorded, which are nobody's business, which are refused."""

import pytest

from fixtures.engines import inherited
from fixtures.errors import UsageError
from perf_tests.fakes.deployments import head, load, workload

pytestmark = pytest.mark.cpu


@pytest.mark.parametrize(
    "name",
    [
        "VLLM_CPU_KVCACHE_SPACE",
        "SGLANG_ENABLE_TORCH_COMPILE",
        "NCCL_P2P_DISABLE",
        "CUDA_VISIBLE_DEVICES",
        "CUDA_LAUNCH_BLOCKING",
        "TORCH_CUDNN_V8_API_DISABLED",
        "TORCHINDUCTOR_MAX_AUTOTUNE",
        "TORCHDYNAMO_DISABLE",
        "PYTORCH_CUDA_ALLOC_CONF",
        "TRITON_CACHE_DIR",
        "OMP_NUM_THREADS",
        "KMP_AFFINITY",
        "MKL_NUM_THREADS",
        "ONEDNN_MAX_CPU_ISA",
        "ATEN_CPU_CAPABILITY",
        "LD_PRELOAD",
    ],
)
def test_what_changes_how_an_engine_runs_is_recorded(name):
    assert inherited.recorded({name: "1"}) == {name: "1"}


@pytest.mark.parametrize(
    "name",
    [
        "PATH",
        "HOME",
        "LANG",
        "VLLM_API_KEY",
        "SGLANG_ACCESS_TOKEN",
        "NCCL_SECRET",
        "RAY_PASSWORD",
        "RAY_ADDRESS",
        "VLLM_HOST_IP",
        "NVIDIA_REQUIRE_CUDA",
    ],
)
def test_secrets_addresses_and_all_else_are_not(name):
    assert inherited.recorded({name: "1"}) == {}


def test_no_secret_and_no_home_in_a_value(monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    variables = {"HF_TOKEN": "hf_abcdefgh", "VLLM_PLUGINS": "x:hf_abcdefgh", "TRITON_CACHE_DIR": "/home/somebody/t"}
    assert inherited.recorded(variables) == {"VLLM_PLUGINS": "x:***", "TRITON_CACHE_DIR": "~/t"}


def deployment(directory, **fields):
    return load(directory, head(**fields) + workload("one", "batch", batch_size=1))


def test_a_variable_that_overrides_the_budget_is_refused(tmp_path):
    pinned = deployment(tmp_path, kv_cache_gib=2)
    with pytest.raises(UsageError, match="VLLM_CPU_KVCACHE_SPACE=8 would override kv_cache_gib = 2 of test: unset it"):
        inherited.check(pinned, {"VLLM_CPU_KVCACHE_SPACE": "8"})
    own = deployment(tmp_path, kv_cache_gib=2, environment={"VLLM_CPU_KVCACHE_SPACE": "8"})
    with pytest.raises(UsageError, match="VLLM_CPU_KVCACHE_SPACE=8 would"):
        inherited.check(own, {})


@pytest.mark.parametrize(
    ("fields", "variables"),
    [
        ({"kv_cache_gib": 2}, {}),
        ({"kv_cache_gib": 2}, {"VLLM_CPU_KVCACHE_SPACE": ""}),
        ({}, {"VLLM_CPU_KVCACHE_SPACE": "8"}),
        ({"kv_cache_gib": 2, "engines": ["sglang"]}, {"VLLM_CPU_KVCACHE_SPACE": "8"}),
        ({"kv_cache_gib": 2, "hardware": "H100"}, {"VLLM_CPU_KVCACHE_SPACE": "8"}),
    ],
)
def test_one_that_overrides_nothing_is_let_be(tmp_path, fields, variables):
    inherited.check(deployment(tmp_path, **fields), variables)

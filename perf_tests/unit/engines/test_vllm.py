"""vLLM: its command lines, its log and its answers."""

import pytest

from fixtures.client.turns import PrefixCache
from fixtures.engines.registry import ENGINES
from fixtures.engines.running import Metrics
from fixtures.hardware import host
from perf_tests.fakes.specs import spec

pytestmark = pytest.mark.cpu
HERE = "http://127.0.0.1:9"


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
    assert ENGINES["vllm"].report(spec(), log, HERE).execution == {
        "attention": "FLASH_ATTN",
        "attention version": "3",
        "MoE kernel": "TRITON",
        "MoE tables": "tuned: E=8,N=14336,device_name=NVIDIA_H200.json",
        "CUDA graphs": "mixed prefill-decode, PIECEWISE, 51 sizes; decode, FULL, 35 sizes",
        "prefix cache": "on",
        "prefill chunk": "8192 tokens",
    }
    plain = ENGINES["vllm"].report(spec(), "Capturing CUDA graphs: 100%|████| 51/51 [00:03]", HERE).execution
    assert plain == {"CUDA graphs": "51 sizes"}
    eager = (
        "config: enforce_eager=True, enable_prefix_caching=False, Using 'MARLIN' WNA16 MoE backend. "
        "Using default MoE config. Performance might be sub-optimal! Config file not found at /a/configs/E=8,N=1.json"
    )
    found = ENGINES["vllm"].report(spec(), eager, HERE).execution
    assert (found["CUDA graphs"], found["prefix cache"], found["MoE kernel"]) == ("none", "off", "MARLIN")
    assert found["MoE tables"] == "default, none is there: E=8,N=1.json"


V1_LOADS = """\
INFO [gpu_model_runner.py:5250] Starting to load model /models/mixtral...
INFO [gpu_model_runner.py:5347] Model loading took 87.0 GiB memory and 12.345678 seconds
"""
V2_LOADS_0_26 = """\
INFO [gpu_worker.py:378] Using V2 Model Runner
INFO [model_runner.py:284] Loading model from scratch...
INFO [model_runner.py:305] Model loading took 14.99 GiB and 1.523456 seconds
"""
V2_LOADS_0_32 = V2_LOADS_0_26.replace("GiB and", "GiB memory and")
CPU_LOADS_0_32 = """\
WARNING [vllm.py:725] Model Runner V2 requires Triton; using the V1 model runner instead.
INFO [cpu_model_runner.py:68] Starting to load model /models/twin...
"""


@pytest.mark.parametrize(
    ("release", "log", "seconds", "gib", "runner"),
    [
        pytest.param("0.26.0", V1_LOADS, 12.345678, 87.0, "V1", id="V1 of 0.26.0"),
        pytest.param("0.32.0", V1_LOADS, 12.345678, 87.0, "V1", id="V1 of 0.32.0"),
        pytest.param("0.26.0", V2_LOADS_0_26, 1.523456, 14.99, "V2", id="V2 of 0.26.0"),
        pytest.param("0.27.1", V2_LOADS_0_26, 1.523456, 14.99, "V2", id="V2 of 0.27.1"),
        pytest.param("0.28.0", V2_LOADS_0_26, None, 14.99, "V2", id="V2 of 0.28.0 says it otherwise"),
        pytest.param("0.32.0", V2_LOADS_0_32, 1.523456, 14.99, "V2", id="V2 of 0.32.0"),
        pytest.param("", V2_LOADS_0_32, 1.523456, 14.99, "V2", id="V2 of a release that isn't known"),
        pytest.param("0.26.0", V2_LOADS_0_26.partition("\n")[2], 1.523456, 14.99, "V2", id="V2 without its first line"),
        pytest.param("0.32.0", CPU_LOADS_0_32, None, None, "V1", id="V1 of the CPU build"),
        pytest.param("0.32.0", "INFO something else\n", None, None, None, id="neither"),
    ],
)
def test_both_model_runners_are_named_and_their_loading_is_timed(release, log, seconds, gib, runner):
    """The wording is that of the sources of these releases, in their packages on PyPI."""
    report = ENGINES["vllm"].report(spec(release=release), log, HERE)
    assert report.load_seconds == seconds
    assert report.weight_bytes == (gib and gib * 2**30)
    assert report.execution.get("model runner") == runner


def test_both_model_runners_mark_the_phase_of_loading():
    phases = [ENGINES["vllm"].phase(line) for line in (V1_LOADS + V2_LOADS_0_26).splitlines()]
    assert phases == ["loading weights", "weights loaded", "", "loading weights", "weights loaded"]


def command(release, **changes):
    return ENGINES["vllm"].command("python", spec(release=release, **changes), 8123)


@pytest.mark.parametrize(
    ("release", "module"),
    [
        ("0.26.0", "vllm.entrypoints.openai.api_server"),
        ("0.28.1", "vllm.entrypoints.openai.api_server"),
        ("0.29.0", "vllm.entrypoints.launchers.api_server.entry"),
        ("0.32.0", "vllm.entrypoints.launchers.api_server.entry"),
        ("", "vllm.entrypoints.launchers.api_server.entry"),
    ],
)
def test_the_server_is_the_module_that_the_release_wants(release, module):
    assert command(release)[1:3] == ["-m", module]


def test_beside_another_server_it_starts_on_a_card_of_which_half_is_taken():
    shared = command("0.33.0", shared=True, device="cuda")
    assert shared[shared.index("--gpu-memory-utilization") + 1] == "0.4"
    for alone in (command("0.33.0", device="cuda"), command("0.32.0", shared=True, device="cpu")):
        assert "--gpu-memory-utilization" not in alone


@pytest.mark.parametrize(
    ("release", "device", "flag"),
    [
        ("0.26.0", "cuda", "--no-enable-prefix-caching"),
        ("0.30.0", "cuda", "--no-enable-prefix-caching"),
        ("0.31.0", "cuda", "--enable-prefix-caching"),
        ("0.32.0", "cuda", "--enable-prefix-caching"),
        ("0.32.0", "cpu", "--no-enable-prefix-caching"),
    ],
)
def test_routing_is_captured_with_the_prefix_cache_that_the_release_demands(release, device, flag):
    """From 0.31.0 on the engine refuses: "AuxOutput Connector requires prefix caching"."""
    found = [word for word in command(release, device=device, capture_routing=True) if "prefix-caching" in word]
    assert found == [flag]
    assert "--no-enable-prefix-caching" in command(release, device=device), "what is timed has none"


def test_what_stands_beside_the_weights_adds_nothing_to_requests():
    """Unless a deployment's own options, which come later, say otherwise."""
    found = command("", options=("--generation-config=auto",))
    assert found.index("--generation-config") < found.index("--generation-config=auto")
    assert found[found.index("--generation-config") + 1] == "vllm"


CONFIGURED = """\
INFO [core.py:134] Initializing a V1 LLM engine (v0.32.0) with config: enforce_eager=False, \
compilation_config={{'mode': <CompilationMode.{}: 3>, 'backend': 'inductor', 'cudagraph_mode': <CUDAGraphMode.{}: (2, 1)>}}
"""


@pytest.mark.parametrize(
    ("device", "log", "options", "expected"),
    [
        ("cuda", CONFIGURED.format("VLLM_COMPILE", "FULL_AND_PIECEWISE"), (), {"card", "compiled", "captured"}),
        ("cuda", CONFIGURED.format("NONE", "FULL_DECODE_ONLY"), (), {"card", "captured"}),
        ("cuda", CONFIGURED.format("VLLM_COMPILE", "NONE"), (), {"card", "compiled"}),
        ("cpu", CONFIGURED.format("VLLM_COMPILE", "NONE"), (), {"compiled"}),
        ("cpu", CONFIGURED.format("DYNAMO_TRACE_ONCE", "NONE"), (), set()),
        ("cuda", "", (), {"card", "compiled", "captured"}),
        ("cuda", "", ("--enforce-eager",), {"card"}),
        ("cpu", "", (), set()),
    ],
)
def test_what_a_log_should_tell_depends_on_how_the_engine_was_configured(device, log, options, expected):
    assert ENGINES["vllm"].conditions(spec(device=device, options=options), log) == expected


@pytest.mark.parametrize(
    ("release", "line", "expected"),
    [
        ("0.26.0", "Asynchronous scheduling is enabled.", "enabled"),
        ("0.26.0", "", None),
        ("0.32.0", "", "enabled"),
        ("0.32.0", "Async scheduling will be disabled because it is not supported with the `ray` executor", "disabled"),
        ("0.32.0", "Async scheduling is disabled because the V1 model runner does not support it", "disabled"),
        (
            "0.32.0",
            "Async scheduling not supported with x-based speculative decoding and will be disabled.",
            "disabled",
        ),
        ("0.32.0", "non-default args: {'model': 'm', 'async_scheduling': False}", "disabled"),
    ],
)
def test_asynchronous_scheduling_is_named_where_a_release_is_silent_about_it(release, line, expected):
    log = f"Initializing a V1 LLM engine (v{release}) with config: \n{line}\n"
    assert ENGINES["vllm"].report(spec(release=release), log, HERE).execution.get("async scheduling") == expected


def test_the_cpu_build_schedules_synchronously():
    log = "Initializing a V1 LLM engine (v0.32.0) with config: \n"
    assert ENGINES["vllm"].report(spec(device="cpu"), log, HERE).execution["async scheduling"] == "disabled"


def test_how_devices_add_up_and_which_kernels_were_made_at_boot_is_told():
    """The wording of vLLM 0.32.0 and of flashinfer 0.7.2."""
    log = """\
INFO [cuda_communicator.py:354] Using ['CUSTOM', 'PYNCCL'] all-reduce backends (in dispatch order) for group 'tp:0' out of \
potential backends: ['NCCL_SYMM_MEM', 'CUSTOM', 'PYNCCL'].
WARNING [custom_all_reduce.py:287] Custom allreduce is disabled because your platform lacks GPU P2P capability
WARNING [flashinfer.py:143] FlashInfer's precompiled kernels are missing or do not match flashinfer-python 0.7.2
2026-11-24 02:17:00,000 - INFO - core.py:594 - flashinfer.jit: Building JIT module norm; this can take several minutes
2026-11-24 02:17:00,000 - INFO - core.py:594 - flashinfer.jit: Building JIT module page; this can take several minutes
2026-11-24 02:17:00,000 - INFO - core.py:594 - flashinfer.jit: Building JIT module page; this can take several minutes
2026-11-24 02:17:00,000 - INFO - cubin_loader.py:231 - flashinfer.jit: Fetching a/b.cubin from https://somewhere/a/b.cubin
"""
    assert ENGINES["vllm"].report(spec(release="0.32.0"), log, HERE).execution == {
        "all-reduce": "'CUSTOM', 'PYNCCL'",
        "custom all-reduce": "off",
        "kernels made at boot": "2 compiled by flashinfer; 1 fetched by flashinfer",
        "flashinfer's kernels": "fetched or compiled at boot",
    }


@pytest.mark.parametrize(
    ("labels", "cache"),
    [
        ({"block_size": "16", "enable_prefix_caching": "False"}, PrefixCache(0)),
        ({"block_size": "16", "enable_prefix_caching": "True"}, PrefixCache(16)),
        ({"block_size": "16", "prefix_cache_retention_interval": "None"}, PrefixCache(16)),
        ({"block_size": "16", "prefix_cache_retention_interval": "0"}, PrefixCache(16, prompts_alone=True)),
        ({"block_size": "16", "prefix_cache_retention_interval": "4096"}, None),
        ({"block_size": "None", "prefix_cache_retention_interval": "0"}, None),
        ({}, None),
    ],
)
def test_what_its_prefix_cache_keeps_is_told_by_a_metric(labels, cache):
    text = ",".join(f'{name}="{value}"' for name, value in labels.items())
    metrics = Metrics(f"vllm:cache_config_info{{{text}}} 1.0\n" if labels else "")
    assert ENGINES["vllm"].prefix_cache(lambda _: {}, metrics) == cache


@pytest.mark.parametrize(
    ("flags", "capability"),
    [
        pytest.param("fpu avx2", "", id="no AVX-512"),
        pytest.param("fpu avx2 avx512f avx512_bf16", "", id="bf16 besides"),
        pytest.param("fpu avx2 avx512f", "avx2", id="PyTorch limited to AVX2"),
    ],
)
def test_code_that_pytorch_compiled_for_another_processor_is_not_taken_from_its_cache(monkeypatch, flags, capability):
    def tag(flags, capability=""):
        monkeypatch.setattr(host, "_cpuinfo", lambda key: flags if key == "flags" else "")
        monkeypatch.setenv("ATEN_CPU_CAPABILITY", capability)
        return ENGINES["vllm"].environment(spec(device="cpu"))["TORCH_COMPILE_CACHE_KEY_TAG"]

    monkeypatch.delenv("TORCH_COMPILE_CACHE_KEY_TAG", raising=False)
    own = tag("fpu avx2 avx512f")
    assert own
    assert own == tag("avx512f fpu avx2")
    assert tag(flags, capability) != own
    monkeypatch.setenv("TORCH_COMPILE_CACHE_KEY_TAG", "mine")
    assert tag("fpu avx2 avx512f") == f"{own}-mine"


def test_on_a_card_pytorchs_cache_needs_no_tag():
    assert "TORCH_COMPILE_CACHE_KEY_TAG" not in ENGINES["vllm"].environment(spec())

"""vLLM: its command lines, its log and its answers."""

import pytest

from fixtures.engines.registry import ENGINES

pytestmark = pytest.mark.cpu


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
    ("log", "seconds", "gib", "runner"),
    [
        pytest.param(V1_LOADS, 12.345678, 87.0, "V1", id="V1 of both releases"),
        pytest.param(V2_LOADS_0_26, 1.523456, 14.99, "V2", id="V2 of 0.26.0"),
        pytest.param(V2_LOADS_0_32, 1.523456, 14.99, "V2", id="V2 of 0.32.0"),
        pytest.param(V2_LOADS_0_26.partition("\n")[2], 1.523456, 14.99, "V2", id="V2 without its first line"),
        pytest.param(CPU_LOADS_0_32, None, None, "V1", id="V1 of the CPU build"),
        pytest.param("INFO something else\n", None, None, None, id="neither"),
    ],
)
def test_both_model_runners_are_named_and_their_loading_is_timed(log, seconds, gib, runner):
    """The wording is that of the sources of vLLM 0.26.0 and 0.32.0, in their packages on PyPI."""
    report = ENGINES["vllm"].report(log, "http://127.0.0.1:9")
    assert report.load_seconds == seconds
    assert report.weight_bytes == (gib and gib * 2**30)
    assert report.execution.get("model runner") == runner


def test_both_model_runners_mark_the_phase_of_loading():
    phases = [ENGINES["vllm"].phase(line) for line in (V1_LOADS + V2_LOADS_0_26).splitlines()]
    assert phases == ["loading weights", "weights loaded", "", "loading weights", "weights loaded"]

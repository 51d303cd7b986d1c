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

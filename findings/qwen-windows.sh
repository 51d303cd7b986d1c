#!/bin/sh
# transformers 5.19.0: the same keys of a sliding window mean other layers in Qwen2-MoE than in Qwen2.
#
# Expected: with use_sliding_window and max_window_layers = 4, layers from the fourth on have the window, whatever the family, as
# the documentation of max_window_layers says: "the number of layers using full attention. The first max_window_layers layers will
# use full attention, while any additional layer afterwards will use SWA".
# Seen: so it is in Qwen2 and Qwen3. In Qwen2-MoE every other layer has it, and only of the first four:
#   qwen2      full full full full sliding sliding sliding sliding
#   qwen3      full full full full sliding sliding sliding sliding
#   qwen2_moe  sliding full sliding full full full full full
# Qwen3-MoE's configuration has no layer_types and no max_window_layers at all: all of its layers have the window.
set -eu
cd "$(mktemp -d)"
python3 -m venv venv
venv/bin/pip install --quiet transformers==5.19.0
venv/bin/python - <<'EOF' 2>/dev/null
import transformers

keys = {"num_hidden_layers": 8, "use_sliding_window": True, "sliding_window": 512, "max_window_layers": 4}
seen = {}
for family in ("qwen2", "qwen3", "qwen2_moe"):
    config = transformers.AutoConfig.for_model(family, **keys)
    seen[family] = " ".join(kind.removesuffix("_attention") for kind in config.layer_types)
    print(f"{family:10} {seen[family]}")
last = "full full full full sliding sliding sliding sliding"
assert seen == {"qwen2": last, "qwen3": last, "qwen2_moe": "sliding full sliding full full full full full"}, "it has changed"
moe = transformers.AutoConfig.for_model("qwen3_moe", num_hidden_layers=8, use_sliding_window=True, sliding_window=512)
assert moe.sliding_window == 512 and not getattr(moe, "layer_types", None), "it has changed"
print("qwen3_moe  one window of 512, no layer_types")
EOF

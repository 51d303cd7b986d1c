#!/bin/sh
# transformers 5.20.2: Gemma 4's configuration loses two keys when it is saved, and hasattr(config, "head_dim") raises.
#
# Expected: what is loaded and saved again has the keys that it was loaded from, as of Gemma 3; hasattr and getattr with a default
# are questions, which a missing attribute answers.
# Seen: global_head_dim and num_global_key_value_heads are gone, and per_layer_config with layers "05", "11" is there, which the
# published files don't have: whoever reads those keys takes the same model for one without them. Asking a configuration whose layers
# differ for head_dim raises a RuntimeError, with hasattr and with getattr's default too; of num_attention_heads it is answered.
set -eu
cd "$(mktemp -d)"
python3 -m venv venv
venv/bin/pip install --quiet transformers==5.20.2
venv/bin/python - <<'EOF' 2>/dev/null
import json

import transformers

published = {"num_hidden_layers": 12, "head_dim": 256, "num_key_value_heads": 8, "attention_k_eq_v": True}
published |= {"global_head_dim": 512, "num_global_key_value_heads": 2}
config = transformers.AutoConfig.for_model("gemma4_text", **published)
config.save_pretrained("saved")
with open("saved/config.json") as file:
    saved = json.load(file)
print("gone:", sorted(published.keys() - saved.keys()), "instead:", saved["per_layer_config"])
assert published.keys() - saved.keys() == {"global_head_dim", "num_global_key_value_heads"}, "it has changed"
assert hasattr(config, "num_attention_heads") and not hasattr(config, "nothing_of_the_kind")
for ask in (lambda: hasattr(config, "head_dim"), lambda: getattr(config, "head_dim", None)):
    try:
        ask()
    except RuntimeError as error:
        print(type(error).__name__, str(error).partition(".")[0])
    else:
        raise SystemExit("it has changed")
EOF

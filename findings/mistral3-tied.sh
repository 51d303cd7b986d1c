#!/bin/sh
# transformers 5.19.0: a Mistral 3 configuration that says nothing of tied embeddings ties them, its own decoder's does not.
#
# Expected: Mistral3Config leaves tie_word_embeddings to its decoder, Mistral's, whose default is False.
# Seen: True outside and False inside, of one configuration. With the sizes of Mistral Small 3.1 transformers builds a model of
# 23,340,272,640 parameters of it, and one of 24,011,361,280 with tie_word_embeddings = false: an output head of 131,072 x 5,120 more.
set -eu
cd "$(mktemp -d)"
python3 -m venv venv
venv/bin/pip install --quiet transformers==5.19.0
venv/bin/python - <<'EOF' 2>/dev/null
import transformers

text = {"model_type": "mistral", "hidden_size": 5120, "num_hidden_layers": 40, "num_attention_heads": 32, "vocab_size": 131072}
config = transformers.Mistral3Config(text_config=text, vision_config={"model_type": "pixtral"})
print("outside", config.tie_word_embeddings, "inside", config.text_config.tie_word_embeddings)
assert (config.tie_word_embeddings, config.text_config.tie_word_embeddings) == (True, False), "it has changed"
EOF

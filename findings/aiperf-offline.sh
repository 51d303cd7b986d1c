#!/bin/sh
# AIPerf 0.13.0: offline, the directory of a tokenizer is refused, which is taken with a network.
#
# Expected: HF_HUB_OFFLINE=1 changes nothing for a tokenizer that is a directory, as with transformers: nothing of it is on the hub.
# Seen: "Failed to load tokenizer '/.../words': HFValidationError: Repo id must be in the form 'repo_name' or 'namespace/repo_name'".
# Offline every name is looked for in the hub's cache. A node without a network, where the variable is set, has directories.
set -eu
cd "$(mktemp -d)"
python3 -m venv venv
# All that AIPerf requires takes 1.2 GB; its tokenizer needs these alone.
venv/bin/pip install --quiet transformers==5.24.0 huggingface_hub==1.33.0
venv/bin/pip install --quiet --no-deps aiperf==0.13.0
cat > load.py <<'PYTHON'
import pathlib

import tokenizers
import transformers
from aiperf.common.tokenizer import Tokenizer

words = pathlib.Path("words").absolute()
words.mkdir(exist_ok=True)
model = tokenizers.models.WordLevel({"one": 0, "two": 1}, unk_token="one")
tokenizers.Tokenizer(model).save(str(words / "tokenizer.json"))
(words / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
print("transformers:", transformers.AutoTokenizer.from_pretrained(words).encode("two"), end="  ")
print("aiperf:", Tokenizer.from_pretrained(str(words)).encode("two"))
PYTHON
venv/bin/python load.py
if HF_HUB_OFFLINE=1 venv/bin/python load.py 2> error; then echo "it has changed"; exit 1; fi
tail -n 1 error
grep -q HFValidationError error

#!/bin/sh
# transformers 5.20.2: a tokenizer saved after a call that truncates cuts every text ever after, for all but transformers itself.
#
# Expected: truncation and padding are arguments of a call; what is saved is the tokenizer as it was loaded.
# Seen: tokenizer.json has the last call's lengths. tokenizers 0.23.3 obeys them, so that every text has 128 tokens, while
# transformers resets them with each call and counts as before. Fine-tuned models are saved like this, and a load client that takes
# its prompts from tokenizer.json then sends 128 tokens each, whatever the conversation.
set -eu
cd "$(mktemp -d)"
python3 -m venv venv
venv/bin/pip install --quiet transformers==5.20.2 tokenizers==0.23.3
venv/bin/python - <<'EOF' 2>/dev/null
import tokenizers
import transformers
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit

made = tokenizers.Tokenizer(WordLevel({f"t{i}": i for i in range(50)}, unk_token="t0"))
made.pre_tokenizer = WhitespaceSplit()
loaded = transformers.PreTrainedTokenizerFast(tokenizer_object=made, pad_token="t1")
short, long = "t3 t4", " ".join(["t2"] * 1600)


def counted(encode):
    return [len(encode(text)) for text in (short, long)]


before = counted(loaded.encode)
loaded([short], truncation=True, padding="max_length", max_length=128)
loaded.save_pretrained("saved")
stored = tokenizers.Tokenizer.from_file("saved/tokenizer.json")
after = {
    "before": before,
    "transformers": counted(transformers.AutoTokenizer.from_pretrained("saved").encode),
    "tokenizers": counted(lambda text: stored.encode(text).ids),
}
print(after)
assert after == {"before": [2, 1600], "transformers": [2, 1600], "tokenizers": [128, 128]}, "it has changed"
EOF

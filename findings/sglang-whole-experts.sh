#!/bin/sh
# SGLang 0.5.23: Mixtral-8x7B with whole experts (--ep-size 2 beside --tp-size 2) has no tuned tiles on an H100 or H200.
#
# Expected: tables for the expert kernel come with SGLang, and Mixtral's two shapes on two cards are among them.
# Seen: of split experts (E=8,N=7168) in bf16 there is a table for each of these cards, made with Triton 3.1.0 (H200) to 3.3.1 (H100),
# where the release brings 3.8.0. Of whole ones (E=4,N=14336) there is none, for any card, so its default counts: tiles of 64 x 64 x 32
# as soon as there are more tokens than experts, 8 and 8,192 alike. On two H200 (random weights, bf16, one boot of each) a batch
# of 8 took 1,366 ms with whole experts and 789 with split ones, and 37% less came out offline. vLLM 0.26.0, which has no table for them
# either, took 14% longer and gave 13% less: its default tiles go by the number of tokens.
# It fails if there is a table, or another default. It looks into the wheel and runs the default alone, in a few seconds.
set -eu
cd "$(mktemp -d)"
python3 -m venv venv
venv/bin/pip download --quiet --no-deps --only-binary=:all: --python-version 3.12 --platform manylinux_2_34_x86_64 --dest . sglang==0.5.23
cat > look.py <<'EOF'
import ast
import glob
import re
import sys
import typing
import zipfile

wheel = zipfile.ZipFile(glob.glob("sglang-*.whl")[0])
FOLDER = "sglang/srt/layers/moe/moe_runner/triton_utils/"
tables = [name for name in wheel.namelist() if name.startswith(FOLDER + "configs/")]
found = (re.search(r"triton_([\d_]+)/E=8,N=7168,device_name=(NVIDIA_H[12]00\w*)\.json", name) for name in tables)
split = sorted(f"{one[2]} for Triton {one[1].replace('_', '.')}" for one in found if one)
whole = [name for name in tables if "/E=4,N=14336," in name]
print(f"{len(tables)} files; of split experts, in bf16: {', '.join(split)}; of whole ones: {len(whole)}")

source = wheel.read(FOLDER + "fused_moe_triton_config.py").decode()
function = [one for one in ast.parse(source).body if getattr(one, "name", "") == "get_default_config"]


class Execution:
    class deterministic:
        enable_deterministic_inference = False


names = vars(typing) | {"get_exec": lambda: Execution}
exec(compile(ast.Module(function, []), "default", "exec"), names)
tiles = {}
for tokens in (1, 4, 8, 128, 8192):
    tile = names["get_default_config"](tokens, 4, 14336, 4096, 2, None, False)
    tiles[tokens] = tuple(tile[f"BLOCK_SIZE_{side}"] for side in "MNK")
    print(tokens, "tokens:", *tiles[tokens])
sys.exit(not split or bool(whole) or {tiles[tokens] for tokens in (8, 128, 8192)} != {(64, 64, 32)})
EOF
venv/bin/python look.py || { echo "it has changed"; exit 1; }

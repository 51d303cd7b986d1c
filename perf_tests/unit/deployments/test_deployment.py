"""Deployment files: what ships is sound, what a user writes wrongly is named in one line."""

import dataclasses
import json
import re

import pytest

from fixtures.analytical import parameters
from fixtures.analytical.architecture import from_config
from fixtures.deployments import deployment as deployments
from fixtures.deployments.cell import cells, references
from fixtures.engines.registry import ENGINES
from fixtures.errors import UsageError
from fixtures.models.location import SHIPPED
from fixtures.models.model import Model
from perf_tests.fakes.deployments import head, workload

pytestmark = pytest.mark.cpu

GOOD = head(devices=2, tensor_parallel=[2]) + workload("batch-1", "batch", batch_size=1, input_len=4, output_len=4)


def load(tmp_path, text):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return deployments.load(str(path), ENGINES)


@pytest.mark.parametrize("name", deployments.shipped())
def test_shipped_deployments_are_sound(name):
    deployment = deployments.load(name, ENGINES)
    assert deployment.description
    found = cells(deployment)
    assert len({cell.id for cell in found}) == len(found)
    blocks = [cell.block for cell in found]
    assert len(list(dict.fromkeys(blocks))) == 1 + sum(a != b for a, b in zip(blocks, blocks[1:], strict=False))


def test_a_users_deployment_needs_no_code(tmp_path):
    deployment = load(tmp_path, GOOD)
    block = "vllm/llama-3.1-8b-twin/tp2"
    assert [cell.id for cell in cells(deployment)] == [f"{block}/batch-1"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("devices = 2", 'devices = "two"', "devices: expected an integer, found 'two'"),
        ("devices = 2", "devices = true", "devices: expected an integer, found True"),
        ("devices = 2", "", "missing key 'devices'"),
        ("devices = 2", "device = 2", "unknown key 'device'; did you mean 'devices'"),
        ("devices = 2", "devices = 2\ntime_limit = -1", "time_limit: expected a number of seconds, or 0 .*, found -1"),
        ("tensor_parallel = [2]", "tensor_parallel = [4]", "tensor_parallel: 4 is not within 1..2"),
        ("tensor_parallel = [2]", "tensor_parallel = 2", "tensor_parallel: expected a list"),
        ('["vllm"]', '["vlm"]', "unknown engine 'vlm'; expected some of sglang, vllm"),
        ("llama-3.1-8b-twin", "llama-9b", "unknown model 'llama-9b'; expected one of .*mixtral-8x7b"),
        (
            '"batch"',
            '"batches"',
            "kind: expected one of 'startup', 'outputs', 'batch', 'offline', 'online', 'conversations', 'capacity', 'energy', "
            "'routing', 'cold-startup', found 'batches'",
        ),
        ("batch_size = 1", "batch_size = 0", "batch_size must be positive"),
        ("output_len = 4", "output_len = 9000", "needs 9004 tokens, max_model_len is 4096"),
        (
            "batch_size = 1",
            'batch_size = 1\nengines = ["sglang"]',
            "names 'sglang', which is not among the deployment's",
        ),
        ("[[models]]", "gated = ['speed']\n[[models]]", "unknown metric 'speed'"),
        ("[[models]]", "[tolerances]\nlatency = -1\n[[models]]", "tolerances.latency: expected 0 or more"),
        (
            "[[models]]",
            "[tolerances]\noutput_throughput = 1\n[[models]]",
            "tolerances.output_throughput: expected a fraction below 1",
        ),
        ('hardware = "cpu"', 'hardware = "cpu', "not valid TOML: .*line 3"),
    ],
)
def test_mistakes_are_named_with_file_and_key(tmp_path, old, new, message):
    assert old in GOOD
    with pytest.raises(UsageError, match=message) as caught:
        load(tmp_path, GOOD.replace(old, new, 1))
    assert "mine.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_time_may_more_than_double_and_a_rate_fall_to_nothing(tmp_path):
    text = GOOD.replace("[[models]]", "[tolerances]\nlatency = 1.5\noutput_throughput = 0.99\n[[models]]", 1)
    assert load(tmp_path, text).tolerances == {"latency": 1.5, "output_throughput": 0.99}


def test_unknown_names_list_what_there_is():
    with pytest.raises(UsageError, match="unknown deployment 'h300'; expected one of cpu, cpu-pipeline, h100x1"):
        deployments.load("h300", ENGINES)
    with pytest.raises(UsageError, match=r"no cell of deployment 'cpu' matches 'nothing'; cells are vllm/"):
        cells(deployments.load("cpu", ENGINES), ["nothing"])


def test_a_workload_of_one_engine_is_not_measured_on_the_other(tmp_path):
    of_one = workload("one", "batch", batch_size=1, engines=["sglang"]) + workload("both", "batch", batch_size=1)
    chosen = load(tmp_path, head(engines=["vllm", "sglang"], hardware="H200") + of_one)
    found = [(cell.block.engine, cell.workload.name) for cell in cells(chosen)]
    assert sorted(found) == [("sglang", "both"), ("sglang", "one"), ("vllm", "both")]


def test_both_engines_tell_the_routing_of_a_mixture_on_a_card():
    assert [cell.block.engine for cell in cells(deployments.load("h200x1", ENGINES), ["*/routing"])] == [
        "vllm",
        "sglang",
    ]


@pytest.mark.parametrize("name", ["cpu", "h100x1", "h200x1", "h100x2", "h200x2", "trained", "trained-gpu"])
def test_routing_is_captured_of_every_mixture_and_of_no_dense_model(name):
    loaded = deployments.load(name, ENGINES)
    mixtures = {
        entry.name
        for entry in loaded.models
        if any("expert" in key for key in loaded.configuration(entry.name).shape())
    }
    assert {cell.block.model for cell in cells(loaded) if cell.workload.kind == "routing"} == mixtures


def test_a_deployment_without_any_cell_is_refused_with_the_reason():
    loaded = deployments.load("trained-gpu", ENGINES)
    dense = dataclasses.replace(loaded, models=(dataclasses.replace(loaded.models[0], configuration="llama-3.1-8b"),))
    with pytest.raises(UsageError, match="trained-gpu: workloads: none is for any of its .* knows to have experts"):
        cells(dense)


def test_references_of_ratios():
    deployment = deployments.load("cpu", ENGINES)
    everything = {cell.id: cell for cell in cells(deployment)}
    moe = everything["vllm/mixtral-8x7b-twin/tp1/batch-8"]
    found = references(moe, list(everything.values()), "llama-3.1-8b-twin")
    assert {name: cell.id for name, cell in found.items()} == {
        "to_dense": "vllm/llama-3.1-8b-twin/tp1/batch-8",
        "to_batch_1": "vllm/mixtral-8x7b-twin/tp1/batch-1",
    }
    order = list(everything)
    assert all(order.index(cell.id) < order.index(moe.id) for cell in found.values())


def test_the_twins_keep_the_proportions_of_the_originals():
    names = ("mixtral-8x7b", "llama-3.1-8b")

    def sizes(name):
        architecture = from_config(Model.load(name, "").config, name)
        return parameters.total(architecture), parameters.active_without_embedding(architecture)

    full, twin = ([sizes(name + suffix) for name in names] for suffix in ("", "-twin"))
    for i in (0, 1):  # total, then active: the ratio of MoE to dense
        assert twin[0][i] / twin[1][i] == pytest.approx(full[0][i] / full[1][i], rel=0.02)
    for model in (0, 1):  # active to total of each
        assert twin[model][1] / twin[model][0] == pytest.approx(full[model][1] / full[model][0], rel=0.02)


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*/config.json")), ids=lambda p: p.parent.name)
def test_shipped_configurations_diff_readably(path):
    text = path.read_text()
    assert text == json.dumps(json.loads(text), indent=2, sort_keys=True) + "\n"
    assert not re.search(r"[^\x00-\x7f]", text)

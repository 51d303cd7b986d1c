"""The file of a deployment that is written: what was meant is what is read."""

import json

import pytest

from fixtures.deployments import deployment
from fixtures.deployments.server import Server
from fixtures.engines.registry import ENGINES
from fixtures.init import document, traffic
from fixtures.init.document import Document

pytestmark = pytest.mark.cpu
CONFIG = {"model_type": "llama", "hidden_size": 64, "num_attention_heads": 4, "num_hidden_layers": 2, "vocab_size": 100}
WORKLOADS = traffic.workloads(64, 16, traffic.Pace(0.25, 0.75))


def read(tmp_path, **fields):
    (tmp_path / "m.model").mkdir()
    (tmp_path / "m.model" / "config.json").write_text(json.dumps(CONFIG))
    made = Document("d", "H200", 2, "llama", "./m.model", 512, WORKLOADS, {"latency": 0.15}, **fields)
    path = tmp_path / "m.toml"
    path.write_text(made.text())
    return deployment.load(str(path), ENGINES)


def test_a_server_is_read_as_it_was_written(tmp_path):
    server = Server("http://h:1", 'team/"llama"', "sglang", "Monday", {"max seqs": "64", "a": "b"})
    found = read(tmp_path, server=server)
    assert found.models[0].server == server
    assert (found.hardware, found.devices, found.tensor_parallel) == ("H200", 2, (2,))
    assert found.workloads == WORKLOADS
    assert found.gated == document.GATED
    assert found.tolerances == {"latency": 0.15}
    assert found.external


def test_what_is_booted_names_its_engine(tmp_path):
    found = read(tmp_path, engine="sglang")
    assert found.engines == ("sglang",)
    assert found.models[0].server is None


@pytest.mark.parametrize(
    ("model", "name"), [("team/llama", "llama"), ("/models/llama 3/", "llama-3"), ("llama", "llama"), ("/", "model")]
)
def test_what_a_deployment_calls_a_model(model, name):
    assert document.name_of(model) == name

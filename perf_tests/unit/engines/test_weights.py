"""Where real weights come from: wrong places and gated models are named with the remedy before anything boots."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fixtures.engines import weights
from fixtures.errors import UsageError
from fixtures.models.model import Model
from perf_tests.fakes.deployments import head, load, workload

pytestmark = pytest.mark.cpu

# A hub with an open model, one too large for any disk, and one that needs the token "good".
HUB = """
import http.server, json
class Hub(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        model = "/".join(self.path.replace("/api/models", "").split("?")[0].split("/")[1:3])
        sizes = {"o/open": 1000, "o/huge": 10**18, "o/gated": 1000}
        gated = model == "o/gated" and self.headers.get("Authorization") != "Bearer good"
        asks_file = "/resolve/" in self.path
        status = 404 if model not in sizes else 403 if gated and asks_file else 200
        self.send_response(status)
        self.end_headers()
        if status == 200:
            files = [{"rfilename": "a.safetensors", "size": sizes[model]}, {"rfilename": "README.md", "size": 10**18}]
            self.wfile.write(json.dumps({"siblings": files}).encode())
    def log_message(self, *args): pass
server = http.server.HTTPServer(("127.0.0.1", 0), Hub)
print(server.server_port, flush=True)
server.serve_forever()
"""


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with subprocess.Popen([sys.executable, "-c", HUB], stdout=subprocess.PIPE, text=True) as process:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{process.stdout.readline().strip()}")
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
        for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
            monkeypatch.delenv(name, raising=False)
        yield tmp_path
        process.kill()


def test_random_weights_need_nothing():
    assert weights.check("random") == ""


def test_a_directory_with_weights(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UsageError, match=r"no \*.safetensors"):
        weights.check(str(tmp_path))
    (tmp_path / "model.safetensors").touch()
    assert weights.check(str(tmp_path)) == str(tmp_path)


def test_a_directory_without_a_configuration(tmp_path):
    with pytest.raises(UsageError, match=r"no config.json"):
        weights.check(str(tmp_path))


def test_neither_a_directory_nor_a_hub_id():
    with pytest.raises(UsageError, match="no such directory, and not a hub id"):
        weights.check("/nonexistent/model")


def test_hub_models_are_checked_before_booting(hub, monkeypatch):
    assert weights.check("o/open") == "o/open"
    with pytest.raises(UsageError, match="the hub answers 404; check the name"):
        weights.check("o/none")
    with pytest.raises(UsageError, match="needs 1000000000.0 GB, .* free: make room or set HF_HOME"):
        weights.check("o/huge")
    with pytest.raises(
        UsageError, match="o/gated is gated: accept its licence at .*, then `hf auth login` or set HF_TOKEN"
    ):
        weights.check("o/gated")
    monkeypatch.setenv("HF_TOKEN", "bad")
    with pytest.raises(UsageError, match="the account of your token has no access"):
        weights.check("o/gated")
    monkeypatch.setenv("HF_TOKEN", "good\n")
    assert weights.check("o/gated") == "o/gated"


def test_who_has_logged_in_needs_no_variable(hub):
    (hub / "hf").mkdir()
    (hub / "hf" / "token").write_text("good\n")
    assert weights.check("o/gated") == "o/gated"


def test_a_cached_model_needs_no_hub(hub, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UsageError, match="cannot be reached .* download it on a machine with a network"):
        weights.check("o/open")
    snapshot = hub / "hf" / "hub" / "models--o--open" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot / "model.safetensors").touch()
    assert weights.check("o/open") == "o/open"


def test_where_weights_are(hub):
    assert weights.directory("random") is weights.directory("dummy") is weights.directory("o/open") is None
    assert weights.directory("/models/m") == Path("/models/m")
    model = hub / "hf" / "hub" / "models--o--open"
    for name, age in (("old", 2), ("new", 1), ("main", 3)):
        (model / "snapshots" / name).mkdir(parents=True)
        os.utime(model / "snapshots" / name, (1e9 - age, 1e9 - age))
    assert weights.directory("o/open").name == "new", "the last that was fetched"
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text("main\n")
    assert weights.directory("o/open").name == "main"
    (model / "refs" / "main").write_text("gone")
    assert weights.directory("o/open").name == "new"


@pytest.fixture
def checkpoint(tmp_path):
    """A deployment whose real weights say this of their format, beside the shipped configuration of Llama."""

    def loaded(quantization, name="llama-3.1-8b"):
        directory = tmp_path / "weights"
        directory.mkdir()
        config = Model.load(name, "test").config | {"quantization_config": quantization}
        (directory / "config.json").write_text(json.dumps(config))
        (directory / "model.safetensors").touch()
        text = head([name]).rstrip("\n") + '\nweights = "./weights"\n'
        return load(tmp_path, text + workload("one", "batch", batch_size=1)), name, str(directory)

    return loaded


def test_weights_in_the_format_of_the_configuration(checkpoint):
    deployment, name, directory = checkpoint(None)
    assert weights.of(deployment, name) == directory


def test_another_order_of_a_files_keys_is_no_other_format(checkpoint):
    awq = {"quant_method": "awq", "zero_point": True, "group_size": 128, "bits": 4, "version": "gemm"}
    deployment, name, directory = checkpoint(awq, "mixtral-8x7b-awq")
    assert weights.of(deployment, name) == directory


@pytest.mark.parametrize(
    ("quantization", "message"),
    [
        (
            {"quant_method": "fp8"},
            "config.json says fp8, and .*, which they are measured under, none: name .*/weights as",
        ),
        ({"load_in_4bit": True}, "weights/config.json: quantization_config.load_in_4bit: bitsandbytes"),
    ],
)
def test_weights_in_another_format_are_refused(checkpoint, quantization, message):
    deployment, name, _ = checkpoint(quantization)
    with pytest.raises(UsageError, match=message):
        weights.of(deployment, name)

"""Where real weights come from: wrong places and gated models are named with the remedy before anything boots."""

import subprocess
import sys

import pytest

from fixtures.engines import weights
from fixtures.errors import UsageError

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
        monkeypatch.delenv("HF_TOKEN", raising=False)
        monkeypatch.delenv("HF_HUB_CACHE", raising=False)
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
    with pytest.raises(UsageError, match="o/gated is gated: accept its licence at .* and set HF_TOKEN"):
        weights.check("o/gated")
    monkeypatch.setenv("HF_TOKEN", "bad")
    with pytest.raises(UsageError, match="the account of HF_TOKEN has no access"):
        weights.check("o/gated")
    monkeypatch.setenv("HF_TOKEN", "good")
    assert weights.check("o/gated") == "o/gated"


def test_a_cached_model_needs_no_hub(hub, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UsageError, match="cannot be reached .* download it on a machine with a network"):
        weights.check("o/open")
    snapshot = hub / "hf" / "hub" / "models--o--open" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot / "model.safetensors").touch()
    assert weights.check("o/open") == "o/open"

"""Where the configuration of a model is that a server names."""

import contextlib
import http.server
import json
import threading

import pytest

from fixtures.errors import UsageError
from fixtures.init import configuration

pytestmark = pytest.mark.cpu
URL = "http://h:8000"


@contextlib.contextmanager
def hub(**models):
    """A hub that has the configurations of these models of the owner ``o``."""

    class Hub(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            text = models.get(self.path.split("/")[2]) if self.path.endswith("/resolve/main/config.json") else None
            self.send_response(200 if text else 404)
            self.end_headers()
            self.wfile.write((text or "").encode())

        def log_message(self, *args):
            """Nothing."""

    with http.server.HTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache of the hub's, and nobody at the hub's address."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    return tmp_path / "hub"


def test_a_directory_of_this_machine_counts_only_for_a_server_that_runs_here(tmp_path, cache):
    (tmp_path / "config.json").write_text("{}")
    assert configuration.named((str(tmp_path), "team/llama"), URL, True) == "{}"
    with pytest.raises(
        UsageError, match=r"http://h:8000 serves .* or team/llama, whose config.json is not found here and not"
    ):
        configuration.named((str(tmp_path), "team/llama"), URL, False)


def test_the_hubs_cache(cache):
    revision = cache / "models--o--m" / "snapshots" / "abc"
    revision.mkdir(parents=True)
    (revision / "config.json").write_text('{"from": "the cache"}')
    assert "the cache" in configuration.named(("/models/m", "o/m"), URL, True)


def test_the_hub_itself(cache, monkeypatch):
    with hub(m='{"from": "the hub"}', broken="<html>") as endpoint:
        monkeypatch.setenv("HF_ENDPOINT", endpoint)
        assert "the hub" in configuration.named(("", "o/m"), URL, False)
        for missing in ("o/broken", "o/other"):
            with pytest.raises(UsageError, match="give it with --config PATH"):
                configuration.named((missing,), URL, False)


def test_a_configuration_is_given_by_its_path_or_that_of_its_directory(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    assert configuration.given(tmp_path) == configuration.given(tmp_path / "config.json") == "{}"
    with pytest.raises(UsageError, match=r"none/config.json: cannot be read"):
        configuration.given(tmp_path / "none" / "config.json")


def test_it_is_written_beside_the_deployment(tmp_path):
    directory = configuration.beside(tmp_path / "my.toml", '{"a": 1}')
    assert directory == tmp_path / "my.model"
    assert json.loads((directory / "config.json").read_text()) == {"a": 1}
    with pytest.raises(UsageError, match="not valid JSON"):
        configuration.beside(tmp_path / "other.toml", "{")
    assert not (tmp_path / "other.model").exists()

"""What a server that already runs tells of itself, and which of its boots it is."""

import contextlib
import json
import socket
import struct
import threading

import pytest

from fixtures.deployments.server import Server
from fixtures.engines.boot import attach
from fixtures.engines.running import ask
from fixtures.errors import EngineError
from fixtures.hardware.host import host_id
from perf_tests.fakes.server_process import mock_server

pytestmark = pytest.mark.cpu
SGLANG = {"version": "0.5.17", "model_path": "/m", "tp_size": 2, "disable_radix_cache": False, "context_length": 512}


def told(*options):
    with mock_server(*options) as url:
        return ask(Server(url), "mock", "")


def test_a_boot_is_the_same_however_often_it_is_asked_and_another_one_after_a_restart():
    with mock_server() as url:
        first, again = (ask(Server(url), "mock", "") for _ in range(2))
    assert first == again
    assert first.tells_start
    assert first.started
    assert told().boot != first.boot


def test_what_vllm_tells():
    with mock_server("--version", "0.32.0", "--max-model-len", "1024", "--root", "/a/secret/place/llama") as url:
        boot = attach(Server(url), "mock")
        found = ask(Server(url), "mock", "")
    assert found.facts == {
        "serves": "mock",
        "context": "1024",
        "engine": "vllm",
        "prefix cache": "True",
        "KV cache dtype": "auto",
    }
    assert boot.report.version == "0.32.0"
    assert boot.report.execution == {"model root": "llama", "KV block": "16"}
    assert boot.host_id == host_id()
    assert boot.report.remarks == ()


def test_vllm_that_keeps_no_statistics_is_known_by_its_list_of_models():
    found = told("--version", "0.32.0", "--no-metrics", "--owned-by", "vllm")
    assert found.facts == {"serves": "mock", "engine": "vllm"}
    assert "engine" not in told("--version", "0.32.0", "--no-metrics").facts


def test_what_sglang_tells_and_by_which_its_boots_are_told_apart():
    found = [told("--no-metrics", "--server-info", json.dumps(SGLANG | {"random_seed": seed})) for seed in (1, 1, 2)]
    assert found[0].facts == {
        "serves": "mock",
        "context": "512",
        "engine": "sglang",
        "tensor parallel": "2",
        "prefix cache off": "False",
    }
    assert [one.tells_start for one in found] == [True] * 3
    assert found[0].boot == found[1].boot != found[2].boot


def test_a_server_that_tells_nothing_is_one_boot_until_somebody_names_another():
    with mock_server("--no-metrics") as url:
        untold, named, other = (ask(Server(url, boot=boot), "mock", "") for boot in ("", "Monday", "Tuesday"))
        remarks = attach(Server(url), "mock").report.remarks
    assert not untold.tells_start
    assert named.tells_start
    assert named.boot == "stated-Monday" != other.boot
    assert remarks == (
        f"{url} does not tell when it was started: all its runs count as one boot; name each with --boot-id",
    )


def test_another_version_is_another_boot_of_a_server_that_tells_no_start():
    found = [
        told("--no-metrics", "--server-info", json.dumps(SGLANG | {"version": version}))
        for version in ("0.5.17", "0.5.18")
    ]
    assert not found[0].tells_start
    assert found[0].boot != found[1].boot


def test_a_server_that_is_restarted_meanwhile_is_not_the_boot_that_was_attached():
    with mock_server("--started", "1000.5") as url:
        port = url.rpartition(":")[2]
        boot = attach(Server(url), "mock")
        boot.check_alive()
    with mock_server("--started", "2000.5", "--port", port):
        with pytest.raises(EngineError, match=r"runs boot 19700101T003320-\w+, not 19700101T001640-\w+ any more"):
            boot.check_alive()
    with pytest.raises(EngineError, match="nothing answers"):
        boot.check_alive()


def test_what_contradicts_the_deployment_is_named():
    with mock_server("--version", "0.32.0", "--no-prefix-caching") as url:
        with pytest.raises(EngineError, match="tells prefix cache 'False', the deployment states 'True'"):
            attach(Server(url, states={"prefix cache": "True"}), "mock")


def test_the_name_under_which_it_serves():
    with mock_server("--model", "team/llama", "--also", "other") as url:
        assert ask(Server(url, serves="team/llama"), "llama", "").serves == "team/llama"
        with pytest.raises(
            EngineError, match="serves other, team/llama, none of which is llama: name it with `serves`"
        ):
            ask(Server(url), "llama", "")


@contextlib.contextmanager
def full():
    """An address at which connections are neither accepted nor refused: its queue is full."""
    with socket.socket() as listener, contextlib.ExitStack() as clients:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(8):
            client = clients.enter_context(socket.socket())
            client.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                client.connect(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_a_dead_address_is_one_line_whether_it_refuses_or_is_mute():
    with pytest.raises(
        EngineError, match=r"^nothing answers at http://127.0.0.1:9 \(Connection refused\): start the server"
    ):
        ask(Server("http://127.0.0.1:9"), "m", "")
    with full() as url:
        with pytest.raises(EngineError, match=rf"^nothing answers at {url} \(timed out\): start the server, wait"):
            ask(Server(url), "m", "")


def test_a_server_that_dies_while_it_is_asked_is_as_one_that_does_not_answer():
    def die():
        dying.accept()[0].close()  # it listens
        with dying.accept()[0] as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closed by a reset

    with socket.create_server(("127.0.0.1", 0)) as dying:
        thread = threading.Thread(target=die)
        thread.start()
        url = f"http://127.0.0.1:{dying.getsockname()[1]}"
        with pytest.raises(EngineError, match=rf"^nothing answers at {url} \(.+\): start the server, wait"):
            attach(Server(url), "mock")
        thread.join()


def test_a_server_is_asked_past_the_environments_proxy(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    assert told("--version", "0.32.0").about.version == "0.32.0"

"""Whether a server is idle, by what it tells after a step."""

import contextlib
import http.client
import json
import urllib.parse

import pytest

from fixtures.client.request import Request
from fixtures.deployments.server import Server
from fixtures.engines.boot import attach
from fixtures.errors import EngineError, EngineHung
from fixtures.session import idle
from fixtures.session.idle import is_idle, wait_until_idle
from perf_tests.fakes.server_process import mock_server

pytestmark = pytest.mark.cpu

ONE_TOKEN = Request([5], 1)
# A second token never comes.
SLOW = ("--ttft", "0.01", "--gap", "3600", "--counts", "vllm")


@contextlib.contextmanager
def somebody_elses_request(url):
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc)
    body = {"model": "mock", "prompt": [5], "max_tokens": 8, "stream": True}
    connection.request("POST", "/v1/completions", json.dumps(body))
    response = connection.getresponse()
    response.readline()
    yield
    response.close()
    connection.close()


def test_a_server_is_busy_until_its_requests_are_answered_or_aborted():
    with mock_server(*SLOW, "--version", "0.32.0") as url:
        server = attach(Server(url), "mock")
        assert is_idle(server, ONE_TOKEN)
        with somebody_elses_request(url):
            assert not is_idle(server, ONE_TOKEN)
        assert server.unfinished() == 1, "it has made no step since"
        wait_until_idle(server, ONE_TOKEN)
        assert server.unfinished() == 0


@pytest.mark.parametrize("options", [SLOW, ("--version", "0.32.0", "--ttft", "0.01")])
def test_a_server_that_tells_nothing_of_its_requests_is_not_said_to_be_idle(options):
    with mock_server(*options) as url:
        assert not is_idle(attach(Server(url), "mock"), ONE_TOKEN)


def test_one_that_stays_busy_ends_the_wait_and_is_not_measured_on_again(monkeypatch):
    monkeypatch.setattr(idle, "LIMIT_SECONDS", 0.2)
    with mock_server(*SLOW, "--version", "0.32.0") as url, somebody_elses_request(url):
        server = attach(Server(url), "mock")
        with pytest.raises(EngineHung, match="the server still has requests 0.2 s after"):
            wait_until_idle(server, ONE_TOKEN)


def test_one_that_dies_ends_the_wait_at_once():
    with mock_server(*SLOW, "--version", "0.32.0") as url:
        server = attach(Server(url), "mock")
    with pytest.raises(EngineError, match="nothing answers at"):
        wait_until_idle(server, ONE_TOKEN)


def test_one_that_dies_of_the_request_is_said_to():
    with mock_server(*SLOW, "--version", "0.32.0", "--fault", "exit") as url:
        server = attach(Server(url), "mock")
        with pytest.raises(EngineError, match="nothing answers at"):
            is_idle(server, ONE_TOKEN)


def test_one_whose_gauges_are_gone_ends_the_wait(monkeypatch):
    monkeypatch.setattr(idle, "LIMIT_SECONDS", 0.2)
    with (
        mock_server("--version", "0.32.0") as url,
        pytest.raises(EngineHung, match="tells nothing of its requests any more"),
    ):
        wait_until_idle(attach(Server(url), "mock"), ONE_TOKEN)


def test_one_that_answers_with_an_error_is_said_to():
    with mock_server(*SLOW, "--version", "0.32.0", "--fault", "http-500") as url:
        server = attach(Server(url), "mock")
        with pytest.raises(EngineError, match="1 of 1 requests failed, most often: HTTP 500"):
            is_idle(server, ONE_TOKEN)

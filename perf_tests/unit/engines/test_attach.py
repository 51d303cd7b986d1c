"""A server that already runs, and which of its models is measured."""

import pytest

from fixtures.client.load import run
from fixtures.client.request import Request
from fixtures.deployments.server import Server
from fixtures.engines.boot import attach
from fixtures.errors import EngineError
from perf_tests.fakes.server_process import mock_server, server_log

pytestmark = pytest.mark.cpu
QUICK = ("--ttft", "0.01", "--gap", "0.002")


def test_of_several_models_the_named_one_is_asked():
    with mock_server(*QUICK, "--also", "base-model", "--also", "beta", "--model", "alpha") as url:
        for name in ("alpha", "beta", "base-model"):
            (record,) = run(attach(Server(url), name).target, [Request([5] * 4, 2)])
            assert record.error == ""
            assert [entry["model"] for entry in server_log(url)] == [name]


def test_several_models_without_the_named_one_are_listed():
    with mock_server("--also", "base-model", "--model", "alpha") as url:
        with pytest.raises(EngineError, match="serves base-model, alpha, none of which is llama: name it with"):
            attach(Server(url), "llama")


def test_the_only_model_is_measured_whatever_its_name():
    with mock_server("--model", "meta-llama/Llama-3.1-8B") as url:
        assert attach(Server(url), "llama").target.model == "meta-llama/Llama-3.1-8B"


def test_a_server_that_lists_nothing_is_named_with_its_address():
    with mock_server() as url:
        with pytest.raises(EngineError, match=f"{url}/elsewhere/v1/models: HTTP Error 404"):
            attach(Server(f"{url}/elsewhere"), "llama")

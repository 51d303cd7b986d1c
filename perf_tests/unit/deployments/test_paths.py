"""Paths of a deployment file are relative to it, wherever pytest is started; those of options to the current directory."""

import json
from pathlib import Path

import pytest

from fixtures.deployments import deployment as deployments
from fixtures.deployments.cell import cells
from fixtures.engines import weights
from fixtures.engines.pool import spec_of
from fixtures.engines.registry import ENGINES
from fixtures.errors import UsageError
from fixtures.models import location
from perf_tests.fakes.deployments import head, workload
from perf_tests.fakes.suite import LEAN, pytest_here
from perf_tests.paths import ROOT

pytestmark = pytest.mark.cpu

DEPLOYMENT = head(["chat-small"]) + "MODEL\n" + workload("batch-1", "batch", batch_size=1)
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
    "vocab_size": 512,
}


def model(directory: Path) -> Path:
    """A configuration with (empty) weights."""
    directory.mkdir(parents=True)
    (directory / "config.json").write_text(json.dumps(CONFIG))
    (directory / "model.safetensors").touch()
    return directory


@pytest.fixture
def places(tmp_path, monkeypatch):
    """A directory for the deployment with two models beside it, and another one that everything is started in."""
    model(tmp_path / "team" / "chat-small")
    model(tmp_path / "trained" / "chat")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path


def load(places, keys):
    path = places / "team" / "mine.toml"
    path.write_text(DEPLOYMENT.replace("MODEL", keys))
    # As a user would name it, relative to where pytest is started.
    return deployments.load("../team/mine.toml", ENGINES)


@pytest.mark.parametrize("keys", ["", 'configuration = "chat-small"', 'configuration = "./chat-small"'])
def test_a_configuration_lies_beside_the_file(places, keys):
    assert load(places, keys).configuration("chat-small").directory.samefile(places / "team" / "chat-small")


def test_an_absolute_path_is_taken_as_it_is(places):
    found = load(places, f'configuration = "{places}/trained/chat"\nweights = "{places}/trained/chat"')
    assert found.configuration("chat-small").directory == places / "trained" / "chat"
    assert weights.of(found, "chat-small") == f"{places}/trained/chat"


def test_the_users_home_is_understood(places, monkeypatch):
    monkeypatch.setenv("HOME", str(places / "trained"))
    found = load(places, 'configuration = "~/chat"\nweights = "~/chat"')
    assert found.configuration("chat-small").directory == places / "trained" / "chat"
    assert weights.of(found, "chat-small") == f"{places}/trained/chat"


def test_a_shipped_name_is_no_path(places):
    model(places / "team" / "llama-3.1-8b")
    found = load(places, 'configuration = "llama-3.1-8b"')
    assert found.configuration("chat-small").directory == location.SHIPPED / "llama-3.1-8b"


@pytest.mark.parametrize("text", ["chat-small", "./chat-small", "../trained/chat", "weights/chat"])
def test_weights_lie_beside_the_file(places, text):
    model(places / "team" / "weights" / "chat")
    found = load(places, f'weights = "{text}"')
    assert Path(weights.of(found, "chat-small")).samefile(places / "team" / text)
    assert Path(found.model("chat-small").weights).is_absolute(), "a server may be started anywhere"
    (block,) = {cell.block for cell in cells(found)}
    assert Path(spec_of(found, block).model_directory).samefile(places / "team" / text)


def test_a_server_serves_a_model_that_is_named_by_its_path_under_a_name_that_is_no_option(places):
    (places / "team.toml").write_text(head([f"{places}/trained/chat"]) + workload("startup", "startup"))
    found = deployments.load(str(places / "team.toml"), ENGINES)
    (block,) = {cell.block for cell in cells(found)}
    assert spec_of(found, block).served_name == f"{places}/trained/chat"[1:].replace("/", "-")


def test_a_hub_id_stays_one_also_beside_a_directory_of_that_name_elsewhere(places):
    model(places / "elsewhere" / "mistralai" / "Mixtral-8x7B-v0.1")
    assert load(places, 'weights = "mistralai/Mixtral-8x7B-v0.1"').model("chat-small").weights == (
        "mistralai/Mixtral-8x7B-v0.1"
    )
    assert load(places, "").model("chat-small").weights == "random"


def test_of_an_option_the_current_directory_counts(places):
    model(places / "elsewhere" / "own" / "chat")
    assert location.weights("own/chat", Path.cwd()) == str(places / "elsewhere" / "own" / "chat")
    assert location.weights("own/other", Path.cwd()) == "own/other"
    assert location.weights("own", Path.cwd()) == str(places / "elsewhere" / "own")


@pytest.mark.parametrize("text", ["small", "./small", "small\\u0000", "small\\nones", "s" * 5000])
def test_a_configuration_that_is_not_there_is_named_with_its_key(places, text):
    with pytest.raises(UsageError, match="mine.toml: models: configuration: unknown model '(./)?s") as caught:
        load(places, f'configuration = "{text}"')
    assert f"there is no '{places}/team/s" in str(caught.value)
    assert str(caught.value).endswith("/config.json'")
    assert "\n" not in str(caught.value)


def test_a_name_alone_that_is_no_model_is_named_with_its_key(places):
    (places / "team" / "chat-small" / "config.json").unlink()
    with pytest.raises(
        UsageError, match="mine.toml: models: name: unknown model 'chat-small'; expected one of gpt-oss"
    ):
        load(places, "")


@pytest.mark.parametrize("text", ["nothing", "./nothing/here", "a/b/c"])
def test_weights_that_are_not_there_are_named_with_their_key(places, text):
    found = load(places, f'weights = "{text}"')
    with pytest.raises(UsageError, match="no such directory") as caught:
        weights.of(found, "chat-small")
    resolved = (places / "team" / text).resolve()
    assert str(caught.value).startswith(f"mine: models: chat-small: weights: {resolved}: ")
    assert "\n" not in str(caught.value)


def test_pytest_started_elsewhere_finds_the_model(places):
    load(places, 'configuration = "./chat-small"\nweights = "../trained/chat"')
    tests = (str(ROOT / "perf_tests" / "serving"), "-m", "serving", "--collect-only", "-q", *LEAN)
    done = pytest_here(*tests, "--deployment=../team/mine.toml", directory=places / "elsewhere")
    assert "vllm/chat-small/tp1/batch-1" in done.text, done.text
    load(places, 'weights = "../trained/none"')
    done = pytest_here(*tests, "--deployment=../team/mine.toml", directory=places / "elsewhere")
    assert f"{places}/trained/none: no such directory" in done.text

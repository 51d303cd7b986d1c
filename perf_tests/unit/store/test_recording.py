"""Which of several recorded files of a cell is played back."""

import dataclasses
import shutil

import pytest

from fixtures.deployments.cell import cells
from fixtures.deployments.deployment import load
from fixtures.engines.registry import ENGINES
from fixtures.errors import UsageError
from fixtures.store.recording import Recording
from perf_tests.documentation import evidence

pytestmark = pytest.mark.cpu

SHIPPED = load("h200x1", ENGINES)


def with_weights(kind):
    return dataclasses.replace(
        SHIPPED, models=tuple(dataclasses.replace(entry, weights=kind) for entry in SHIPPED.models)
    )


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """Boots of both kinds of weights under one card's directory, as baselines have them."""
    directory = tmp_path_factory.mktemp("recorded")
    for one in (evidence.CURRENT, evidence.TODAY):
        shutil.copytree(one / "h200x1", directory, dirs_exist_ok=True)
    return directory


@pytest.mark.parametrize(("kind", "release"), [("random", "0.33.0"), ("dummy", "0.26.0")])
def test_of_two_kinds_of_weights_those_of_the_deployment_are_played_back(recorded, kind, release):
    deployment = with_weights(kind)
    (cell,) = cells(deployment, ["vllm/llama-3.1-8b/tp1/batch-8"])[-1:]
    recording = Recording(recorded, deployment)
    assert recording.fingerprint(cell)["weights"] == kind
    assert {boot.provenance["engine_version"] for boot in recording.boots(cell)} == {release}


def test_which_of_two_that_are_of_neither_kind_is_not_guessed(recorded):
    with pytest.raises(UsageError, match="is in another file too; name the directory of one"):
        Recording(recorded, with_weights("/m"))


def test_a_single_file_is_played_back_whatever_its_weights(tmp_path):
    shutil.copytree(evidence.CURRENT / "h200x1" / "vllm-tp1-dummy", tmp_path / "r")
    (cell,) = cells(SHIPPED, ["vllm/llama-3.1-8b/tp1/batch-8"])[-1:]
    assert Recording(tmp_path / "r", SHIPPED).fingerprint(cell)["weights"] == "dummy"


def test_outputs_that_more_was_asked_for_are_played_back_as_far_as_they_are_asked_for_now():
    """A boot of evidence was asked for 48 prompts alone and answers of 4 tokens."""
    recording = Recording(evidence.TODAY / "h200x1" / "vllm-tp1-random", SHIPPED)
    (cell,) = (one for one in cells(SHIPPED, ["vllm/llama-3.1-8b/tp1/*"]) if one.workload.kind == "outputs")
    boot, *_ = boots = recording.boots(cell)
    asked = cell.workload
    assert len(boots) > 1
    assert len(boot.outputs) == asked.alone_prompts + asked.long_prompts + asked.num_prompts
    assert not boot.metrics, "how long it took to ask for more is no time of this"
    for other in (dataclasses.replace(asked, output_len=5), dataclasses.replace(asked, input_len=9)):
        assert recording.boots(dataclasses.replace(cell, workload=other)) == ()

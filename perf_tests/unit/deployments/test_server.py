"""A deployment of servers that already run, and what must match before two of them are compared."""

import dataclasses

import pytest

from fixtures.deployments.cell import cells
from fixtures.errors import UsageError
from fixtures.gate.differences import differences
from fixtures.hardware.fingerprint import fingerprint
from fixtures.store.baseline import path_of
from perf_tests.fakes.deployments import head, load, workload

pytestmark = pytest.mark.cpu
SERVER = '\n[models.server]\nurl = "http://h:8000"\n'
BATCH = workload("batch-1", "batch", batch_size=1, repetitions=1)


def deployed(tmp_path, server=SERVER, **fields):
    return load(tmp_path, head(**{"engines": ["external"]} | fields) + server + BATCH)


def shown(deployment):
    (cell,) = cells(deployment)
    return fingerprint(deployment, cell.block, deployment.configuration(cell.block.model), [])


def test_a_server_that_runs_already_is_not_booted_cold(tmp_path):
    found = load(tmp_path, head(engines=["external"]) + SERVER + BATCH + workload("cold-startup", "cold-startup"))
    assert [cell.workload.name for cell in cells(found)] == ["batch-1"]


def test_a_server_is_measured_on_whatever_it_is_said_to_run_on(tmp_path):
    found = deployed(tmp_path, hardware="H200", devices=2, tensor_parallel=[2])
    assert found.external
    assert not found.needs_gpu, "no card of this machine"
    assert [cell.id for cell in cells(found)] == ["external/llama-3.1-8b-twin/tp2/batch-1"]
    assert path_of(tmp_path, shown(found), "m") == tmp_path / "h200x2" / "external-tp2-served" / "m.json"


@pytest.mark.parametrize(
    ("engines", "server"),
    [(["external"], ""), (["vllm"], SERVER), (["vllm", "external"], SERVER), (["vllm", "external"], "")],
)
def test_servers_that_run_and_engines_that_are_booted_do_not_mix(tmp_path, engines, server):
    with pytest.raises(
        UsageError, match=r"models: engines = \['external'\] is for servers that already run|unknown engine"
    ):
        deployed(tmp_path, server, engines=engines)


def test_a_wrong_key_of_a_server_is_named(tmp_path):
    with pytest.raises(UsageError, match="unknown key 'adress'"):
        deployed(tmp_path, SERVER.replace("url", "adress"))
    with pytest.raises(UsageError, match="protocol: expected one of 'openai', 'sglang', found 'grpc'"):
        deployed(tmp_path, SERVER + 'protocol = "grpc"\n')


def test_what_tells_two_servers_apart(tmp_path):
    one = deployed(tmp_path)

    def states(**states):
        (entry,) = one.models
        return dataclasses.replace(
            one, models=(dataclasses.replace(entry, server=dataclasses.replace(entry.server, states=states)),)
        )

    same = states(engine="vllm", serves="a"), states(serves="a", engine="vllm")
    assert shown(same[0]) == shown(same[1])
    assert differences(shown(same[0]), shown(states(engine="sglang", serves="a"))) == ["server.engine: vllm -> sglang"]
    assert "http" not in str(shown(one)), "results are committed, and addresses are nobody's business"
    moved = deployed(tmp_path, SERVER.replace("8000", "9000") + 'boot = "Monday"\n')
    assert shown(moved) == shown(one)
    assert differences(shown(deployed(tmp_path, hardware="H100")), shown(deployed(tmp_path, hardware="H200"))) == [
        "hardware: H100 -> H200"
    ]

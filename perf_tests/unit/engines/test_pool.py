"""The pool of servers, on an engine that is the mock server."""

import os
import signal

import psutil
import pytest

from fixtures.deployments.cell import cells
from fixtures.engines import boot
from fixtures.engines.pool import LOST, Pool
from fixtures.errors import EngineError
from perf_tests.fakes import fake_engine
from perf_tests.fakes.deployments import head, load, workload
from perf_tests.fakes.waiting import wait_until

DEPLOYMENT = head(max_model_len=256, boot_timeout=30) + workload("startup", "startup")


@pytest.fixture
def engine(tmp_path, monkeypatch):
    monkeypatch.setattr(boot, "POLL_SECONDS", 0.02)
    return fake_engine.build(tmp_path / "engine", "")


@pytest.fixture
def pool(tmp_path, engine):
    found = Pool(load(tmp_path, DEPLOYMENT), tmp_path, {"vllm": engine}, [], lambda phase: None)
    yield found
    found.stop()


@pytest.fixture
def block(tmp_path):
    (cell,) = cells(load(tmp_path, DEPLOYMENT))
    return cell.block


@pytest.mark.cpu
def test_a_server_apart_is_there_for_as_long_as_the_same_is_asked_for(pool, block, engine):
    measured = pool.server(block)
    assert pool.server(block) is measured
    variant = pool.variant(block, capture_routing=True)
    assert variant.id != measured.id
    assert pool.variant(block, capture_routing=True) is variant
    other = pool.variant(block, kv_cache_bytes=2**20)
    assert other.id not in (measured.id, variant.id)
    assert pool.server(block).id not in (measured.id, variant.id, other.id), "what departs is never measured"
    assert len(fake_engine.boots(engine)) == 4


@pytest.mark.faults
@pytest.mark.parametrize("first", [{}, {"capture_routing": True}])
def test_a_server_that_does_not_boot_costs_the_others_nothing(pool, block, engine, first):
    fake_engine.build(engine, "--crash", "")
    second = {} if first else {"capture_routing": True}
    for text in ("the server ended with status 1", "failed to boot earlier in this session"):
        with pytest.raises(EngineError, match=text):
            pool.variant(block, **first)
    pool.variant(block, **second).check_alive()
    with pytest.raises(EngineError, match="failed to boot earlier in this session"):
        pool.variant(block, **first)
    assert len(fake_engine.boots(engine)) == 2, "one that failed isn't tried again"


@pytest.mark.faults
def test_servers_apart_that_die_cost_the_measured_ones_nothing(pool, block, engine):
    for _ in range(LOST):
        pool.variant(block, capture_routing=True)
        killed = fake_engine.boots(engine)[-1]["pids"]
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda pids=killed: not any(map(psutil.pid_exists, pids)))
    pool.server(block).check_alive()
    assert len(fake_engine.boots(engine)) == LOST + 1, "a dead one is not handed out again"

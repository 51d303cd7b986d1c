"""The pool of servers, on an engine that is the mock server."""

import os
import signal
import threading
from concurrent.futures import wait

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


PAIR = head(["llama-3.1-8b-twin", "mixtral-8x7b-twin"], in_turn=True, max_model_len=256, boot_timeout=30)
PAIR += 'dense_reference = "llama-3.1-8b-twin"\n' + workload("startup", "startup")


@pytest.fixture
def together(tmp_path, engine):
    """A pool of two models that are measured in turn, their blocks, and what it told of the boots."""
    deployment, told = load(tmp_path, PAIR), []
    found = Pool(deployment, tmp_path, {"vllm": engine}, [], told.append)
    yield found, [cell.block for cell in cells(deployment)], told
    found.stop()


@pytest.mark.cpu
def test_servers_that_are_measured_in_turn_are_up_at_the_same_time(together, engine):
    pool, (dense, mixture), told = together
    servers = [pool.server(dense), pool.server(mixture)]
    for one in servers:
        one.check_alive()
    assert [pool.server(block) for block in (dense, mixture)] == servers
    assert len(fake_engine.boots(engine)) == 2
    assert len(told) == len(set(told)), "nothing is told twice where boots would take turns for ever"
    pool.stop()
    assert all(one.process.exit_status() is not None for one in servers)


@pytest.mark.cpu
def test_a_server_that_is_up_is_not_waited_for_while_the_one_beside_it_boots(together, monkeypatch):
    """Or the wait ends at once, for ever, and takes a core from it."""
    pool, (dense, mixture), _ = together
    waited_for, enough, boot_one = list[int](), threading.Event(), pool._boot

    def waiting(futures, *limits):
        found = wait(futures, *limits)
        waited_for.append(len(futures))
        if len(futures) == 1 or len(waited_for) > 50:
            enough.set()
        return found

    def booting(key, *others):
        if key[0] == mixture:
            enough.wait()
        return boot_one(key, *others)

    monkeypatch.setattr("fixtures.engines.pool.wait", waiting)
    monkeypatch.setattr(pool, "_boot", booting)
    pool.server(dense)
    assert 1 in waited_for


@pytest.mark.cpu
def test_a_server_that_is_given_up_leaves_the_one_beside_it(together, engine):
    pool, (dense, mixture), _ = together
    first, other = pool.server(dense), pool.server(mixture)
    pool.give_up(mixture, "it hangs")
    assert pool.server(dense) is first
    first.check_alive()
    assert pool.server(mixture) is not other
    assert pool.server(dense) is first
    assert len(fake_engine.boots(engine)) == 3


@pytest.mark.cpu
def test_an_interrupted_boot_leaves_nothing_behind(together, engine, monkeypatch):
    pool, (dense, _), _ = together

    def interrupt(*_):
        if fake_engine.boots(engine):
            raise KeyboardInterrupt

    monkeypatch.setattr(pool, "_tell", interrupt)
    with pytest.raises(KeyboardInterrupt):
        pool.server(dense)
    pool.stop()
    wait_until(lambda: not any(psutil.pid_exists(pid) for boot in fake_engine.boots(engine) for pid in boot["pids"]))

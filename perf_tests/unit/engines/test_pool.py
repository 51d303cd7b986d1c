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
from fixtures.engines.registry import ENGINES
from fixtures.errors import EngineError
from fixtures.hardware.nvml import State
from perf_tests.fakes import fake_engine
from perf_tests.fakes.deployments import head, load, workload
from perf_tests.fakes.waiting import wait_until

STARTUP = workload("startup", "startup")
DEPLOYMENT = head(max_model_len=256, boot_timeout=30) + STARTUP


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


@pytest.mark.cpu
def test_a_server_with_its_own_caches_is_the_only_one_and_is_not_kept(pool, block, tmp_path):
    measured = pool.server(block)
    with pool.alone(block, tmp_path / "caches") as server:
        assert measured.process.exit_status() is not None
        assert pool.live == [server]
    assert server.process.exit_status() is not None
    with pool.alone(block, tmp_path / "caches") as another:
        assert another.id != server.id
    assert not pool.live


@pytest.mark.cpu
def test_caches_that_cannot_be_made_are_told_as_a_boot_that_failed(pool, block, tmp_path):
    (tmp_path / "full").write_text("")
    with (
        pytest.raises(EngineError, match=r"^the server cannot be started: .*full/vllm_cache_root"),
        pool.alone(block, tmp_path / "full"),
    ):
        pass


@pytest.mark.cpu
def test_caches_are_where_they_are_wanted_whatever_else_names_them(tmp_path, engine, block, monkeypatch):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "of-the-shell"))
    fake_engine.build(engine, "--compiles 0")
    text = DEPLOYMENT.replace("devices", f'environment = {{ VLLM_CACHE_ROOT = "{tmp_path}/of-the-file" }}\ndevices', 1)
    pool = Pool(load(tmp_path, text), tmp_path, {"vllm": engine}, [], lambda phase: None)
    with pool.alone(block, tmp_path / "caches") as server:
        recorded = server.variables
    names = ENGINES["vllm"].releases.caches
    assert {path.parent.name for path in (tmp_path / "caches").rglob("kernel")} == {name.lower() for name in names}
    assert not list(tmp_path.glob("of-*"))
    assert not {"TRITON_CACHE_DIR", "VLLM_CACHE_ROOT"} & set(recorded), "a temporary directory is nothing to compare"


@pytest.mark.cpu
def test_on_cards_a_server_with_its_own_caches_sizes_its_kv_cache_itself(tmp_path, engine):
    deployment = load(tmp_path, head(["llama-3.1-8b"], hardware="H200", kv_cache_gib=30) + STARTUP)
    (cell,) = cells(deployment)
    pool = Pool(deployment, tmp_path, {"vllm": engine}, [], lambda phase: None)
    with pool.alone(cell.block, tmp_path / "caches") as server:
        assert server.spec.kv_cache_bytes == 0
    assert pool.server(cell.block).spec.kv_cache_bytes == 30 * 2**30
    pool.stop()


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
PAIR += 'dense_reference = "llama-3.1-8b-twin"\n' + STARTUP


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


@pytest.fixture
def neighbours(tmp_path, engine, monkeypatch):
    """Two pools on one card, of which each server that runs has 30 GiB and what it has grown by since, and what they told."""
    grown, told = dict[int, int](), list[str]()

    def states(_):
        pids = [one["pids"][0] for one in fake_engine.boots(engine) if psutil.pid_exists(one["pids"][0])]
        return [State(0, sum(30 * 2**30 + grown.get(pid, 0) for pid in pids), len(pids))]

    monkeypatch.setattr("fixtures.engines.pool.nvml.states", states)
    monkeypatch.setattr("fixtures.engines.pool.FREE_SECONDS", 2.0)
    deployment = load(tmp_path, DEPLOYMENT)
    pools = [Pool(deployment, tmp_path / str(i), {"vllm": engine}, [], told.append) for i in range(2)]
    pools[0].neighbour, pools[1].neighbour = pools[1], pools[0]

    def work(server, gib):
        """Have a server take more of the card; what the card shows of it then, in GiB and processes."""
        pid = next(one["pids"][0] for one in fake_engine.boots(engine) if f":{one['port']}" in server.target.url)
        grown[pid] = grown.get(pid, 0) + gib * 2**30
        (card,) = server.share(states([]))
        return card.memory_used / 2**30, card.processes

    yield pools, work, told
    for one in pools:
        one.stop()


@pytest.mark.cpu
def test_what_servers_beside_each_other_take_while_they_work_is_their_own(neighbours, block):
    (one, other), work, _ = neighbours
    first, second = one.server(block), other.server(block)
    assert (first.invalid_reason, second.invalid_reason) == ("", "")
    assert work(first, 3) == (33, 1)
    assert work(second, 2) == (32, 1)
    assert work(second, 0) == (32, 1)
    assert work(first, 1) == (34, 1)


@pytest.mark.cpu
def test_a_server_is_given_up_booted_and_stopped_beside_one_that_has_grown(neighbours, block):
    """Nothing that the other one has is waited for, or taken for a stranger's."""
    (one, other), work, told = neighbours
    first, second = one.server(block), other.server(block)
    work(first, 2)
    work(second, 3)
    one.give_up(block, "it hangs")
    again = one.server(block)
    assert (again is first, again.invalid_reason) == (False, "")
    assert work(second, 0) == (33, 1)
    other.stop()
    assert work(again, 0) == (30, 1)
    one.stop()
    assert not [text for text in told if "still in use" in text]

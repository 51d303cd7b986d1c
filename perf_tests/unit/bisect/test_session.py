"""What a session tells of an engine, and what it cannot be asked of."""

import dataclasses

import pytest

from fixtures.bisect import session
from fixtures.bisect.engine import Engine
from fixtures.bisect.regression import Regression
from fixtures.errors import EngineError, UsageError
from perf_tests.fakes import fake_engine
from perf_tests.fakes.deployments import BLOCK
from perf_tests.fakes.synthetic_run import synthetic_run

pytestmark = pytest.mark.cpu


@pytest.fixture
def engines(tmp_path):
    """One that is whole, and a directory that was built and lacks the engine."""
    (tmp_path / "hollow").mkdir()
    whole = fake_engine.build(tmp_path / "whole")
    return [Engine("whole", "", lambda: whole), Engine("hollow", "", lambda: tmp_path / "hollow")]


def test_what_was_built_without_the_engine_is_skipped_and_a_reference_like_that_is_wrong_input(engines, tmp_path):
    ask = [Regression(f"{BLOCK}/batch-1", "latency", 0.1)]
    skipped = session.measurer(engines, "vllm", tmp_path / "search", [])("hollow", ask, 2)
    assert skipped.skipped[ask[0].name].startswith(f"no vllm in {tmp_path / 'hollow'}: ")
    assert (skipped.run, skipped.boots) == ("", 0)
    with pytest.raises(UsageError, match="hollow: the reference: no vllm in "):
        session.measurer(engines[::-1], "vllm", tmp_path / "search", [])("whole", ask, 2)


def test_a_session_that_pytest_refuses_says_why(engines, tmp_path):
    ask, options = [Regression(f"{BLOCK}/batch-1", "latency", 0.1)], ["--deployment=moon"]
    measure = session.measurer(
        [engines[0], Engine("next", "", engines[0].prepare)], "vllm", tmp_path / "search", options
    )
    with pytest.raises(UsageError, match=r"pytest.log: .* its end: --deployment: unknown deployment 'moon'") as refused:
        measure("next", ask, 2)
    assert "\n" not in str(refused.value)


def test_a_cell_that_failed_takes_no_pairs_from_the_others():
    run = synthetic_run(cells=2, boots=2)
    first, second = run.cells
    beside = tuple(dataclasses.replace(one, boot=f"{one.boot}-beside") for one in first.boots)
    first = dataclasses.replace(first, beside=beside, ratios={"latency": {"a": 1.1, "b": 1.2}})
    second = dataclasses.replace(
        second,
        boots=(),
        beside=beside,
        error="it ended; its last lines (all in a.log):\nread()\n  OSError: no such device",
    )
    asked = [Regression(cell.id, "latency", 0.1) for cell in (first, second)]
    found = session.record("v1", dataclasses.replace(run, cells=(first, second)), asked, "where")
    assert found.ratios == {asked[0].name: (1.1, 1.2)}
    why = f"{second.id}: it ended; its last lines (all in a.log): OSError: no such device"
    assert found.skipped == {asked[1].name: why}
    assert (found.run, found.boots) == ("where", len({one.boot for one in first.boots}) + len(beside))


def test_a_reference_that_does_not_boot_is_no_fault_of_the_engine_beside_it():
    run = synthetic_run(cells=2, boots=2)
    first, second = (
        dataclasses.replace(cell, boots=(), block="vllm/m/tp1", error=error)
        for cell, error in zip(run.cells, ("the server ended:\nno torch", "it failed to boot earlier"), strict=True)
    )
    with pytest.raises(EngineError, match=f"^{second.id}: the server ended: no torch$"):
        session.record(
            "v1",
            dataclasses.replace(run, cells=(first, second)),
            [Regression(second.id, "latency", 0.1)],
            "where",
        )

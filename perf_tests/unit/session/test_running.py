"""Boots of a server that nobody restarts here: the one that runs, and those that earlier runs measured."""

import pytest

from fixtures.deployments.cell import cells
from fixtures.errors import EngineError, UsageError
from fixtures.session.rounds import plain_rounds
from fixtures.session.running import Running, earlier_boots
from fixtures.store.run import BlockRecord, CellRecord, Run, text
from fixtures.store.sample import Sample
from perf_tests.fakes.deployments import head, load, workload

pytestmark = pytest.mark.cpu
FINGERPRINT = {
    "hardware": "cpu",
    "devices": 0,
    "model": {},
    "engine": "external",
    "tensor_parallel": 1,
    "weights": "served",
}


@pytest.fixture
def cell(tmp_path):
    text_ = head(engines=["external"]) + '\n[models.server]\nurl = "http://h:1"\n'
    (found,) = cells(load(tmp_path, text_ + workload("batch-1", "batch", batch_size=1, repetitions=1)))
    return found


def sample(boot, value=1.0, measured="1", **fields):
    return Sample(
        boot,
        "h",
        "2026-01-01T00:00:00+00:00",
        {"latency": value},
        {"latency": (value,)},
        {"measured": measured},
        **fields,
    )


class Reference:
    def fingerprint(self, block):
        return FINGERPRINT


class Measuring:
    """A measurer and its pool, whose server is always at the boot ``now``."""

    def __init__(self):
        self.asked = 0

    def server(self, block):
        return None

    def stop(self):
        """Nobody ends another's server."""

    def measure(self, cell, server, rounds):
        self.asked += 1
        return sample("now")


def written(directory, cell, *boots, fingerprint=FINGERPRINT):
    block = cell.block
    record = CellRecord(cell.id, block.id, cell.workload.name, cell.workload.definition(), boots)
    run = Run(
        "r",
        "2026-01-01T00:00:00+00:00",
        "d",
        "",
        (BlockRecord(block.id, block.engine, block.model, 1, "", fingerprint, ""),),
        (record,),
    )
    directory.mkdir()
    (directory / "run.json").write_text(text(run))
    return directory


def test_what_several_runs_measured_of_a_boot_is_one_sample(tmp_path, cell):
    runs = [
        written(tmp_path / "1", cell, sample("a", 1.0, "1"), sample("bad", 9.0, "1", invalid="late")),
        written(tmp_path / "2", cell, sample("a", 3.0, "2"), sample("b", 5.0, "2")),
    ]
    found = earlier_boots(runs, [cell], Reference())
    assert [boot[cell.id].boot for boot in found] == ["a", "b"]
    assert found[0][cell.id].metrics["latency"] == 2.0
    # A later run has what it judged of an earlier one: it is the same measurement.
    runs.append(written(tmp_path / "3", cell, sample("c", 7.0, "3"), sample("b", 5.0, "2")))
    again = earlier_boots(runs, [cell], Reference())
    assert [(boot[cell.id].boot, boot[cell.id].metrics["latency"]) for boot in again] == [
        ("a", 2.0),
        ("b", 5.0),
        ("c", 7.0),
    ]


def test_a_run_of_something_else_is_refused(tmp_path, cell):
    other = written(tmp_path / "1", cell, sample("a"), fingerprint=FINGERPRINT | {"hardware": "H100"})
    with pytest.raises(UsageError, match="nothing there may be judged with this run: hardware: H100 -> cpu"):
        earlier_boots([other], [cell], Reference())
    with pytest.raises(UsageError, match="no such file; name the directory of a run"):
        earlier_boots([tmp_path / "none"], [cell], Reference())


def test_the_boot_that_runs_is_measured_and_then_earlier_ones_are_handed_out(cell):
    measuring = Measuring()
    source = Running(measuring, measuring)
    source.add([{cell.id: sample("a")}, {cell.id: sample("now")}, {cell.id: sample("b")}])
    found = []
    for _ in range(3):
        found.append(source.measure([cell], plain_rounds)[cell].boot)
        source.stop()
    assert found == ["now", "a", "b"]
    assert measuring.asked == 1
    with pytest.raises(EngineError, match="there is no further boot of a server that already runs"):
        raise source.measure([cell], plain_rounds)[cell]

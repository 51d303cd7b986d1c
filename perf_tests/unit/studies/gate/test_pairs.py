"""What pairs of boots can tell by the noise of baselines."""

import math

import numpy as np
import pytest

from fixtures.errors import UsageError
from fixtures.gate.noise import PooledNoise
from fixtures.store import baseline
from fixtures.store.baseline import Update
from fixtures.studies.gate import pairs
from fixtures.studies.gate.__main__ import main
from perf_tests.fakes.samples import record, sample

pytestmark = pytest.mark.cpu


@pytest.fixture
def committed(tmp_path):
    """A function that writes baselines of eight cells: boots on so many machines each, which add 5%, with a noise of 1%."""

    def write(machines, boots):
        random = np.random.default_rng(4)
        added = random.normal(0, 0.05, machines)
        workload = {"kind": "batch", "batch_size": 8}
        records = []
        for cell in range(8):
            samples = [
                sample(
                    f"{host}-{boot}",
                    host_id=str(host),
                    metrics={"latency": (value := float(np.exp(added[host] + random.normal(0, 0.01))))},
                    repetitions={"latency": (value, value)},
                )
                for host in range(machines)
                for boot in range(boots)
            ]
            records.append(record(f"vllm/m/tp1/batch-{cell}", samples, workload))
        baseline.write([Update(tmp_path / "m.json", {"hardware": "H200"}, records, {})], "5", append=False)
        return pairs.read(tmp_path, ())

    return write


@pytest.mark.parametrize(("machines", "boots", "source"), [(3, 5, "boots"), (12, 1, "machines")])
def test_the_noise_is_found_be_it_by_boots_or_by_what_cells_of_a_machine_do_not_share(
    committed, machines, boots, source
):
    known, told = committed(machines, boots).noise("latency", "batches up to 32")
    assert math.sqrt(known.variance) == pytest.approx(0.01, rel=0.2)
    assert told.startswith(source)
    assert known.degrees == (8 * machines * (boots - 1) if boots > 1 else 7 * (machines - 1))


def test_what_has_no_values_tells_nothing(committed):
    boots = committed(3, 1)
    assert boots.noise("tpot_p50", "batches up to 32")[0] == PooledNoise(0.0, 0)
    assert boots.noise("latency", "online")[0] == PooledNoise(0.0, 0)
    assert [row[:2] for row in pairs.rows(boots, (2, 3))] == [("latency", "batches up to 32")]


def test_a_boot_takes_its_cells_repetitions_and_as_many_for_the_warm_up(committed):
    assert committed(3, 1).seconds == pytest.approx(8 * 3, rel=0.2)


def test_more_pairs_tell_more(committed, tmp_path, capsys):
    (row,) = pairs.rows(committed(12, 1), (2, 3, 5))
    assert row[4].startswith("none / "), "two pairs find nothing"
    three, five = (float(text.split("%")[0]) for text in row[5:])
    assert three > five > 1
    assert main(["pairs", f"--baselines={tmp_path}", "--cells=*/batch-1"]) == 0
    assert "pairs of boots with 1 cell: " in capsys.readouterr().out


def test_cells_that_are_not_there_are_named(committed, tmp_path):
    committed(1, 1)
    with pytest.raises(UsageError, match=r"--baselines: .*: no cell there matches nothing/\*$"):
        pairs.read(tmp_path, ("nothing/*",))

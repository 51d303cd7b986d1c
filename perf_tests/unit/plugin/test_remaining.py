"""How long the rest of a session may take."""

import pytest

from fixtures.deployments.cell import cells
from fixtures.plugin.remaining import Remaining, nominal
from perf_tests.fakes.deployments import head, load, workload

pytestmark = pytest.mark.cpu


@pytest.fixture
def chosen(tmp_path):
    texts = [workload(f"batch-{i}", "batch", batch_size=1, repetitions=10) for i in range(4)]
    return cells(load(tmp_path, head() + "".join(texts)))


def test_what_is_left_follows_from_what_was_needed(chosen):
    now = [0.0]
    left = Remaining(chosen, lambda: now[0])
    now[0] = 60.0
    assert left.after(chosen[0].id) == "1 of 4 cells, about 3 min left"
    now[0] = 70.0
    assert left.after(chosen[1].id) == "2 of 4 cells, about 70 s left"
    assert left.after(chosen[1].id) == "", "measured again"
    assert left.after("another") == ""
    left.after(chosen[2].id)
    assert left.after(chosen[3].id) == "4 of 4 cells: all are measured"


def test_every_kind_of_workload_takes_some_time(tmp_path):
    kinds = {
        "startup": {},
        "cold-startup": {},
        "batch": {"batch_size": 8, "repetitions": 2},
        "offline": {"num_prompts": 100},
        "online": {"num_prompts": 20, "rate": 4},
        "conversations": {"num_prompts": 20, "rate": 4, "turns": 3, "think_time": 1},
        "capacity": {"start_rate": 4, "seconds": 2, "probes": 4, "slo_ttft": 1, "slo_tpot": 1, "slo_share": 0.9},
        "energy": {"batch_size": 8},
    }
    text = head(outputs=True) + "".join(workload(kind, kind, **fields) for kind, fields in kinds.items())
    assert all(nominal(cell.workload) > 0 for cell in cells(load(tmp_path, text)))

"""Nights with causes, simulated: what alarms and what is found."""

import pytest

from fixtures.studies.causes.__main__ import main
from fixtures.studies.causes.nights import CELLS, METRICS, World, candidates, characteristics
from perf_tests.fakes.commands import run_here

pytestmark = pytest.mark.cpu


def test_a_night_has_causes_over_all_cells_and_a_narrower_one():
    found = candidates()
    assert len(found["all"].members) == METRICS * CELLS
    assert all(len(found[f"metric {m}"].members) == CELLS for m in range(METRICS))
    assert set(found["half"].members) < set(found["all"].members)


@pytest.mark.parametrize("world", [World(0.01), World(0.01, common=0.5), World(0.01, slow_boots=0.05)])
def test_at_most_one_night_in_a_hundred_alarms_and_one_metric_or_cause_in_a_thousand(world):
    """Of 200 nights five alarm in 5% of such tests where one in a hundred does, in 0.4% where one in 200 does."""
    found = characteristics(world, nights=200)
    assert found.nights < 5 / 200
    assert found.causes <= 2 / (200 * 6)


def test_one_percent_in_ten_cells_is_told_where_one_cell_is_found_now_and_then():
    together = characteristics(World(0.005), 0.01, CELLS, nights=30)
    alone = characteristics(World(0.005), 0.01, 1, nights=30)
    assert together.told > 0.9
    assert together.items == pytest.approx(1, abs=0.2), "one cause, one alarm"
    assert (alone.told, alone.nights < 0.6) == (0, True)


def test_what_moves_in_one_cell_is_never_told_as_a_cause():
    found = characteristics(World(0.01), 0.2, 1, nights=20)
    assert (found.nights, found.told, found.items) == (1, 0, 1)


def test_the_command_prints_both_tables():
    done = run_here(main, "--nights=2", "--cv=0.01")
    assert done.returncode == 0, done.stderr
    assert f"{METRICS * CELLS} metrics in {CELLS} cells and {len(candidates())} causes a night" in done.stdout
    assert "told as a cause" in done.stdout
    assert "--nights: expected a positive number" in run_here(main, "--nights=0").stderr

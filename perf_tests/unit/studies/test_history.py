"""The study of the history's rule, on a few series."""

import pytest

from fixtures.studies.history import nights
from fixtures.studies.history.__main__ import main

pytestmark = pytest.mark.cpu


def test_a_rule_that_knows_is_always_right_and_one_that_cries_wolf_is_counted():
    world = nights.World(0.01)

    def wolf(values):
        return [len(values) - 1]

    assert nights.steps(wolf, world, 0.05, [1, 2], 3) == {1: nights.Dated(3, 0), 2: nights.Dated(0, 3)}
    assert nights.false_points(wolf, world, 2, 2, keeps=False) == (61 / 2, 31.0)
    assert nights.false_points(lambda _: [], world, 2, 1, keeps=True) == (0, 0)
    assert nights.drifts(lambda values: [len(values) - 5], world, 0.5, 2) == [1, 1]
    assert nights.best_possible(nights.World(1e-6), 0.05, 5) == 5


def test_a_step_of_eight_deviations_is_dated_by_the_rule_that_is_used():
    found = nights.steps(nights.used, nights.World(0.01), 0.08, [4, 20], 20)
    assert min(one.right for one in found.values()) >= 19


def test_the_tables_are_printed(capsys):
    assert main(["--series", "1", "--months", "1", "--only", "used"]) == 0
    printed = capsys.readouterr().out
    for part in ("steps at a CV of 1%", "drifts of 1% a week", "500000 -> 496500"):
        assert part in printed
    assert main(["--series", "0"]) == 2

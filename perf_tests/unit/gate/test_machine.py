"""What a machine adds, drawn: a factor that all cells share is taken out, and nothing is where cells do not share it."""

import math

import numpy as np
import pytest

from fixtures.gate.machine import NOTHING, Known, machine, shared_shift

pytestmark = pytest.mark.cpu
HOSTS = tuple("abcdefgh")


def drawn(random, cells, shared, own):
    """By cell the means of each machine: what the machines have in common, and what each cell has alone."""
    factors = dict(zip(HOSTS, random.normal(0, shared, len(HOSTS)), strict=True))
    return [{host: math.exp(factors[host] + random.normal(0, own)) for host in HOSTS} for _ in range(cells)]


@pytest.mark.parametrize(("shared", "own", "helps"), [(0.02, 0.003, True), (0.0, 0.02, False)])
def test_it_is_taken_out_only_where_the_baselines_machines_share_it(shared, own, helps):
    cells = drawn(np.random.default_rng(3), 7, shared, own)
    found = machine([Known(1.04 * np.exp(np.mean(np.log(list(c.values())))), c) for c in cells[:3]], cells[3:])
    assert (found.factor, found.cells, found.helps) == (pytest.approx(1.04), 3, helps)
    assert found.error == pytest.approx(0.0, abs=1e-9)
    values = list(cells[5].values())
    after = found.taken_out(values, HOSTS)
    if helps:
        assert np.std(np.log(after)) < np.std(np.log(values)) / 2
        assert np.mean(np.log(after)) - np.mean(np.log(values)) == pytest.approx(math.log(1.04), abs=0.01)
    else:
        assert after == values


def test_cells_of_the_control_that_disagree_widen_the_error():
    one = dict.fromkeys(HOSTS, 1.0)
    found = machine([Known(1.02, one), Known(1.06, one)], [])
    assert found.factor == pytest.approx(math.sqrt(1.02 * 1.06))
    assert found.error == pytest.approx(math.log(1.06 / 1.02) / 2)
    assert not found.helps, "no other cell shows it"


def test_few_machines_show_nothing():
    two = [{"a": 1.0, "b": 1.1}] * 4
    assert not machine([Known(1.2, two[0])], two[1:]).helps
    assert machine([], two) == NOTHING
    assert machine([Known(1.0, {})], two) == NOTHING


def test_a_shift_is_shared_where_cells_are_closer_together_than_it_is_large():
    assert shared_shift([0.020, 0.022, 0.021, 0.019]) == (pytest.approx(0.0205), pytest.approx(0.000645, rel=0.01))
    assert shared_shift([0.06, 0.0, 0.01, 0.0]) is None
    assert shared_shift([0.02, 0.02]) is None
    assert shared_shift([-0.02, -0.021, -0.019]) is None

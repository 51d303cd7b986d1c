"""The rules of other suites on the same simulated nights."""

import itertools

import pytest

from fixtures.studies.gate import rivals
from fixtures.studies.gate.power import World

pytestmark = pytest.mark.cpu


def test_the_exact_distribution_of_mann_whitney():
    every = [
        sum(a > b for a in chosen for b in range(7) if b not in chosen)
        for chosen in itertools.combinations(range(7), 3)
    ]
    tail = rivals._upper_tail(3, 4)
    for u in range(13):
        assert tail[u] == pytest.approx(sum(one >= u for one in every) / len(every))


def test_what_other_rules_do_on_the_same_nights():
    rates = {rival.name: rivals.alarms(rival, World(0.02), nights=100)[1] for rival in rivals.RIVALS}
    assert rates["pytest-benchmark, mean:5%, one run against one"] > 0.5
    assert rates["beyond the 95th percentile of 10 boots"] > 0.9
    asv = next(rival for rival in rivals.RIVALS if rival.name.startswith("asv"))
    assert rivals.alarms(asv, World(0.01), effect=0.05, nights=50)[0] > 0.9

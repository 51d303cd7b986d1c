"""The rules of other suites: by numbers worked out by hand, and on the same simulated nights."""

import itertools

import numpy as np
import pytest

from fixtures.studies.gate import rivals
from fixtures.studies.gate.power import World

pytestmark = pytest.mark.cpu
ELEVEN = np.array([[float(i) for i in range(11)], [0.0] * 11])


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


def test_what_the_other_rules_call_worse():
    before = np.array([[1.0, 3.0, 2.0], [4.0, 4.0, 4.0]])
    assert rivals.mean_beyond(0.5)(before, np.array([[2.9, 3.3], [6.0, 6.0]])).tolist() == [True, False]
    assert rivals.mean_beyond(0.5)(before, np.array([[2.9, 3.1], [6.1, 6.1]])).tolist() == [False, True]
    beyond = rivals.beyond_history(0.9)
    assert beyond(ELEVEN, np.array([[9.0, 9.2], [0.0, 0.0]])).tolist() == [True, False]
    assert beyond(ELEVEN, np.array([[8.9, 9.0], [0.1, 0.2]])).tolist() == [False, True]


def test_the_rule_of_asv():
    before = np.array([[1.0 + i / 1000 for i in range(10)]] * 3)
    # All above; all above but too near; one below six of ten, where the exact p is 0.0047.
    now = np.array([[1.1] * 5, [1.02] * 5, [1.1] * 4 + [1.0035]])
    assert rivals.mann_whitney(before, now).tolist() == [True, False, False]
    assert rivals.mann_whitney(before, now, factor=1.01).tolist() == [True, True, False]
    assert rivals.mann_whitney(before, np.array([[1.1] * 4 + [1.0085]] * 3)).all(), "one below one: p is 0.0013"
    assert rivals.mann_whitney(before, np.array([[1.1] * 4] * 3)).all(), "p is just below 0.002"
    assert not rivals.mann_whitney(np.ones((1, 10)), np.ones((1, 5)), factor=0.5).any(), "ties are no evidence"

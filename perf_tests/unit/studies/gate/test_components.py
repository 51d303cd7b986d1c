"""Where the noise comes from, boots and machines: drawn, and by hand."""

import math

import numpy as np
import pytest

from fixtures.gate.results import Samples
from fixtures.studies.gate.components import Components, components

pytestmark = pytest.mark.cpu


def test_variance_components_are_found():
    random = np.random.default_rng(5)
    hosts = [str(i) for i in range(8) for _ in range(4)]
    groups = []
    for _ in range(200):
        machines = np.repeat(random.normal(0, 0.03, 8), 4)
        groups.append(Samples((7 * (1 + machines + random.normal(0, 0.01, 32))).tolist(), hosts))
    found = components(groups)
    assert found.within == pytest.approx(0.01, rel=0.05)
    assert found.between == pytest.approx(0.03, rel=0.1)
    assert (found.cells, found.boots, found.machines) == (200, 32, 8)
    alone = components([Samples([1.0], ["a"])])
    assert (alone.within, alone.between) == (None, None)


def test_the_components_of_variance():
    # Within: (0.02 + 0.02) / 2 over two pairs; one boot alone has no spread.
    groups = [
        Samples([0.0], ["a"]),
        Samples([0.9, 1.1, 0.8, 1.2], ["a", "a", "b", "b"]),
        Samples([1.0, 1.0], ["a", "b"]),
    ]
    found = components(groups)
    assert found.within == pytest.approx(math.sqrt((0.02 + 0.08) / 2))
    assert found.between == 0.0
    assert (found.boots, found.machines) == (4, 2)
    apart = components([Samples([0.9, 0.9, 1.1, 1.1], ["a", "a", "b", "b"])])
    assert (apart.within, apart.between) == (0.0, pytest.approx(math.sqrt(0.04 / 2)))
    assert components([]) == Components(None, None, 0, 0, 0)

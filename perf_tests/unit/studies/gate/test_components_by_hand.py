"""Components of variance by hand."""

import math

import pytest

from fixtures.gate.results import Samples
from fixtures.studies.gate.components import Components, components

pytestmark = pytest.mark.cpu


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

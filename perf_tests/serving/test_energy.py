"""The energy of a token, of batches that follow each other until it is known."""

import pytest

from fixtures.hardware.energy import WITHIN

pytestmark = pytest.mark.serving


@pytest.mark.cells("energy")
def test_energy(cell, measure, night):
    values = measure(cell).metrics
    idle = [
        sample.metrics["idle_power"]
        for other, sample in night.samples.items()
        if other.block == cell.block and "idle_power" in sample.metrics
    ]
    assert all(values["mean_power"] >= (1 - WITHIN) * watts for watts in idle if "mean_power" in values)

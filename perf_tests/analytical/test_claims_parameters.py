"""Claims about parameters and shapes."""

import pytest

from fixtures.analytical import memory, parameters
from fixtures.analytical.precision import precision
from perf_tests.analytical.models import MIXTRAL

pytestmark = pytest.mark.cpu


@pytest.mark.claim("mixtral-weights")
def test_mixtral_weights(claim):
    weights = memory.weight_bytes(MIXTRAL, precision("bf16")) / 1e9
    assert claim.admits(weights)
    assert weights == pytest.approx(93.41, rel=1e-4)


@pytest.mark.claim("expert-matrices")
def test_expert_matrices(claim):
    matrices = parameters.expert(MIXTRAL, MIXTRAL.layers[0]) / (4096 * 14336)
    assert matrices == 3
    assert not claim.admits(matrices)

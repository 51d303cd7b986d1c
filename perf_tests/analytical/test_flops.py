"""FLOPs of a token: two per multiplied parameter, and attention's share that grows with the context."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.analytical import flops, parameters
from perf_tests.analytical.models import LLAMA_8B, MIXTRAL
from perf_tests.analytical.strategies import architectures

pytestmark = pytest.mark.cpu


def test_known_models():
    """25.5 and 15.0 GFLOP at no context; each token of it adds 4 x 4096 per layer to both."""
    assert flops.per_token(MIXTRAL, 0) == pytest.approx(25.498e9, rel=1e-4)
    assert flops.per_token(LLAMA_8B, 0) == pytest.approx(15.010e9, rel=1e-4)
    for model in (MIXTRAL, LLAMA_8B):
        assert flops.per_token(model, 1000) - flops.per_token(model, 0) == 4 * 4096 * 32 * 1000


@given(architectures(), st.floats(0, 1e5), st.floats(1, 10))
def test_flops_grow_with_the_context_and_never_fall_below_the_parameters(architecture, context, factor):
    short, long = (flops.per_token(architecture, c) for c in (context, context * factor))
    assert 2 * parameters.active_without_embedding(architecture) <= short <= long


def test_a_window_bounds_what_a_token_attends_to():
    windowed = dataclasses.replace(LLAMA_8B, layers=tuple(dataclasses.replace(x, window=100) for x in LLAMA_8B.layers))
    assert flops.per_token(windowed, 5000) == flops.per_token(LLAMA_8B, 100)

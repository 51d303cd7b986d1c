"""How far predictions may be off: the quantile, the interval that it makes, and the figures that ship."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.analytical.hardware import gpu, hardware
from fixtures.analytical.precision import precision
from fixtures.analytical.uncertainty import FEWEST_ERRORS, Uncertainty, quantile
from fixtures.errors import UsageError

pytestmark = pytest.mark.cpu
PLATFORMS = ("vllm-0.33", "sglang-0.5")


@pytest.mark.parametrize(
    ("count", "rank"), [(1, 1), (8, 8), (9, 9), (10, 10), (18, 18), (19, 18), (22, 21), (29, 27), (99, 90)]
)
def test_the_quantile_is_a_rank(count, rank):
    """ceil(0.9 (n + 1)), and the largest where that is more than there are; the sign of an error doesn't matter."""
    errors = [(-1) ** i * i / 1000 for i in range(1, count + 1)]
    random.Random(count).shuffle(errors)
    assert quantile(errors) == rank / 1000


def test_the_quantile_covers_what_it_says():
    """Of another error from the same source, whatever that is: here one with a heavy tail."""
    draw = random.Random(7)
    covered = 0
    for _ in range(2000):
        *known, new = (draw.paretovariate(1.5) for _ in range(20))
        covered += new <= quantile(known)
    assert covered / 2000 == pytest.approx(18 / 20, abs=0.03)


def test_nothing_has_no_quantile():
    with pytest.raises(ValueError, match="no errors"):
        quantile([])


@given(st.floats(0, 0.99), st.floats(1e-6, 1e6), st.floats(1e-6, 1e6))
def test_the_interval_holds_what_the_error_allows(error, predicted, measured):
    low, high = Uncertainty(error, 9, "").interval(predicted)
    assert low <= predicted <= high
    if abs(abs(predicted / measured - 1) - error) > 1e-9:
        assert (low <= measured <= high) == (abs(predicted / measured - 1) < error)


def test_an_error_of_everything_has_no_upper_end():
    assert Uncertainty(1.0, 9, "").interval(10) == (5, math.inf)


@pytest.mark.parametrize("metric", ["latency", "output_throughput", "tpot_p50"])
def test_several_cards_are_never_better_known_than_one(metric):
    for platform in PLATFORMS:
        one, two = (hardware().uncertainty_of(platform, metric, gpus).error for gpus in (1, 2))
        own = hardware().uncertainty.platform[platform][metric]
        widest = max(known[metric].error for known in hardware().uncertainty.platform.values())
        assert one == (own.error if own.cells >= FEWEST_ERRORS else widest)
        assert two == max(one, hardware().uncertainty.several_gpus.error)


@pytest.mark.parametrize(
    ("card", "form", "wider"),
    [
        ("h100", "awq", True),
        ("h200", "awq", True),
        ("h200", "mxfp4", True),
        ("h200", "fp8", False),
        ("b200", "nvfp4", False),
    ],
)
def test_weights_that_are_unpacked_are_known_less_well(card, form, wider):
    """By the errors of AWQ, GPTQ and mxfp4 on both cards; sizes are arithmetic."""
    unpacks = gpu(card).unpacks(precision(form).of("experts"))
    assert unpacks == wider
    known = hardware()
    own, found = (known.uncertainty_of("vllm-0.33", "latency", 1, other) for other in (False, unpacks))
    assert found == (known.uncertainty.unpacking if wider else own)
    assert known.uncertainty.unpacking.error > own.error
    assert known.uncertainty_of("vllm-0.33", "weight_memory", 1, unpacks) == known.uncertainty_of(
        "vllm-0.33", "weight_memory", 1
    )


def test_sizes_are_as_well_known_on_several_cards():
    for metric in ("weight_memory", "kv_capacity"):
        assert hardware().uncertainty_of("vllm-0.26", metric, 2) == hardware().uncertainty_of("vllm-0.26", metric, 1)


def test_an_engine_has_the_newest_platform_that_is_calibrated():
    assert [hardware().latest_platform(engine) for engine in ("vllm", "sglang")] == list(PLATFORMS)
    with pytest.raises(UsageError, match="no platform of engine 'tgi' is calibrated; known are ideal, vllm, "):
        hardware().latest_platform("tgi")

"""The search for a capacity: on servers whose strain is known, what it tries and what it says."""

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.workloads.search import CLOSE, FAR, STEADY, STRIDE, WIDE, Probe, estimate, next_rate
from fixtures.workloads.workload import LEAST_PROBES

pytestmark = pytest.mark.cpu

MOST = 8


def searched(strain, start, most=MOST):
    """The probes of a search on a server with this strain by rate."""
    probes = []
    while (rate := next_rate(probes, start, most)) is not None:
        probes.append(Probe(rate, strain(rate)))
    return probes


@given(st.floats(0.5, 1000), st.floats(0.2, 5), st.floats(0.5, 10))
def test_a_server_without_noise_is_found_from_either_side(capacity, off, slope):
    probes = searched(lambda rate: (rate / capacity) ** slope, capacity * off, most=30)
    found = estimate(probes)
    assert found.low <= capacity <= found.high
    assert found.rate == pytest.approx(capacity, rel=0.04)
    assert found.half_width <= CLOSE or len(probes) == 30


@settings(deadline=None, max_examples=30)
@given(st.floats(1, 1000), st.floats(0.3, 3), st.floats(0.01, 0.6), st.floats(1.6, 100))
def test_a_cliff_is_closed_in_on(capacity, off, below, above):
    """No probe is ever near the limits: each is between the sides, and they come closer by a fifth at least."""
    cliff = searched(lambda rate: below if rate <= capacity else above, capacity * off, most=24)
    kept, broken = ([one.rate for one in cliff if (one.strain <= 1) == side] for side in (True, False))
    assert max(kept) <= capacity < min(broken) < 1.05 * max(kept)


@given(st.lists(st.tuples(st.floats(0.8, 1.25), st.floats(0.5, 2)), min_size=4, max_size=7), st.floats(0.01, 100))
def test_what_is_said_goes_with_the_unit_of_rates(tried, factor):
    probes = [Probe(40.0, 0.9), Probe(44.0, 1.1), *(Probe(42 * off, strain) for off, strain in tried)]
    plain = estimate(probes)
    scaled = estimate([Probe(factor * one.rate, one.strain) for one in probes])
    for name in ("rate", "low", "high"):
        assert getattr(scaled, name) == pytest.approx(factor * getattr(plain, name), rel=0.01)
    assert plain.low < plain.rate < plain.high


@given(st.floats(0.05, 0.6), st.floats(1.001, 20), st.floats(10, 1000), st.floats(1.05, 3))
def test_between_two_sides_the_next_is_nearer_to_the_one_with_less_strain(below, above, low, apart):
    """One side at least is far from the limits: two that are near tell of a line already."""
    probes = [Probe(low, below), Probe(low * apart, above)]
    rate = next_rate(probes, low, MOST)
    assert low < rate < low * apart
    way = math.log(rate / low) / math.log(apart)
    if max(below, 1 / FAR) * min(above, FAR) > 1:
        assert way <= 0.5 + 1e-9
    else:
        assert way >= 0.5 - 1e-9


@given(
    st.lists(st.tuples(st.floats(10, 100), st.floats(0.1, 20)), min_size=1, max_size=8),
    st.lists(st.floats(FAR * 1.001, 1000), min_size=8, max_size=8),
)
def test_how_far_beyond_a_probe_is_tells_nothing(tried, other):
    """So that a probe may end once it is certain to be beyond."""
    probes = [Probe(*one) for one in tried]
    cut = [Probe(one.rate, math.inf if one.strain > FAR else one.strain) for one in probes]
    more = [Probe(one.rate, far if one.strain > FAR else one.strain) for one, far in zip(probes, other, strict=False)]
    assert estimate(cut) == estimate(more) == estimate(probes)
    assert next_rate(cut, 32, MOST) == next_rate(more, 32, MOST) == next_rate(probes, 32, MOST)


def test_the_next_stays_close_to_the_limits_once_two_were_near_them():
    probes = [Probe(30.0, 0.2), Probe(50.0, 3.0), Probe(40.0, 0.8), Probe(42.0, 1.2)]
    found = estimate(probes)
    assert next_rate(probes, 30.0, MOST) == pytest.approx(found.rate, rel=WIDE * (1 + 1e-9))
    assert next_rate(probes, 30.0, MOST) != found.rate


def test_no_machine_is_taken_to_be_steadier_than_it_can_be():
    exact = estimate([Probe(rate, (rate / 100) ** 8) for rate in (96, 98, 100, 102, 104)])
    assert exact.half_width > STEADY / math.sqrt(5)


def test_a_search_takes_no_more_probes_than_it_may():
    rng = random.Random(3)
    noisy = searched(lambda rate: (rate / 40) ** 0.5 * math.exp(rng.gauss(0, 0.2)), 10)
    assert len(noisy) == MOST
    assert estimate(noisy).half_width > CLOSE, "what could not be found closely is not said to be"


def test_a_certain_search_ends_before():
    assert LEAST_PROBES <= len(searched(lambda rate: (rate / 40) ** 3, 38)) < MOST


@pytest.mark.parametrize(("strain", "factor"), [(0.2, STRIDE), (math.inf, 1 / STRIDE), (3.0, 1 / STRIDE)])
def test_limits_that_no_rate_breaks_or_keeps_leave_the_interval_open(strain, factor):
    probes = searched(lambda rate: strain, 10)
    found = estimate(probes)
    assert len(probes) == MOST
    assert found.rate == pytest.approx(10 * factor ** (MOST - 1))
    assert (found.low, found.high) == ((found.rate, math.inf) if strain <= 1 else (0.0, found.rate))


def test_one_probe_that_was_disturbed_does_not_decide():
    probes = [Probe(rate, (rate / 100) ** 2) for rate in (80, 95, 105, 120)]
    calm = estimate(probes)
    disturbed = estimate([*probes, Probe(98, math.inf)])
    assert disturbed.rate == pytest.approx(calm.rate, rel=0.05)
    assert disturbed.half_width > calm.half_width


def test_the_interval_holds_the_capacity_of_a_noisy_server():
    rng = random.Random(7)

    def noisy(rate):
        return (rate / 70) ** 2 * math.exp(rng.gauss(0, 0.03))

    found = [estimate(searched(noisy, 30)) for _ in range(120)]
    # 114 of 120 with a standard deviation of 2.4.
    assert sum(one.low <= 70 <= one.high for one in found) >= 107


@pytest.mark.parametrize(
    ("within", "beyond", "step"), [(6, 6, 0.0), (6, 30, 0.0), (1, 4, 0.0), (6, 15, 0.3), (2, 2, 0.3)]
)
def test_the_interval_holds_the_capacity_where_the_strain_has_a_bend_or_a_step(within, beyond, step):
    rng = random.Random(8)

    def bent(rate):
        way = math.log(rate / 70)
        clean = within * way if way <= 0 else step + beyond * way
        return math.exp(clean + rng.gauss(0, 0.03))

    found = [estimate(searched(bent, 50, most=9)) for _ in range(120)]
    # 114 of 120 with a standard deviation of 2.4.
    assert sum(one.low <= 70 <= one.high for one in found) >= 107


@pytest.mark.parametrize(("strain", "start"), [(0.95, 32), (0.98, 32), (0.98, 50)])
def test_the_interval_holds_the_capacity_of_a_server_that_is_flat_until_it_is_overloaded(strain, start):
    rng = random.Random(9)

    def flat(rate):
        return strain * (rate / 70) ** 0.1 * math.exp(rng.gauss(0, 0.02)) if rate <= 70 else math.inf

    found = [estimate(searched(flat, start, most=9)) for _ in range(60)]
    # 50 to 56 here: noise puts probes just below the capacity on the wrong side of 1, which no line tells from a bend. Other
    # processors round otherwise, and search otherwise. Lines that are never this flat hold it in 0 to 15.
    assert sum(one.low <= 70 <= one.high for one in found) >= 45


def test_no_probes_say_nothing():
    with pytest.raises(ValueError, match="no probes"):
        estimate([])

"""One boot that was measured in several runs."""

import dataclasses
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.store.boots import merged, times
from fixtures.store.sample import Sample

pytestmark = pytest.mark.cpu
VALUES = st.lists(st.floats(0.1, 10), min_size=1, max_size=6)


def run(measured, values, ratio=2.0, boot="b"):
    return Sample(
        boot,
        "host",
        "2026-01-01T00:00:00+00:00",
        {"latency": statistics.median(values), "latency_to_dense": ratio},
        {"latency": tuple(values)},
        {"measured": measured},
    )


@given(VALUES, VALUES, VALUES)
def test_three_runs_are_one_boot_of_all_their_repetitions(first, second, third):
    found = merged(merged(run("1", first), run("2", second)), run("3", third))
    assert found.repetitions["latency"] == (*first, *second, *third)
    assert found.metrics["latency"] == statistics.median([*first, *second, *third])
    assert times(found) == ("1", "2", "3")


def test_what_has_no_repetitions_is_the_mean_over_the_runs():
    found = merged(merged(run("1", [1.0], 1.0), run("2", [1.0], 2.0)), run("3", [1.0], 6.0))
    assert found.metrics["latency_to_dense"] == pytest.approx(3.0)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (run("1", [1.0]), run("1", [1.0])),
        (run("1", [1.0]), run("2", [1.0], boot="another")),
        (merged(run("1", [1.0]), run("2", [1.0])), run("2", [1.0])),
        (run("1", [1.0]), dataclasses.replace(run("1", [1.0]), provenance={})),
    ],
)
def test_nothing_counts_twice(one, other):
    with pytest.raises(ValueError, match="are not two runs of one boot"):
        merged(one, other)

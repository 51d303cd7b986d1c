"""What `tox -e endurance` calls held, and what not."""

import dataclasses

import pytest

from perf_tests.tools.bench_endurance import Figures, broken

pytestmark = pytest.mark.cpu
FIRST = Figures(boots=30, requests=10_080, seconds=30, resident=50_000_000, descriptors=8, orphans=0)
LAST = dataclasses.replace(FIRST, boots=300, requests=100_800, seconds=300)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"resident": 59_000_000}, []),
        ({"resident": 61_000_000}, ["memory: 50.0 MB at the first tenth, 61.0 MB at the end"]),
        ({"resident": 39_000_000}, ["memory: 50.0 MB at the first tenth, 39.0 MB at the end"]),
        ({"descriptors": 9}, ["descriptors: 8 at the first tenth, 9 at the end"]),
        ({"orphans": 1}, ["1 processes or files of shared memory outlived their boot"]),
        ({"requests": 99_999}, ["99999 requests were served, 100000 were to be"]),
        ({"seconds": 901}, ["took 15.0 minutes, 15 were allowed"]),
    ],
)
def test_what_breaks_a_night(changes, expected):
    assert broken(FIRST, dataclasses.replace(LAST, **changes), 100_000, 15) == expected

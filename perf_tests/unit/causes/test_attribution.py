"""Which causes are told: of nested ones, of several at once, of none. Twelve cells: of two models, with prefill and decode."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.causes.attribution import Candidate, attribute, explains
from perf_tests.unit.causes.panels import drawn, panel

pytestmark = pytest.mark.cpu
# Six cells of each model; decode of all, prefill of all, and their sum.
DENSE, MIXTURE = range(6), range(6, 12)
DECODE, PREFILL, LATENCY = np.arange(12), 12 + np.arange(12), 24 + np.arange(12)
CELLS = [*range(12)] * 3
CANDIDATES = {
    "prefill": Candidate(tuple(PREFILL), tuple(LATENCY)),
    "decode": Candidate(tuple(DECODE), tuple(LATENCY)),
    "speed": Candidate((*DECODE, *PREFILL), tuple(LATENCY)),
    "moe": Candidate((*DECODE[6:], *PREFILL[6:]), tuple(LATENCY[6:])),
}


def night(decode=(0.0, 0.0), prefill=(0.0, 0.0), one=0.0, seconds=None):
    """A night in which decode and prefill of (dense, mixture) are worse by so much, and decode of cell 0 by ``one`` more.

    With what regressed in it.
    """
    parts = [np.repeat(shift, 6) for shift in (decode, prefill)]
    parts[0] = parts[0].astype(float)
    parts[0][0] += one
    changes = np.concatenate([*parts, 0.9 * parts[0] + 0.1 * parts[1]])
    seen = drawn(5, changes, boots=5, cells=CELLS, seconds=seconds)
    return seen, [i for i in range(36) if (effect := seen.member(i)).change > 1.3 * max(0.01, 3 * effect.error)]


def attributed(**shifts):
    """What is told of a night, and what regressed in it."""
    seen, regressed = night(**shifts)
    found = [name for name, one in CANDIDATES.items() if seen.effect(one.members).moved]
    return attribute(seen, CANDIDATES, found, regressed), regressed


def test_nothing_is_told_where_nothing_moved():
    found, regressed = attributed()
    assert (found.told, found.instead, found.alone, regressed) == ({}, {}, {}, [])


@pytest.mark.parametrize(
    ("shifts", "told"),
    [
        ({"decode": (0.05, 0.05)}, {"decode"}),
        ({"prefill": (0.05, 0.05)}, {"prefill"}),
        ({"decode": (0.0, 0.05)}, {"decode"}),  # moe is as narrow, and half of either has moved
        ({"decode": (0.0, 0.05), "prefill": (0.0, 0.05)}, {"moe"}),
        ({"decode": (0.05, 0.05), "prefill": (0.05, 0.05)}, {"speed"}),
        ({"decode": (0.03, 0.03), "prefill": (0.3, 0.3)}, {"decode", "prefill"}),
        ({"decode": (0.03, 0.3), "prefill": (0.0, 0.3)}, {"decode", "moe"}),
    ],
)
def test_the_narrowest_that_leaves_nothing_unexplained_is_told_and_nothing_twice(shifts, told):
    found, regressed = attributed(**shifts)
    assert set(found.told) == told
    explained = [i for own in found.told.values() for i in own]
    assert sorted(explained) == regressed, "all of them, each once"
    assert set(found.instead.values()) <= told
    assert not set(found.instead) & told


def test_a_change_too_small_for_each_cell_is_told_without_a_regression_of_one():
    found, regressed = attributed(decode=(0.009, 0.009))
    assert set(found.told) == {"decode"}
    assert len(regressed) < 6


def test_of_two_that_overlap_the_one_of_which_fewer_members_stayed_is_told():
    """Of eight cells the last four moved: four of the five of one cause, two of the four of the other, which is narrower."""
    seen = drawn(8, [0.0] * 4 + [0.05] * 4, boots=5)
    causes = {"narrow": Candidate((2, 3, 4, 5)), "fitting": Candidate((3, 4, 5, 6, 7))}
    found = attribute(seen, causes, list(causes), [4, 5, 6, 7])
    assert set(found.told) == {"fitting"}
    assert found.instead == {"narrow": "fitting"}


def test_one_cell_alone_is_no_cause_and_is_explained_by_none():
    found, regressed = attributed(one=0.5)
    assert found.told == {}
    assert set(found.alone.values()) == {0}
    assert 0 in regressed


def test_what_is_far_beyond_its_cause_stands_alone():
    found, regressed = attributed(decode=(0.03, 0.03), one=0.4)
    assert set(found.told) == {"decode"}
    explained = {i for own in found.told.values() for i in own}
    assert set(regressed) - explained == {DECODE[0], LATENCY[0]}


def test_a_change_of_the_same_seconds_is_larger_in_cells_that_take_less():
    """0.2 ms per step, of steps from 2 to 24 ms: 10% of the shortest, 0.8% of the longest."""
    seconds = np.linspace(0.002, 0.024, 12)
    seen = drawn(6, 0.0002 / seconds, boots=5, seconds=seconds, cv=0.001)
    everything = Candidate(tuple(range(12)))
    assert explains(seen, everything, range(12)) == tuple(range(12))
    without = drawn(6, 0.0002 / seconds, boots=5, cv=0.001)
    assert 0 not in explains(without, everything, range(12)), "in proportion it would be far beyond the others"


def test_what_has_no_value_is_not_explained():
    night = np.full((3, 3), 0.05)
    night[2] = np.nan
    seen = panel(np.zeros((3, 9)), night, sigma=0.001)
    assert explains(seen, Candidate((0, 1, 2)), {0, 1, 2}) == (0, 1)


# -- what was not found by itself ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shifts", "told"),
    [
        ({"decode": (0.05, 0.05)}, "decode"),
        ({"prefill": (0.02, 0.05)}, "prefill"),
        ({"decode": (0.0, 0.05), "prefill": (0.0, 0.05)}, "moe"),
        ({"decode": (0.05, 0.05), "prefill": (0.05, 0.05)}, "speed"),
    ],
)
def test_what_regressed_in_several_cells_has_the_name_that_describes_it_best(shifts, told):
    """No cause was found: their noise may be known by too few boots."""
    seen, regressed = night(**shifts)
    found = attribute(seen, CANDIDATES, (), regressed)
    assert set(found.told) == {told}
    assert sorted(found.told[told]) == regressed
    assert (found.shared, found.wider) == ([told], [])
    assert (found.instead, found.alone) == ({}, {})


def test_regressions_of_one_cell_or_of_what_has_nothing_in_common_have_no_name():
    seen, regressed = night(one=0.05)
    assert regressed == [DECODE[0], LATENCY[0]]
    assert attribute(seen, CANDIDATES, (), regressed).told == {}
    seen = drawn(5, np.isin(np.arange(24), [DECODE[1], PREFILL[8]]) * 0.05, boots=5, cells=[*range(12)] * 2)
    apart = {name: Candidate(one.members) for name, one in CANDIDATES.items()}
    found = attribute(seen, apart, (), [DECODE[1], PREFILL[8]])
    assert found.told == {}, "22 others of what takes in both stayed as they were"


def test_what_was_found_in_a_part_is_told_of_all_that_moved_and_of_the_part_if_nothing_else_did():
    causes = {"narrow": Candidate((0, 1, 2)), "wide": Candidate(tuple(range(8)))}
    for moved, told, wider in ((8, "wide", ["wide"]), (3, "narrow", [])):
        seen = drawn(5, [0.02] * moved + [0.0] * (8 - moved), boots=5)
        found = attribute(seen, causes, ["narrow"], [0, 1])
        assert dict(found.told) == {told: (0, 1)}
        assert (found.wider, found.shared) == (wider, [])
        assert found.instead == ({"narrow": "wide"} if wider else {})


def test_two_that_were_found_are_no_part_of_what_was_not():
    """Prefill and decode, each by itself: together they are all of what takes in both."""
    seen, regressed = night(decode=(0.03, 0.03), prefill=(0.1, 0.1))
    assert set(attribute(seen, CANDIDATES, ["decode", "prefill"], regressed).told) == {"decode", "prefill"}


def test_what_takes_in_more_is_told_only_if_it_describes_the_night_clearly_better():
    """One metric more that moved by two of its errors, or by six; found or not."""
    causes = {"narrow": Candidate((0, 1, 2)), "wide": Candidate((0, 1, 2, 3))}
    for more, told in ((0.005, "narrow"), (0.02, "wide")):
        night = np.repeat([[0.02], [0.02], [0.02], [more]], 4, axis=1)
        seen = panel(np.zeros((4, 30)), night, sigma=0.005)
        for found in ((), ("narrow", "wide")):
            assert set(attribute(seen, causes, found, [0, 1, 2]).told) == {told}


def test_what_was_found_of_sums_is_part_of_what_they_are_derived_from():
    causes = {"host": Candidate((0, 1, 3, 4)), "decode": Candidate((0, 1, 2), derived=(3, 4, 5))}
    seen = panel(np.zeros((6, 30)), np.full((6, 4), 0.02), sigma=0.002, cells=[0, 1, 2] * 2)
    found = attribute(seen, causes, ["host"], [0])
    assert (dict(found.told), found.instead, found.wider) == ({"decode": (0,)}, {"host": "decode"}, ["decode"])


def test_what_takes_in_more_explains_what_the_part_did():
    """Three are 5% worse and five 0.6%: these moved, too, but are not why."""
    causes = {"narrow": Candidate((0, 1, 2)), "wide": Candidate(tuple(range(8)))}
    night = np.repeat(np.array([0.05] * 3 + [0.006] * 5)[:, None], 4, axis=1)
    seen = panel(np.zeros((8, 30)), night, sigma=0.002)
    for found in ((), ("narrow",)):
        came = attribute(seen, causes, found, [0, 1, 2])
        assert (dict(came.told), came.wider) == ({"narrow": (0, 1, 2)}, [])


def test_boots_that_do_not_count_for_the_cause_do_not_count_for_what_is_told():
    """Two of five boots are at a faster speed in all cells, which the baseline's composite has shown."""
    random = np.random.default_rng(0)
    known = random.normal(0, 0.004, (8, 34))
    known[:, [3, 7]] -= 0.02
    hosts = ["h"] * 10 + [f"e{i // 6}" for i in range(24)]
    night = random.normal(0, 0.002, (8, 5)) + np.array([0.012, -0.009, 0.012, -0.009, 0.012])
    seen = panel(known, night, sigma=0.004, hosts=hosts, host="h")
    assert seen.effect(range(8)).moved
    assert set(attribute(seen, {"decode": Candidate(tuple(range(8)))}, ["decode"], []).told) == {"decode"}


def test_two_regressions_in_a_night_that_drifts_a_little_have_nothing_in_common():
    """0.3% of everything, which is no alarm, and 5% of two that only what takes in everything has both of."""
    changes = np.full(24, 0.003)
    changes[[DECODE[8], PREFILL[2]]] = 0.05
    seen = panel(np.zeros((24, 30)), np.repeat(changes[:, None], 5, axis=1), sigma=0.002, cells=[*range(12)] * 2)
    apart = {name: Candidate(one.members) for name, one in CANDIDATES.items()}
    assert attribute(seen, apart, (), [DECODE[8], PREFILL[2]]).told == {}


def test_what_got_better_as_a_whole_is_no_name():
    """Four cells are 2% worse and two 10% better: decode took less."""
    changes = np.array([0.02] * 4 + [-0.1] * 2)
    seen = panel(np.zeros((6, 30)), np.repeat(changes[:, None], 5, axis=1), sigma=0.002)
    assert attribute(seen, {"decode": Candidate(tuple(range(6)))}, (), range(4)).told == {}


def test_beside_machines_that_do_not_tell_the_engine_nothing_is_a_name():
    night = np.full((4, 5), 0.05)
    seen = panel(np.zeros((4, 6)), night, sigma=0.002, hosts=["e1", "e2", "e3"] * 2, host="h")
    assert attribute(seen, {"decode": Candidate((0, 1, 2, 3))}, (), [0, 1]).told == {}


SHIFTS = st.lists(st.sampled_from([0.0, 0.0, 0.01, 0.02, 0.05, 0.3]), min_size=24, max_size=24)


@given(SHIFTS, st.integers(0, 9), st.sets(st.sampled_from(sorted(CANDIDATES))), st.sets(st.integers(0, 35)))
def test_nothing_is_told_twice_or_lost(shifts, seed, found, more):
    changes = np.array([*shifts, *(0.9 * np.array(shifts[:12]) + 0.1 * np.array(shifts[12:]))])
    seen = drawn(seed, changes, boots=5, cells=CELLS)
    regressed = {i for i in range(36) if seen.member(i).moved} | more
    came = attribute(seen, CANDIDATES, found, regressed)
    explained = [i for own in came.told.values() for i in own]
    assert len(set(explained)) == len(explained)
    assert set(explained) <= regressed
    assert not set(came.told) & {*came.instead, *came.alone}
    assert set(came.instead.values()) <= set(came.told)
    assert {*came.shared, *came.wider} == set(came.told) - found
    assert not set(came.shared) & set(came.wider)
    for name in came.shared:
        assert seen.effect(CANDIDATES[name].members).change > 0
    assert found <= {*came.told, *came.instead, *came.alone}, "what was found is told, or stood for, or of one cell"

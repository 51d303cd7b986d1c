"""The search, on engines of which the first bad one is known."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.bisect.search import Search

pytestmark = pytest.mark.cpu


def run(search, first_bad, broken=frozenset()):
    """Search with engines that answer rightly; those that were asked, in order."""
    asked = []
    while step := search.next():
        asked.append(step.engine)
        for name in step.regressions:
            if (name, step.engine) in broken:
                search.skip(name, step.engine)
                continue
            search.judged(name, step.engine, step.engine >= first_bad[name])
    return asked


@given(st.integers(2, 40), st.data())
def test_the_first_bad_one_is_found_in_the_least_number_of_engines(engines, data):
    first = data.draw(st.integers(1, engines - 1))
    search = Search(engines, ["r"])
    asked = run(search, {"r": first})
    assert search.suspects("r") == [first]
    assert len(asked) <= math.ceil(math.log2(engines - 1)) + 1
    assert len(set(asked)) == len(asked)


@given(st.integers(2, 30), st.data())
def test_it_is_among_the_suspects_when_some_do_not_boot(engines, data):
    first = data.draw(st.integers(1, engines - 1))
    broken = data.draw(st.sets(st.integers(1, engines - 1)))
    search = Search(engines, ["r"])
    run(search, {"r": first}, {("r", one) for one in broken})
    works = [one for one in range(first, engines) if one not in broken]
    if not works:
        assert not search.confirmed("r"), "nothing that boots is bad"
        assert first in search.suspects("r")
        assert set(search.suspects("r")) <= broken
        return
    assert search.confirmed("r")
    suspects = search.suspects("r")
    assert first in suspects
    assert suspects[-1] == works[0]
    assert set(suspects[:-1]) <= broken


@given(st.integers(2, 30), st.data())
def test_what_one_regression_cannot_be_told_for_is_told_for_another(engines, data):
    first = data.draw(st.integers(1, engines - 1))
    broken = data.draw(st.sets(st.integers(1, engines - 1)))
    search = Search(engines, ["a", "b"])
    run(search, {"a": first, "b": first}, {("a", one) for one in broken})
    assert search.suspects("b") == [first]
    assert first in search.suspects("a")


@given(st.integers(2, 30))
def test_a_regression_that_no_engine_has_is_absent(engines):
    search = Search(engines, ["r"])
    run(search, {"r": engines})
    assert search.suspects("r") == []


@given(st.integers(3, 30), st.data())
def test_several_regressions_share_what_is_measured(engines, data):
    first = data.draw(st.integers(1, engines - 1))
    both, one = Search(engines, ["a", "b"]), Search(engines, ["a"])
    assert run(both, {"a": first, "b": first}) == run(one, {"a": first})
    other = data.draw(st.integers(1, engines - 1))
    search = Search(engines, ["a", "b"])
    asked = run(search, {"a": first, "b": other})
    assert [search.suspects("a"), search.suspects("b")] == [[first], [other]]
    assert len(set(asked)) == len(asked), "none twice"

"""What differs from where the baseline ran: told once, and with the models that it is told of."""

import pytest

from fixtures.session.provenance import Change, changes, compared, merged

pytestmark = pytest.mark.cpu
V1 = {"engine_version": "0.26.0", "kernel": "6.1", "execution": {"model runner": "V1", "MoE kernel": "TRITON"}}
V2 = {"engine_version": "0.32.0", "kernel": "6.1", "execution": {"model runner": "V2", "async scheduling": "enabled"}}


def test_what_an_engine_chose_is_compared_as_its_version_is():
    assert list(map(str, changes(compared(V2), [compared(V1)]))) == [
        "engine version 0.26.0 -> 0.32.0",
        "model runner V1 -> V2",
    ]
    assert [change.chosen for change in changes(compared(V2), [compared(V1)])] == [False, True]


def test_what_either_side_does_not_tell_is_no_change():
    assert not changes(compared(V1), [])
    assert not changes(compared({"execution": {"attention": "FA3"}}), [compared(V1)])
    assert not changes(compared({}), [compared(V1)])
    assert not changes(compared(V1), [compared({})])


def test_what_one_boot_of_the_baseline_had_is_no_change():
    assert not changes(compared(V1), [compared(V2), compared(V1)])
    (change,) = changes(compared({"kernel": "6.3"}), [compared({"kernel": name}) for name in ("6.1", "6.2", "6.1")])
    assert str(change) == "kernel 6.1 or 6.2 -> 6.3"


def test_kernels_that_a_cold_machine_makes_are_no_choice():
    one, other = ({"execution": {"kernels made at boot": text}} for text in ("2 compiled", "3 compiled"))
    assert not changes(compared(other), [compared(one)])


def test_each_thing_is_listed_once_whatever_cells_were_compared_with():
    kernels = [Change("kernel", before, ("6.3",), False) for before in (("6.1",), ("6.1", "6.2"), ("6.2",))]
    assert merged([("a", one) for one in kernels], {"a", "b"}) == ["kernel 6.1 or 6.2 -> 6.3"]


def test_what_an_engine_chose_for_some_models_is_named_with_them():
    moved = Change("model runner", ("V1",), ("V2",), True)
    pairs = [("mixtral-8x7b", moved), ("mixtral-8x7b", moved)]
    assert merged(pairs, {"mixtral-8x7b", "llama-3.1-8b"}) == ["model runner V1 -> V2 (mixtral-8x7b)"]
    assert merged([*pairs, ("llama-3.1-8b", moved)], {"mixtral-8x7b", "llama-3.1-8b"}) == ["model runner V1 -> V2"]
    kernels = [("a", Change("attention", ("X",), ("Y",), True)), ("b", Change("attention", ("X",), ("Z",), True))]
    assert merged(kernels, {"a", "b"}) == ["attention X -> Y (a)", "attention X -> Z (b)"]
    assert merged([], {"a"}) == []

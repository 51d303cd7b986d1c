"""CUDA_VISIBLE_DEVICES: which cards an owner gives, and which entries are refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.errors import UsageError
from fixtures.hardware import visible
from fixtures.hardware.nvml import Card
from perf_tests.fakes.mutations import assert_one_line

pytestmark = pytest.mark.cpu

UUIDS = ("GPU-0a7c2f10-aaaa", "GPU-0a7d9911-bbbb", "GPU-fe01c3d2-cccc")
FOUND = [Card(i, "NVIDIA H100 80GB HBM3", 0, 0, 0, uuid) for i, uuid in enumerate(UUIDS)]


def indices(text, found=FOUND, **variables):
    return [card.index for card in visible.given(found, {"CUDA_VISIBLE_DEVICES": text} | variables)]


def test_unset_gives_all():
    assert visible.given(FOUND, {}) == FOUND


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("1", [1]),
        ("2,0", [0, 2]),
        (" 1 , 2 ", [1, 2]),
        ("-1", []),
        ("0,-1,2", [0]),
        ("0,,2", [0]),
        ("none", []),
        ("void", []),
        ("NoDevFiles", []),
        (UUIDS[1], [1]),
        ("GPU-0a7d", [1]),
        ("gpu-fe", [2]),
        ("GPU-fe,0", [0, 2]),
        ("MIG-GPU-0a7c2f10-aaaa/1/0", []),
        ("MIG-5c89852c-d268-c3f3-1b07-005d5ae1dc3f", []),
    ],
)
def test_what_is_given(text, expected):
    assert indices(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("3", r"^CUDA_VISIBLE_DEVICES='3': '3' names no card here \(GPU 0, 1, 2\)$"),
        ("x", "'x' names no card here"),
        ("GPU-ff", "'GPU-ff' names no card here"),
        ("GPU-0a7", "'GPU-0a7' names more than one card"),
        ("1,1", "it names GPU 1 twice"),
        ("1,GPU-0a7d", "it names GPU 1 twice"),
        ("9" * 5000, "names no card here"),
    ],
)
def test_what_names_no_card_is_refused(text, message):
    with pytest.raises(UsageError, match=message) as caught:
        indices(text)
    assert "\n" not in str(caught.value)


def test_numbers_among_different_cards_need_an_order():
    mixed = [*FOUND, Card(3, "NVIDIA A100-PCIE-40GB", 0, 0, 0, "GPU-1111")]
    with pytest.raises(UsageError, match="CUDA counts the fastest first: set CUDA_DEVICE_ORDER=PCI_BUS_ID"):
        indices("3", mixed)
    assert indices("3", mixed, CUDA_DEVICE_ORDER="PCI_BUS_ID") == [3]
    assert indices("GPU-1111", mixed) == [3]


def test_cards_without_a_uuid_are_given_by_number():
    bare = [Card(0, "NVIDIA H100 80GB HBM3", 0, 0, 0)]
    assert indices("0", bare) == [0]
    with pytest.raises(UsageError, match="names no card"):
        indices("GPU-0", bare)


def test_the_remark_says_what_is_left():
    assert visible.remark(FOUND, {}) == visible.remark(FOUND, {"CUDA_VISIBLE_DEVICES": "0,1,2"}) == ""
    assert visible.remark(FOUND, {"CUDA_VISIBLE_DEVICES": "1"}) == "; CUDA_VISIBLE_DEVICES='1' gives 1 of 3"
    sliced = visible.remark(FOUND, {"CUDA_VISIBLE_DEVICES": "MIG-a"})
    assert sliced.endswith("gives 0 of 3 (a MIG slice is not compared with a card)")


@given(st.text(st.sampled_from("0123,-GPUMIgx a7cdfe\x00é²"), max_size=30) | st.text(max_size=30))
def test_any_text_gives_cards_or_one_line(text):
    try:
        found = indices(text)
    except UsageError as error:
        assert_one_line(error, "CUDA_VISIBLE_DEVICES=")
        return
    assert found == sorted(set(found))
    assert set(found) <= {0, 1, 2}

"""What cannot fit is refused with the arithmetic, before anything boots."""

import pytest

from fixtures.analytical.hardware import hardware
from fixtures.deployments import capacity
from fixtures.deployments import deployment as deployments
from fixtures.deployments.cell import Block, cells
from fixtures.engines.registry import ENGINES
from fixtures.errors import UsageError

pytestmark = pytest.mark.cpu

H100, H200 = ("NVIDIA H100 80GB HBM3", 81559 * 2**20), ("NVIDIA H200", 143771 * 2**20)


def blocks(deployment):
    return dict.fromkeys(cell.block for cell in cells(deployment))


@pytest.mark.parametrize(("name", "card"), [("h100x1", H100), ("h200x1", H200), ("h100x2", H100), ("h200x2", H200)])
def test_shipped_deployments_fit_their_cards(name, card):
    deployment = deployments.load(name, ENGINES)
    capacity.check(deployment, blocks(deployment), *card)


def test_mixtral_in_bf16_is_refused_on_one_h100_with_the_arithmetic():
    deployment = deployments.load("h200x1", ENGINES)
    expected = r"87.0 GiB of bf16 weights per card and 30 GiB of KV cache do not fit the 79.6 GiB of NVIDIA H100 80GB"
    with pytest.raises(UsageError, match=expected) as caught:
        capacity.check(deployment, [Block("vllm", "mixtral-8x7b", 1)], *H100)
    assert "quantised" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_cards_are_known_by_the_names_they_report():
    assert [hardware().gpu_named(name) for name in (H100[0], H200[0], "NVIDIA T4", "")] == ["h100", "h200", None, None]

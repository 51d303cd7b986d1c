"""Claims about a second GPU for a model that fits one."""

import pytest

from fixtures.analytical import serving, step
from fixtures.analytical.hardware import gpu, hardware
from fixtures.analytical.parallel import Parallel
from fixtures.analytical.precision import precision
from fixtures.analytical.step import Setup
from fixtures.claims.document import table
from perf_tests.analytical.models import LLAMA_8B

pytestmark = pytest.mark.cpu

CARDS = ("h100", "a100-pcie", "h200")


def setup(card, tp):
    return Setup(LLAMA_8B, gpu(card), Parallel(tp), precision("bf16"))


@pytest.mark.parametrize(
    "card",
    [
        pytest.param("h100", marks=pytest.mark.claim("tp2-speedup-h100")),
        pytest.param("a100-pcie", marks=pytest.mark.claim("tp2-speedup-a100")),
        pytest.param("h200", marks=pytest.mark.claim("tp2-speedup-h200")),
    ],
)
def test_speedups_of_the_table(claim, card):
    own = table("offline_throughput", model="llama-3.1-8b", gpu=card)
    one, two = sorted(own, key=lambda row: row["tensor_parallel"])
    for column in ("request_throughput [req/s]", "output_throughput [tok/s]", "total_throughput [tok/s]"):
        assert claim.admits(two[column] / one[column]), column


@pytest.mark.claim("tp2-no-compute")
def test_a_second_gpu_is_faster_on_the_device(claim):
    for card, expected in zip(CARDS, (1.42, 1.57, 1.36), strict=True):
        host = hardware().host_term("ideal", card)
        one, two = (serving.offline_throughput(setup(card, tp), host, 150, 69, 127, 10**6) for tp in (1, 2))
        assert two / one == pytest.approx(expected, rel=0.05)
        assert not claim.admits(two / one)


@pytest.mark.claim("tp2-all-reduce-cancels")
def test_all_reduces_take_less_than_the_second_gpu_gains():
    for card in CARDS:
        for batch in (1, 32, 150):
            one, two = (step.decode(setup(card, tp), batch, 132) for tp in (1, 2))
            gained = one.total - (two.total - two.communication)
            assert gained > 2.5 * two.communication > 0, f"{card}, batch {batch}"

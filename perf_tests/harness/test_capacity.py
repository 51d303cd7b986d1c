"""What cannot fit is refused with the arithmetic, before anything boots; expectations stand beside what can."""

import pytest

from fixtures.analytical.architecture import from_config
from fixtures.analytical.expectation import expect
from fixtures.analytical.hardware import gpu, hardware
from fixtures.analytical.parallel import Parallel
from fixtures.analytical.precision import precision
from fixtures.analytical.step import Setup
from fixtures.deployments import capacity
from fixtures.deployments import deployment as deployments
from fixtures.deployments.cell import Block, cells
from fixtures.engines.registry import ENGINES
from fixtures.errors import UsageError
from fixtures.models.model import Model
from fixtures.workloads.workload import Workload

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


def expectation(kv_tokens=100_000, **traffic):
    model = Model.load("llama-3.1-8b", "test")
    setup = Setup(from_config(model.config, "test"), gpu("h100"), Parallel(), precision("bf16"))
    workload = Workload("w", input_len=32, output_len=64, **traffic)
    return expect(setup, hardware().host_term("vllm-0.26", "h100"), workload, kv_tokens, 4096)


def test_each_kind_is_compared_by_what_it_is_about():
    assert expectation(kind="batch", batch_size=8).metric == "latency"
    assert expectation(kind="offline", num_prompts=100).metric == "output_throughput"
    assert expectation(kind="online", rate=2, num_prompts=9).metric == "tpot_p50"


def test_a_small_kv_cache_lowers_the_expected_throughput():
    roomy, tight = (expectation(n, kind="offline", num_prompts=200).value for n in (100_000, 5_000))
    assert tight < 0.7 * roomy


def test_nothing_is_expected_where_the_model_has_nothing_to_say():
    assert expectation(kind="startup") is None
    assert expectation(kind="batch", batch_size=8, prefix_len=16) is None
    assert expectation(kind="online", rate=2, num_prompts=9, lengths="sharegpt", dataset="1f2e") is None


def test_the_floor_is_below_the_expectation():
    found = expectation(kind="batch", batch_size=32)
    assert 0 < found.floor_seconds < found.value


def test_cards_and_platforms_are_known_by_the_names_they_report():
    assert [hardware().gpu_named(name) for name in (H100[0], H200[0], "NVIDIA T4", "")] == ["h100", "h200", None, None]
    assert hardware().platform_of("vllm", "0.26.0") == "vllm-0.26"
    assert hardware().platform_of("vllm", "0.99.1") == hardware().default_platform

"""What the analytical model expects of a cell."""

import pytest

from fixtures.analytical import step
from fixtures.analytical.architecture import from_config
from fixtures.analytical.hardware import gpu, hardware
from fixtures.analytical.parallel import Parallel
from fixtures.analytical.precision import precision
from fixtures.analytical.step import Setup
from fixtures.models.model import Model
from fixtures.prediction.expectation import expect
from fixtures.workloads.workload import Workload

pytestmark = pytest.mark.cpu
SETUP = Setup(
    from_config(Model.load("llama-3.1-8b", "test").config, "test"), gpu("h100"), Parallel(), precision("bf16")
)


def expectation(kv_tokens=100_000, **traffic):
    workload = Workload("w", **{"input_len": 32, "output_len": 64} | traffic)
    return expect(SETUP, hardware().host_term("vllm-0.26", "h100"), workload, kv_tokens, 4096)


def test_each_kind_is_compared_by_what_it_is_about():
    assert expectation(kind="batch", batch_size=8).metric == "latency"
    assert expectation(kind="offline", num_prompts=100, stream=False).metric == "output_throughput"
    assert expectation(kind="online", rate=2, num_prompts=9).metric == "tpot_p50"


def test_a_small_kv_cache_lowers_the_expected_throughput():
    roomy, tight = (expectation(n, kind="offline", num_prompts=200, stream=False).value for n in (100_000, 5_000))
    assert tight < 0.7 * roomy


def test_nothing_is_expected_where_the_model_has_nothing_to_say():
    assert expectation(kind="startup") is None
    assert expectation(kind="offline", num_prompts=100) is None, "a front end writes every token by itself"
    assert expectation(kind="batch", batch_size=8, prefix_len=16) is None
    assert expectation(kind="online", rate=2, num_prompts=9, output_len=1) is None, "answers of one token have no pace"
    assert expectation(kind="online", rate=2, num_prompts=9, lengths="sharegpt", dataset="1f2e") is None


def test_the_floor_is_below_the_expectation():
    found = expectation(kind="batch", batch_size=32)
    assert 0 < found.floor_seconds < found.value
    assert found.floor_seconds == 64 * step.hbm_floor(SETUP, 32, 32 + 64 / 2)
    assert found.error(found.value / 2) == 1.0

"""Claims about online serving."""

import pytest

from fixtures.analytical import serving
from fixtures.analytical.hardware import gpu, hardware
from fixtures.analytical.parallel import Parallel
from fixtures.analytical.precision import precision
from fixtures.analytical.step import Setup
from fixtures.claims.document import table
from fixtures.workloads.lengths import MAX_PROMPT_TOKENS, SHAREGPT_MEAN_INPUT, SHAREGPT_MEAN_OUTPUT
from perf_tests.analytical.models import LLAMA_8B, MIXTRAL

pytestmark = pytest.mark.cpu

PLATFORMS = ("ideal", "vllm", "document")


def setup(architecture):
    return Setup(architecture, gpu("h200"), Parallel(2), precision("bf16"))


def host(platform):
    return hardware().host_term(platform, "h200")


def run(rate):
    (found,) = table("online_serving", **{"request_rate [req/s]": rate})
    return found


def tokens_per_request(rate):
    return run(rate)["output_throughput [tok/s]"] / rate


@pytest.mark.claim("online-rates")
def test_half_of_the_rates_are_reported(claim):
    planned, reported = {1, 2, 4, 8}, {row["request_rate [req/s]"] for row in table("online_serving")}
    assert claim.admits(len(planned))
    assert not claim.admits(len(reported))
    assert planned - reported == {2, 8}


@pytest.mark.parametrize(
    "rate",
    [
        pytest.param(1, marks=pytest.mark.claim("ttft-1-rps")),
        pytest.param(4, marks=pytest.mark.claim("ttft-4-rps")),
    ],
)
def test_ttft_is_tens_of_milliseconds(claim, rate):
    for platform in PLATFORMS:
        term = host(platform)
        prefill = 1e3 * serving.prefill_seconds(setup(MIXTRAL), term, 1, MAX_PROMPT_TOKENS)
        state = serving.online(setup(MIXTRAL), term, rate, round(SHAREGPT_MEAN_INPUT), round(tokens_per_request(rate)))
        assert state.concurrency < 10, "of 256 that may run at once: nothing queues"
        # A prompt waits for the step that is under way, and perhaps for another prompt's prefill.
        worst = 2 * prefill + 1e3 * state.itl
        assert worst < 100
        assert not claim.admits(worst)


@pytest.mark.claim("ttft-p99-falls")
def test_the_tail_shrinks_while_the_median_grows():
    slow, fast = run(1), run(4)
    assert fast["ttft_median [ms]"] > 1.5 * slow["ttft_median [ms]"]
    assert fast["ttft_p99 [ms]"] < 0.7 * slow["ttft_p99 [ms]"], "then the tail would grow with the load too"
    one, four = (serving.online(setup(MIXTRAL), host("vllm"), rate, 161, 112) for rate in (1, 4))
    assert four.concurrency > one.concurrency, "more waits, not less"


@pytest.mark.claim("itl-1-rps")
def test_itl_is_near_the_latency_at_batch_1(claim):
    (found,) = table("batch_latency", model="mixtral-8x7b", batch=1)
    assert claim.admits(found["per_token_latency [ms]"])


@pytest.mark.claim("itl-4-rps")
def test_itl_is_that_of_the_requests_in_flight(claim):
    seconds = run(4)["ttft_median [ms]"] / 1e3 + tokens_per_request(4) * run(4)["itl_median [ms]"] / 1e3
    in_flight = 4 * seconds
    context = SHAREGPT_MEAN_INPUT + tokens_per_request(4) / 2
    for platform in ("ideal", "vllm"):
        assert claim.admits(1e3 * serving.decode_step(setup(MIXTRAL), host(platform), in_flight, context).total)
        assert not claim.admits(1e3 * serving.decode_step(setup(MIXTRAL), host(platform), 1.0, context).total)


@pytest.mark.claim("output-1-rps")
def test_requests_are_cut_short_of_sharegpt(claim):
    assert not claim.admits(1 * SHAREGPT_MEAN_OUTPUT), "what ShareGPT's answers would make at 1 req/s"
    assert tokens_per_request(1) < 0.5 * SHAREGPT_MEAN_OUTPUT
    capped = [
        row["output_throughput [tok/s]"] / row["request_throughput [req/s]"] for row in table("offline_throughput")
    ]
    assert max(tokens_per_request(1), *capped) < 128, "as with a cap at 128"


@pytest.mark.claim("output-4-rps")
def test_output_grows_with_the_rate(claim):
    assert claim.admits(4 * tokens_per_request(1))


@pytest.mark.claim("moe-serving-slower")
def test_mixtral_serves_slower_than_the_dense_model():
    for platform in PLATFORMS:
        moe, dense = (serving.online(setup(a), host(platform), 4, 161, 104).itl for a in (MIXTRAL, LLAMA_8B))
        assert moe > 2 * dense
    assert {row["model"] for row in table("online_serving")} == {"mixtral-8x7b"}, "no dense run to compare with"

"""What a user sees: latency step by step, waves of prompts, and Little's law."""

import dataclasses
import json
import math
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fixtures.analytical import serving, step
from fixtures.analytical.architecture import from_config
from fixtures.analytical.hardware import hardware
from fixtures.analytical.parallel import Parallel
from fixtures.analytical.precision import precision
from fixtures.analytical.step import Setup
from fixtures.errors import UsageError
from perf_tests.analytical.models import LLAMA_8B, MIXTRAL
from perf_tests.analytical.strategies import GPUS, figure, host, setups

pytestmark = pytest.mark.cpu

PUBLISHED = json.loads((Path(__file__).parent / "published.json").read_text())["models"]
DENSE = Setup(LLAMA_8B, hardware().gpu["h200"], Parallel(2), precision("bf16"))
MOE = Setup(MIXTRAL, hardware().gpu["h200"], Parallel(2), precision("bf16"))
COPIES = dataclasses.replace(DENSE, parallel=Parallel(1, 1, 2))
HOST = host(step=8e-4, sequence=4e-6, prefill=6e-3, request=6e-4)
IDEAL = hardware().host_term("ideal", "h200")

hosts = st.builds(host, st.floats(0, 0.01), st.floats(0, 1e-4), st.floats(0, 0.01), st.floats(0, 1e-3))
batches = st.integers(1, 64)
lengths = st.integers(1, 3000)


@given(setups(), hosts, batches, lengths)
@settings(max_examples=50)
def test_the_host_adds_to_a_step_and_changes_nothing_else(setup, term, sequences, context):
    alone, terms = step.decode(setup, sequences, context), serving.decode_step(setup, term, sequences, context)
    assert terms.device == alone.device
    own = sequences / setup.parallel.replicas
    assert terms.host == pytest.approx(term.step_seconds.value + term.sequence_seconds.value * own)
    assert terms.total == terms.device + terms.host


@pytest.mark.parametrize("card", GPUS)
def test_the_ideal_platform_adds_nothing(card):
    ideal = hardware().host_term("ideal", card)
    assert serving.decode_step(MOE, ideal, 8, 100) == step.decode(MOE, 8, 100)
    assert serving.prefill_seconds(MOE, ideal, 8, 100) == step.prefill(MOE, 8, 100).total


@given(setups(), hosts, batches, lengths, st.integers(1, 40))
@settings(max_examples=50)
def test_latency_is_the_prefill_and_a_step_for_every_further_token(setup, term, sequences, input_len, output_len):
    expected = serving.prefill_seconds(setup, term, sequences, input_len)
    for generated in range(1, output_len):
        expected += serving.decode_step(setup, term, sequences, input_len + generated).total
    assert serving.latency_seconds(setup, term, sequences, input_len, output_len) == pytest.approx(expected)


def test_a_window_that_fills_while_tokens_are_generated_bends_the_time_of_a_step():
    windowed = dataclasses.replace(
        LLAMA_8B, layers=tuple(dataclasses.replace(layer, window=128) for layer in LLAMA_8B.layers)
    )
    setup = dataclasses.replace(DENSE, architecture=windowed)
    expected = serving.prefill_seconds(setup, HOST, 8, 96)
    expected += sum(serving.decode_step(setup, HOST, 8, context).total for context in range(97, 96 + 80))
    assert serving.latency_seconds(setup, HOST, 8, 96, 80) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", ["DeepSeek-V4-Flash", "DeepSeek-V3.2"])
def test_an_index_that_chooses_from_the_2048th_token_on_bends_it_too(name):
    """Of V4's entries, one for four tokens, 512 are chosen, of V3.2's tokens 2,048."""
    architecture = from_config(PUBLISHED[name]["config"], name)
    setup = Setup(architecture, hardware().gpu["h200"], Parallel(8), precision("bf16"))
    expected = serving.prefill_seconds(setup, HOST, 64, 1500)
    expected += sum(serving.decode_step(setup, HOST, 64, context).total for context in range(1501, 3500))
    assert serving.latency_seconds(setup, HOST, 64, 1500, 2000) == pytest.approx(expected, rel=1e-5)


@given(setups(), hosts, batches, lengths, st.integers(1, 500), st.integers(1, 100))
@settings(max_examples=50)
def test_latency_grows_with_output_and_never_shrinks_with_batch_or_input(setup, term, n, input_len, output_len, more):
    before = serving.latency_seconds(setup, term, n, input_len, output_len)
    assert serving.latency_seconds(setup, term, n, input_len, output_len + more) > before
    if setup.parallel.ep > 1 or setup.unpacks:
        return  # tiles of such experts change with the number of tokens, and larger ones are fewer
    assert serving.latency_seconds(setup, term, n + more, input_len, output_len) >= before * (1 - 1e-9)
    assert serving.latency_seconds(setup, term, n, input_len + more, output_len) >= before * (1 - 1e-9)


@pytest.mark.parametrize("output_len", [0, -1])
def test_no_output_is_refused(output_len):
    with pytest.raises(UsageError, match=f"^output length: expected a positive number, found {output_len}$"):
        serving.latency_seconds(DENSE, HOST, 1, 32, output_len)


@pytest.mark.parametrize(
    ("sequences", "length", "passes"),
    [(1, 32, [1]), (8, 1024, [8]), (9, 1024, [8, 1]), (3, 4096, [2, 1]), (3, 8192, [1, 1, 1]), (2, 9000, [1, 1])],
)
def test_prompts_are_prefilled_in_passes_of_8192_tokens(sequences, length, passes):
    device = sum(step.prefill(DENSE, n, length).total for n in passes)
    assert serving.prefill_seconds(DENSE, IDEAL, sequences, length) == pytest.approx(device)
    assert serving.prefill_seconds(DENSE, HOST, sequences, length) == pytest.approx(device + 6e-3 + 6e-4 * sequences)


@pytest.mark.parametrize(
    ("sequences", "length", "passes"), [(1, 32, [1]), (8, 1024, [1, 7]), (10, 1024, [1, 8, 1]), (3, 9000, [1, 1, 1])]
)
def test_a_server_prefills_the_first_prompt_alone(sequences, length, passes):
    """Which it has before the others; each pass takes as long as its launch, or what the host adds to a pass of its own."""
    device = [step.prefill(DENSE, n, length).device for n in passes]
    own = 6e-3 + 6e-4 * sequences
    launched = dataclasses.replace(HOST, launch_seconds=figure(0.01))
    expected = sum(max(0.01, seconds) for seconds in device) + own
    assert serving.prefill_seconds(DENSE, launched, sequences, length) == pytest.approx(expected)
    stalled = dataclasses.replace(HOST, stall_seconds=figure(0.002))
    expected = sum(device) + 0.002 * len(passes) + own
    assert serving.prefill_seconds(DENSE, stalled, sequences, length) == pytest.approx(expected)


def test_each_copy_of_a_server_has_a_first_prompt_and_all_have_one_front_end():
    launched = dataclasses.replace(HOST, launch_seconds=figure(0.0))
    device = sum(step.prefill(COPIES, n, 512).device for n in (2, 6))
    assert serving.prefill_seconds(COPIES, launched, 8, 512) == pytest.approx(device + 6e-3 + 6e-4 * 8)


@given(setups(), hosts, batches, st.integers(1, 12_000))
@settings(max_examples=50)
def test_first_tokens_wait_for_the_front_end_and_for_every_pass(setup, term, sequences, length):
    found = serving.prefill_seconds(setup, term, sequences, length)
    assert found >= term.prefill_seconds.value + term.request_seconds.value * sequences
    assert found >= serving.prefill_seconds(setup, IDEAL, sequences, length)


def test_answers_that_are_sent_whole_have_a_time_of_their_own_for_each_sequence():
    whole = dataclasses.replace(HOST, unstreamed_seconds=figure(1e-6))
    assert whole.streaming(True) is whole
    assert whole.streaming(False).sequence_seconds.value == 1e-6
    assert HOST.streaming(False) is HOST, "unless it is not known"


@pytest.mark.parametrize(
    ("prompts", "kv_tokens", "max_sequences", "waves"),
    [
        (10, 10_000, 256, [10]),
        (10, 10_000, 4, [4, 4, 2]),
        (10, 480, 256, [3, 3, 3, 1]),
        (9, 480, 256, [3, 3, 3]),
        (2, 160, 256, [1, 1]),
    ],
)
def test_prompts_run_in_waves_that_the_kv_cache_and_the_engine_allow(prompts, kv_tokens, max_sequences, waves):
    seconds = sum(serving.latency_seconds(DENSE, HOST, n, 128, 32) for n in waves)
    throughput = serving.offline_throughput(DENSE, HOST, prompts, 128, 32, kv_tokens, max_sequences)
    assert throughput == pytest.approx(prompts * 32 / seconds)


def test_by_default_1024_sequences_run_together():
    assert serving.offline_throughput(DENSE, HOST, 2048, 128, 32, 10**6) == pytest.approx(
        1024 * 32 / serving.latency_seconds(DENSE, HOST, 1024, 128, 32)
    )


@pytest.mark.parametrize("kv_tokens", [159, 0, -5])
def test_a_request_that_does_not_fit_the_kv_cache_is_refused(kv_tokens):
    with pytest.raises(UsageError, match=f"^160 tokens do not fit a KV cache of {kv_tokens}$"):
        serving.offline_throughput(DENSE, HOST, 10, 128, 32, kv_tokens)


@given(st.sampled_from((DENSE, MOE)), hosts, st.floats(0.01, 40), st.integers(1, 1000), st.integers(1, 500))
@settings(max_examples=40)
def test_littles_law(setup, term, rate, input_len, output_len):
    try:
        found = serving.online(setup, term, rate, input_len, output_len, max_sequences=256)
    except UsageError:
        assume(False)
    assert found.concurrency == pytest.approx(rate * output_len * found.itl, rel=1e-6)
    assert found.concurrency <= 256


@given(st.sampled_from((DENSE, MOE)), hosts, st.floats(0.01, 20), st.floats(1.01, 2))
@settings(max_examples=20)
def test_a_higher_rate_means_more_at_once_and_slower_streams(setup, term, rate, factor):
    try:
        low, high = (serving.online(setup, term, r, 128, 100, 256) for r in (rate, rate * factor))
    except UsageError:
        assume(False)
    assert high.concurrency > low.concurrency * (1 - 1e-9)
    assert high.itl > low.itl * (1 - 1e-9)


@pytest.mark.parametrize("rate", [0.5, 2.0, 3.2, 9.0])
@pytest.mark.parametrize("length", [16, 2000])
def test_a_stream_meets_poisson_many_others_and_their_prefills(rate, length):
    """Written out a second time: the mean over who else is there, stretched by what arrivals add to a step."""
    found = serving.online(MOE, IDEAL, rate, length, 128)
    mean, context = found.concurrency, length + 64
    weights = {n: math.exp(n * math.log(mean) - mean - math.lgamma(n + 1)) for n in range(150)}
    steps = sum(weight * step.decode(MOE, 1 + n, context).total for n, weight in weights.items())
    busy = rate * step.added_by_prefill(MOE, 1 + mean, context, length)
    assert 0 < busy < 1
    assert found.itl * (1 - busy) == pytest.approx(steps, rel=1e-6)


def test_a_prompt_adds_less_to_a_shared_step_than_a_prefill_of_its_own_takes():
    """The weights are read anyway."""
    for setup in (DENSE, MOE):
        alone = step.prefill(setup, 1, 64).device
        assert 0 < step.added_by_prefill(setup, 16.0, 100, 64) < alone


def test_no_arrivals_mean_an_idle_server():
    idle = serving.online(DENSE, HOST, 0, 128, 128)
    assert idle.concurrency == pytest.approx(0, abs=1e-9)
    assert idle.itl == pytest.approx(serving.decode_step(DENSE, HOST, 1, 192).total)


def test_a_rate_that_cannot_be_sustained_is_refused_in_one_line():
    for input_len, output_len in ((32, 1000), (8000, 10)):
        with pytest.raises(UsageError, match=r"^rate 100 req/s: cannot be sustained by 256 sequences at once$"):
            serving.online(DENSE, HOST, 100, input_len, output_len, 256)
    with pytest.raises(UsageError, match=r"^rate: expected a number that isn't negative, found -1$"):
        serving.online(DENSE, HOST, -1, 32, 10)


def test_a_server_that_takes_fewer_at_once_sustains_less():
    rate = 20
    found = serving.online(DENSE, HOST, rate, 128, 128)
    assert serving.online(DENSE, HOST, rate, 128, 128, int(found.concurrency) + 8).itl == pytest.approx(
        found.itl, rel=1e-2
    )
    with pytest.raises(UsageError, match="cannot be sustained by 2 sequences"):
        serving.online(DENSE, HOST, rate, 128, 128, 2)

"""Claims about offline throughput: the document's table against itself, and what its gap is due to."""

import pytest

from fixtures.analytical import memory, parameters, step
from fixtures.analytical.hardware import gpu
from fixtures.analytical.parallel import Parallel
from fixtures.analytical.precision import precision
from fixtures.analytical.step import Setup
from fixtures.claims.document import table
from perf_tests.analytical.models import LLAMA_8B, MIXTRAL

pytestmark = pytest.mark.cpu

BF16 = precision("bf16")
TP2 = Parallel(2)
REQUESTS, OUTPUT, TOTAL = "request_throughput [req/s]", "output_throughput [tok/s]", "total_throughput [tok/s]"
# Its runs' lengths follow from the table: 127 to 128 tokens out, 69 or 79 in; the mean context of a decode step is
# what came in and half of what goes out.
CONTEXT = 140


def row(model, card, tp):
    (found,) = table("offline_throughput", model=model, gpu=card, tensor_parallel=tp)
    return found


def moe():
    return row("mixtral-8x7b", "h200", 2)


def dense():
    return row("llama-3.1-8b", "h200", 2)


def setup(architecture):
    return Setup(architecture, gpu("h200"), TP2, BF16)


@pytest.mark.parametrize(
    ("model", "card", "tp"),
    [
        pytest.param("mixtral-8x7b", "h200", 2, marks=pytest.mark.claim("offline-mixtral")),
        pytest.param("llama-3.1-8b", "h100", 1, marks=pytest.mark.claim("offline-llama-h100-tp1")),
        pytest.param("llama-3.1-8b", "h100", 2, marks=pytest.mark.claim("offline-llama-h100-tp2")),
        pytest.param("llama-3.1-8b", "a100-pcie", 1, marks=pytest.mark.claim("offline-llama-a100-tp1")),
        pytest.param("llama-3.1-8b", "a100-pcie", 2, marks=pytest.mark.claim("offline-llama-a100-tp2")),
        pytest.param("llama-3.1-8b", "h200", 1, marks=pytest.mark.claim("offline-llama-h200-tp1")),
        pytest.param("llama-3.1-8b", "h200", 2, marks=pytest.mark.claim("offline-llama-h200-tp2")),
    ],
)
def test_a_run_is_consistent(claim, model, card, tp):
    run = row(model, card, tp)
    assert claim.admits(run["prompts"] / run[REQUESTS])
    assert run[OUTPUT] / run[REQUESTS] == pytest.approx(127.4, abs=0.3), "tokens out per prompt"
    assert (run[TOTAL] - run[OUTPUT]) / run[REQUESTS] == pytest.approx(79.4 if "mixtral" in model else 69.4, abs=0.1)


@pytest.mark.claim("offline-llama-beside-mixtral")
def test_the_dense_run_beside_mixtral(claim):
    other = row("llama-3.1-8b", "h200", 1)
    assert claim.admits(dense()[OUTPUT] / (other[OUTPUT] / other[REQUESTS]))


@pytest.mark.parametrize(
    "column",
    [
        pytest.param(REQUESTS, marks=pytest.mark.claim("offline-ratio-requests")),
        pytest.param(OUTPUT, marks=pytest.mark.claim("offline-ratio-output")),
        pytest.param(TOTAL, marks=pytest.mark.claim("offline-ratio-total")),
    ],
)
def test_ratio(claim, column):
    assert claim.admits(dense()[column] / moe()[column])


@pytest.mark.claim("identical-workloads")
def test_the_workloads_differ():
    prompts = dense()["prompts"] / moe()["prompts"]
    lengths = [(run[TOTAL] - run[OUTPUT]) / run[REQUESTS] for run in (dense(), moe())]
    assert prompts == pytest.approx(1.5), "prompts at once"
    assert lengths[1] / lengths[0] == pytest.approx(1.14, abs=0.01), "tokens of a prompt"


@pytest.mark.claim("weight-bytes-ratio")
def test_weight_bytes_of_a_step(claim):
    def ratio(batch):
        return memory.weight_bytes_read(MIXTRAL, BF16, TP2, batch) / memory.weight_bytes_read(
            LLAMA_8B, BF16, TP2, batch
        )

    for batch in (16, 32, 100, 150):
        assert claim.admits(ratio(batch))
    for batch in (1, 2, 4, 8):
        assert not claim.admits(ratio(batch)), f"batch {batch}"
    assert ratio(1) == pytest.approx(1.70, abs=0.005)


@pytest.mark.claim("offline-memory-bound")
def test_offline_steps_are_far_from_their_floor():
    for run, architecture, times in ((moe(), MIXTRAL, 3.4), (dense(), LLAMA_8B, 7.5)):
        seconds = run["prompts"] / run[OUTPUT]
        assert seconds / step.hbm_floor(setup(architecture), run["prompts"], CONTEXT) == pytest.approx(times, rel=0.03)


@pytest.mark.claim("gap-is-parameter-ratio")
def test_the_gap_is_not_the_parameter_ratio(claim):
    gap = dense()[OUTPUT] / moe()[OUTPUT]
    assert claim.admits(gap)
    assert parameters.total(MIXTRAL) / parameters.total(LLAMA_8B) > 1.6 * gap
    own = step.hbm_floor(setup(MIXTRAL), 100, CONTEXT) / step.hbm_floor(setup(LLAMA_8B), 150, CONTEXT)
    equal = step.hbm_floor(setup(MIXTRAL), 100, CONTEXT) / step.hbm_floor(setup(LLAMA_8B), 100, CONTEXT)
    for ratio in (parameters.total(MIXTRAL) / parameters.total(LLAMA_8B), own, equal):
        assert not claim.admits(ratio)


@pytest.mark.claim("mixtral-unavailable")
def test_mixtral_was_measured():
    for name in ("offline_throughput", "batch_latency", "online_serving"):
        assert table(name, model="mixtral-8x7b"), "then it may have been unavailable"


@pytest.mark.claim("active-not-hbm")
def test_small_batches_read_few_experts():
    everything = memory.weight_bytes_read(MIXTRAL, BF16, Parallel(), 1000)
    share = {batch: memory.weight_bytes_read(MIXTRAL, BF16, Parallel(), batch) / everything for batch in (1, 4, 16, 32)}
    assert share[1] == pytest.approx(0.274, abs=0.001), "all of it if every expert were read"
    assert share[4] < 0.7
    assert min(share[16], share[32]) > 0.98
    assert share[1] == pytest.approx(
        parameters.active_without_embedding(MIXTRAL) / (parameters.total(MIXTRAL) - parameters.embedding(MIXTRAL)),
        rel=1e-3,
    ), "reads are saved as FLOPs are"

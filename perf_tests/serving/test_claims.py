"""Claims of the source document that only a run can check: as the document states them, or as the ledger says it was refuted.

They read cells that the session has measured (or measure them) and are skipped where the deployment has no such cell:
the document's numbers belong to the full models at TP=2 on a pair of cards.
"""

import pytest

from fixtures.analytical.parallel import Parallel
from fixtures.claims.ledger import UNITS, ledger
from fixtures.deployments.cell import Cell
from fixtures.errors import EngineError

pytestmark = pytest.mark.serving

MOE, DENSE, DENSE_13B = "mixtral-8x7b", "llama-3.1-8b", "llama-2-13b"
# What offline throughput differs by between two boots on one machine: 0.7% on one H100, up to 4% on two H200 (CV 2.8%).
NOISE = 0.03


@pytest.fixture(params=[1, 2], ids=["tp1", "tp2"])
def tp(request, night):
    """A tensor-parallel size that Mixtral and the dense model are both measured at."""
    measured = [{c.block.tensor_parallel for c in night.cells if c.block.model == name} for name in (MOE, DENSE)]
    if request.param not in measured[0] & measured[1]:
        pytest.skip(f"deployment {night.deployment.name} doesn't serve both {MOE} and {DENSE} at TP={request.param}")
    return request.param


@pytest.fixture
def measured(night):
    """The value of a cell's metric; skips where it does not count."""

    def read(cell: Cell, metric: str) -> float:
        try:
            sample = night.measure(cell)
        except EngineError as error:
            pytest.fail(f"{cell.id}: {error}", pytrace=False)
        if sample.invalid:
            pytest.skip(f"{cell.id} is invalid: {sample.invalid}")
        if metric not in sample.metrics:
            pytest.skip(f"{cell.id}: {metric} is not reported")
        return sample.metrics[metric]

    return read


@pytest.fixture
def cell_value(night, measured):
    """The value of a metric by the cell's id."""

    def read(cell_id, metric):
        cell = next((cell for cell in night.cells if cell.id == cell_id), None)
        if cell is None:
            pytest.skip(f"{cell_id} is not among the chosen cells")
        return measured(cell, metric)

    return read


@pytest.fixture
def value(night, measured):
    """The value of a metric by model, tensor-parallel size and workload."""

    def read(model, tp, workload, metric, engine="", ep=1):
        """Of the first engine that has the cell, unless one is named."""
        for cell in night.cells:
            block = cell.block
            asked = (model, tp, ep, workload, engine or block.engine)
            if (block.model, block.tensor_parallel, block.expert_parallel, cell.workload.name, block.engine) == asked:
                return measured(cell, metric)
        of = f"{engine}'s {model}" if engine else model
        pytest.skip(f"deployment {night.deployment.name} has no cell of {of} at {Parallel(tp, ep)} under {workload}")

    return read


@pytest.fixture
def ahead(tp, value):
    """By how many percent SGLang's metric exceeds vLLM's under a workload."""

    def compare(model, workload, metric):
        vllm, sglang = (value(model, tp, workload, metric, engine) for engine in ("vllm", "sglang"))
        return 100 * (sglang / vllm - 1)

    return compare


@pytest.mark.parametrize(
    "row",
    [
        pytest.param(row, marks=pytest.mark.claim(claim.id), id=f"{claim.id}-{row.deployment}")
        for claim in ledger().values()
        for row in claim.measured
    ],
)
def test_what_was_recorded_on_such_cards_still_holds(row, night, cell_value):
    """The document's numbers on its own cards, each with the verdict that the committed boots gave it."""
    if night.deployment.name != row.deployment:
        pytest.skip(f"recorded on {row.deployment}, this is {night.deployment.name}")
    measured = UNITS[row.unit] * cell_value(row.cell, row.metric)
    if row.over:
        measured /= cell_value(row.over, row.metric)
    stated = f"{measured:,.4g} {row.unit}, the document has {row.stated:,.10g} and the ledger says {row.verdict}"
    assert row.admits(measured) == (row.verdict == "holds"), stated


@pytest.fixture
def gain(value):
    """What a second GPU is worth to a model's throughput under a workload."""

    def ratio(model, workload):
        one, two = (value(model, tp, workload, "output_throughput") for tp in (1, 2))
        return two / one

    return ratio


@pytest.mark.claim("tp2-no-gain")
def test_a_second_gpu_is_worth_something_to_an_8b_model(claim, gain):
    found = gain(DENSE, "offline-150")
    assert found > 1
    assert not claim.admits(found), f"TP=2 over TP=1: {found:.3f}"


@pytest.mark.claim("tp2-all-reduce-cancels")
def test_a_second_gpu_gains_no_less_with_longer_answers(gain):
    """All-reduces are in each step: if they cancelled the gain, there would be none, nor more steps for each prompt keep it."""
    plain, long = gain(DENSE, "offline-150"), gain(DENSE, "offline-150-long")
    assert plain > 1 + NOISE, f"TP=2 over TP=1: {plain:.3f}"
    assert long > plain - NOISE, f"{plain:.3f} with 128 tokens out, {long:.3f} with 512"


@pytest.mark.claim("tp2-all-reduce-cancels")
@pytest.mark.parametrize("larger", [DENSE_13B, MOE])
def test_the_larger_the_model_the_more_a_second_gpu_gains(gain, larger):
    small, large = (gain(model, "offline-100") for model in (DENSE, larger))
    assert large > small + NOISE, f"{small:.3f} for {DENSE}, {large:.3f} for {larger}"


@pytest.mark.claim("ep-duplication")
def test_expert_parallelism_beside_tensor_parallel_attention_copies_nothing(value):
    split, whole = (value(MOE, 2, "startup", "weight_memory", ep=ep) / 1e9 for ep in (1, 2))
    assert whole == pytest.approx(split, rel=0.02), "GB a GPU: copies of attention and embeddings would be 3.4%"


@pytest.fixture
def longer(value):
    """What Mixtral's latency with whole experts is of that with split ones on so many cards; of offline cells their inverse."""

    def ratio(cards, workload):
        metric = "output_throughput" if workload.startswith("offline") else "latency"
        split, whole = (value(MOE, cards, workload, metric, ep=ep) for ep in (1, cards))
        return split / whole if workload.startswith("offline") else whole / split

    return ratio


@pytest.mark.claim("ep-wins-with-many")
@pytest.mark.parametrize("workload", ["batch-1", "batch-8", "batch-32", "batch-128", "batch-256", "offline-150"])
def test_whole_experts_win_at_no_batch_on_four_cards(longer, workload):
    assert longer(4, workload) > 1 - NOISE


@pytest.mark.claim("tp-wins-on-two")
@pytest.mark.parametrize("workload", ["batch-1", "batch-8", "batch-32", "batch-128", "offline-150"])
def test_split_experts_win_on_two_cards(longer, workload):
    assert longer(2, workload) > 1


@pytest.mark.claim("moe-dense-offline")
def test_offline_throughput_of_dense_over_moe(claim, value):
    dense, moe = value(DENSE, 2, "offline-150", "output_throughput"), value(MOE, 2, "offline-100", "output_throughput")
    assert claim.admits(dense / moe), f"dense over MoE: {dense / moe:.2f}"


@pytest.mark.claim("moe-dense-batch-1")
def test_latency_of_moe_over_dense_at_batch_1(claim, value):
    moe, dense = (value(name, 2, "batch-1", "latency") for name in (MOE, DENSE))
    assert claim.admits(moe / dense), f"MoE over dense: {moe / dense:.2f}"


@pytest.mark.claim("mixtral-weights-per-gpu")
def test_weights_of_mixtral_per_gpu(claim, value):
    weights = value(MOE, 2, "startup", "weight_memory") / 1e9
    assert claim.admits(weights), f"{weights:.2f} GB per GPU"


@pytest.mark.claim("llama-weights-measured")
def test_weights_of_llama(claim, value, night):
    tp = min((c.block.tensor_parallel for c in night.cells if c.block.model == DENSE), default=1)
    weights = tp * value(DENSE, tp, "startup", "weight_memory") / 1e9
    assert claim.admits(weights), f"{weights:.2f} GB"


@pytest.mark.claim("itl-moe-above-dense")
@pytest.mark.parametrize("rate", [1, 2, 4, 8])
def test_itl_of_moe_is_above_dense(tp, value, rate):
    moe, dense = (value(name, tp, f"online-{rate}", "itl_p50") for name in (MOE, DENSE))
    assert moe > dense, f"{moe * 1e3:.2f} ms against {dense * 1e3:.2f} ms"


@pytest.mark.claim("gap-widens-with-batch")
@pytest.mark.parametrize("larger", ["batch-8", "batch-32"])
def test_the_gap_between_moe_and_dense_widens_with_the_batch(tp, value, larger):
    one, many = (value(MOE, tp, b, "latency") / value(DENSE, tp, b, "latency") for b in ("batch-1", larger))
    assert one < many, f"{one:.2f} at batch 1, {many:.2f} at {larger}"


@pytest.mark.claim("sglang-ahead")
@pytest.mark.parametrize("workload", ["offline-100", "offline-150"])
def test_sglang_is_not_far_ahead_on_a_dense_model(claim, ahead, workload):
    percent = ahead(DENSE, workload, "output_throughput")
    assert percent < claim.value * (1 - claim.tolerance), f"{percent:+.1f}%"


@pytest.mark.claim("sglang-moe-ahead")
@pytest.mark.parametrize("workload", ["offline-100", "offline-150", "online-8"])
def test_sglang_is_not_ahead_on_mixtral(claim, ahead, workload):
    percent = ahead(MOE, workload, "output_throughput")
    assert percent < claim.value * (1 - claim.tolerance), f"{percent:+.1f}%"


@pytest.mark.claim("sglang-moe-ahead")
def test_sglang_has_vllms_ttft_on_mixtral(ahead):
    """Within what TTFT differs by between machines."""
    percent = ahead(MOE, "batch-1", "ttft_p50")
    assert abs(percent) < 15, f"{percent:+.1f}%"

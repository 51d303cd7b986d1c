"""Claims about the router, the balance of experts, and the kernel that runs them."""

import re

import numpy as np
import pytest

from fixtures.analytical import serving, step
from fixtures.analytical.hardware import gpu, hardware
from fixtures.analytical.moe_forward import route, softmax
from fixtures.analytical.parallel import Parallel
from fixtures.analytical.precision import precision
from fixtures.analytical.step import Setup
from fixtures.models.model import Model
from fixtures.studies.expert_kernel.skew import SHARES, draw
from perf_tests.analytical.models import MIXTRAL
from perf_tests.paths import ROOT

pytestmark = pytest.mark.cpu

EXPERTS, TOP_K = MIXTRAL.layers[0].experts, MIXTRAL.layers[0].top_k
UNIFORM = 1 / EXPERTS
CONTEXT = 64


@pytest.fixture
def logits():
    return np.random.default_rng(0).normal(scale=2, size=(2048, EXPERTS))


@pytest.fixture
def setup():
    return Setup(MIXTRAL, gpu("h200"), Parallel(2), precision("bf16"))


@pytest.fixture(scope="module")
def measured():
    """The table of docs/routing.md: by tokens the columns, and by routing the time over that of balanced routing."""
    text = (ROOT / "docs" / "routing.md").read_text().partition("## What imbalance costs")[2].partition("\n## ")[0]
    header, _, *rows = (
        [cell.strip() for cell in line.strip("|").split("|")] for line in re.findall(r"^\|.*$", text, re.MULTILINE)
    )
    found = {}
    for row in rows:
        cells = dict(zip(header, row, strict=True))
        ratios = {name: 1 + float(cells[name].partition("%")[0]) / 100 for name in SHARES if name != "balanced"}
        found[int(cells["tokens"].replace(",", ""))] = cells, ratios
    return found


def expert_seconds(setup, batch):
    return step.decode(setup, batch, CONTEXT).experts


def drawn(name, tokens):
    """How many tokens each expert got when this routing was timed."""
    chosen = draw(np.array(SHARES[name]), tokens, TOP_K, np.random.default_rng(tokens))
    return np.bincount(chosen.ravel(), minlength=EXPERTS)


@pytest.mark.claim("softmax-router")
def test_weights_are_a_softmax_of_the_selected(logits):
    ids, weights = route(logits, TOP_K)
    assert weights == pytest.approx(softmax(np.take_along_axis(logits, ids, axis=-1)))
    over_all = np.take_along_axis(softmax(logits), ids, axis=-1)
    assert (over_all.sum(axis=-1) < 1).all(), "without the division they would not add up to one"
    assert weights[:, 0] / weights[:, 1] == pytest.approx(over_all[:, 0] / over_all[:, 1])


@pytest.mark.claim("routing-near-uniform")
def test_the_interval_is_not_15_percent(claim):
    low, high = (100 * abs(share / UNIFORM - 1) for share in (0.10, 0.14))
    assert low == pytest.approx(20)
    assert high == pytest.approx(12)
    assert not claim.admits(low)
    assert not claim.admits(high)


@pytest.mark.claim("router-z-loss")
def test_the_z_loss_does_not_see_a_collapse(logits):
    # The same logits, each token's sorted: now every token prefers experts 0 and 1.
    collapsed = -np.sort(-logits, axis=-1)

    def shares(x):
        return np.bincount(route(x, TOP_K)[0].ravel(), minlength=EXPERTS) / x.shape[0] / TOP_K

    def z_loss(x):
        return float(np.mean(np.log(np.exp(x).sum(axis=-1)) ** 2))

    def balance_loss(x):
        return float(EXPERTS * shares(x) @ softmax(x).mean(axis=0))

    assert shares(logits).max() < 0.15
    assert shares(collapsed)[:TOP_K].sum() == pytest.approx(1)
    assert z_loss(collapsed) == pytest.approx(z_loss(logits)), "it would have to rise to prevent anything"
    assert balance_loss(collapsed) > 2 * balance_loss(logits)
    coefficients = {k for k, v in Model.load("mixtral-8x7b", "test").config.items() if k.startswith("router") and v}
    assert coefficients == {"router_aux_loss_coef"}


@pytest.mark.claim("slowest-expert")
def test_the_kernel_takes_as_long_as_all_touched_experts_together(setup):
    # Up to 8 tokens every expert is bound by reading it, so that the slowest takes as long as any.
    assert expert_seconds(setup, 8) > 2.5 * expert_seconds(setup, 1)
    # From 32 to 128 tokens each expert has four times the tokens, and all are touched before and after.
    assert expert_seconds(setup, 128) < 1.2 * expert_seconds(setup, 32)


@pytest.mark.claim("slowest-expert")
def test_the_busiest_expert_does_not_set_the_time_that_was_measured(measured):
    for tokens, (_, ratios) in measured.items():
        for name, ratio in ratios.items():
            by_the_rule = drawn(name, tokens).max() / drawn("balanced", tokens).max()
            assert by_the_rule >= (1.4 if tokens > 1 else 1)
            assert ratio < 1.27
            assert ratio < by_the_rule or tokens == 1
            if name == "collapsed":
                assert ratio < 1
            elif tokens >= 1024:
                assert ratio == pytest.approx(1, abs=0.02)


def test_row_blocks_are_those_of_the_routings_that_were_timed(measured):
    for tokens, (cells, _) in measured.items():
        blocks = [int(np.ceil(drawn(name, tokens) / int(cells["block"])).sum()) for name in SHARES]
        assert cells["row blocks"] == ", ".join(map(str, blocks))


@pytest.mark.claim("imbalance-25-percent")
def test_its_rule_gives_more_than_25_percent(claim):
    saved = 100 * (1 - UNIFORM / 0.30)
    assert saved == pytest.approx(58.3, abs=0.1)
    assert not claim.admits(saved)


@pytest.mark.claim("imbalance-25-percent")
def test_imbalance_costs_25_percent_at_256_tokens_alone(claim, measured):
    costs = {tokens: 100 * (ratios["30% and 5%"] - 1) for tokens, (_, ratios) in measured.items()}
    assert [tokens for tokens, cost in costs.items() if claim.admits(cost)] == [256]
    assert [tokens for tokens, cost in costs.items() if cost > 2] == [128, 256]


@pytest.mark.claim("expert-kernel-share")
def test_the_expert_kernel_is_most_of_a_step(claim, setup):
    for platform in ("ideal", "vllm"):
        host = hardware().host_term(platform, "h200")

        def share(batch, host=host):
            terms = serving.decode_step(setup, host, batch, CONTEXT)
            return 100 * terms.experts / terms.total

        for batch in (8, 16, 32):
            assert 80 < share(batch) < 89
            assert not claim.admits(share(batch))
        assert share(1) == pytest.approx(65, abs=7), "at batch 1 it is so"

"""Which experts tokens are routed to: captured from the engine, checked against a reference, and how balanced it is.

Only a trained router can be judged for balance: what made weights route to is chance; with an engine's dummy ones all layers
route alike.
"""

import json
import math
import subprocess
from pathlib import Path

import numpy as np
import pytest

from fixtures.deployments.cell import Cell
from fixtures.errors import EngineError
from fixtures.models import location
from fixtures.routing.capture import prompts
from fixtures.studies.training.train import RECIPE
from perf_tests.paths import ROOT

pytestmark = pytest.mark.serving

BALANCED, UNBALANCED = "mixtral-small-balanced", "mixtral-small-unbalanced"
# What the document calls near uniform, relative to 1/8.
BAND = 0.15
# Deviations of a normal distribution that one of 512 draws exceeds in one run of a thousand.
BEYOND_CHANCE = 4.8
# By dtype: the share of choices that agree with a reference in float32, and how close in logits those are that do not.
# In bfloat16 logits of 4 are 0.03 apart, and what one layer chooses otherwise moves the next ones' by more.
AGREE = {"float32": (0.99, 1e-3), "bfloat16": (0.97, 0.3)}


@pytest.fixture
def balance(night):
    """The balance of a model's routing; skips where the deployment does not capture it."""

    def read(model):
        for cell in night.cells:
            if cell.block.model == model and cell.workload.kind == "routing":
                try:
                    return night.balance(cell)
                except EngineError as error:
                    pytest.fail(f"{cell.id}: {error}", pytrace=False)
        pytest.skip(f"deployment {night.deployment.name} captures no routing of {model}")

    return read


@pytest.mark.cells("routing")
def test_routing(cell: Cell, measure, night):
    values, workload = measure(cell).metrics, cell.workload
    assert values["routed_tokens"] <= workload.num_prompts * (workload.input_len + workload.output_len - 1)
    assert values["expert_load"] >= 1
    if night.replays:
        return
    found = night.balance(cell)
    assert found.prompts == workload.num_prompts
    weights = night.deployment.model(cell.block.model).weights
    experts, chance = found.shares.shape[1], (found.shares.shape[1] / found.top_k - 1) / found.tokens
    # With fewer tokens chance alone would exceed the band in more than one run of a thousand (of 256 shares).
    if weights == location.RANDOM and BEYOND_CHANCE * math.sqrt(chance) < BAND:
        assert np.abs(found.shares * experts - 1).max() <= BAND
    if weights in location.MADE:
        return
    assert len({tuple(layer) for layer in found.shares.tolist()}) == len(found.shares), (
        "layers that route alike aren't trained"
    )


@pytest.mark.cells("routing")
def test_the_reference_picks_the_same_experts(cell, night):
    """The router of transformers, of the same weights, on the same prompts; ties aside."""
    weights = night.deployment.model(cell.block.model).weights
    if night.replays or not Path(weights).is_dir():
        pytest.skip(f"{cell.block.model} has no weights in a directory that a reference could read")
    texts = prompts(6, 64, night.deployment.configuration(cell.block.model).vocab_size, None, seed=1)
    try:
        served = night.routing(cell, texts, 1)
    except EngineError as error:
        pytest.fail(f"{cell.id}: {error}", pytrace=False)
    question = night.artifacts / "reference-question.json"
    question.write_text(json.dumps({"prompts": texts}))
    environment = night.environment(cell.block.engine)
    script = RECIPE.parent / "reference_routing.py"
    answer = subprocess.run(
        [environment.python, str(script), weights, str(question)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env=environment.variables() | {"HF_HUB_OFFLINE": "1"},
    )
    assert answer.returncode == 0, answer.stderr[-2000:]
    known = json.loads(answer.stdout)
    own = np.sort(served.chosen, axis=-1)
    reference, margin = np.sort(np.array(known["chosen"]), axis=-1), np.array(known["margin"])
    same = (own == reference).all(axis=-1)
    share, tie = AGREE[night.deployment.dtype]
    found = f"{cell.id}: {same.mean():.2%} of the choices agree, the others within {margin[~same].max(initial=0):.4f}"
    print(found)
    assert same.mean() > share, found
    assert margin[~same].max(initial=0) < tie, found


def test_the_loss_keeps_a_router_balanced_and_without_it_imbalance_grows(balance):
    even, uneven = balance(BALANCED), balance(UNBALANCED)
    assert uneven.load.max() > 2 * even.load.max()
    assert uneven.cv.mean() > 5 * even.cv.mean()
    assert len(uneven.unbalanced()) == len(uneven.shares)


def test_experts_of_a_balanced_router_stay_near_uniform(balance):
    """The document's 15% around 1/8 hold in two or three of four layers, by the machine that trained; one strays to 35%."""
    found = balance(BALANCED)
    strays = np.abs(found.shares * 8 - 1).max(axis=1)
    assert (strays <= BAND).sum() >= 2, strays
    assert found.cv.mean() <= BAND, found.cv


@pytest.mark.claim("expert-collapse")
def test_one_or_two_experts_take_over_80_percent_without_the_loss(claim, balance):
    """In the most uneven layer, not in all; refuted as a general statement, for this model."""
    two = np.sort(balance(UNBALANCED).shares, axis=1)[:, -2:].sum(axis=1)
    assert 100 * two.max() > claim.value > 100 * np.median(two)

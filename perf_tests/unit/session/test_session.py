"""What a night makes of the samples that it has: ratios between cells."""

import pytest

from fixtures.deployments.cell import cells
from fixtures.deployments.deployment import load
from fixtures.engines.registry import ENGINES
from fixtures.gate.verdict import Outcome
from fixtures.metrics import METRICS
from fixtures.session.session import Session
from perf_tests.fakes.judging import judge_beside
from perf_tests.fakes.samples import sample

pytestmark = pytest.mark.cpu

RATIO = METRICS["latency_to_dense"]


@pytest.fixture
def verdict(tmp_path):
    """The verdict on Mixtral's latency over the dense model's, and the ratios, by the boots of both."""

    def judged(dense, moe):
        chosen = load("cpu", ENGINES)
        pair = [cell for cell in cells(chosen, ["*/batch-8"]) if cell.block.tensor_parallel == 2]
        by_model = {cell.block.model: cell for cell in pair}
        own, other = by_model["mixtral-8x7b-twin"], by_model["llama-3.1-8b-twin"]
        judge = judge_beside(chosen, pair, tmp_path)
        night = Session(judge, None, tmp_path, max_boots=1)  # nothing can be measured again
        night.boots.update({other: dense, own: moe})
        judge.read_baselines()
        return night.verdict(own, RATIO), [boot.metrics.get(RATIO.name) for boot in moe], other

    return judged


def test_a_ratio_is_to_the_first_boot_that_counts(verdict):
    found, ratios, _ = verdict(
        [sample("1", "throttled", latency=9.0), sample("2", latency=2.0)], [sample("3", latency=5.0)]
    )
    assert (found.outcome, found.value, ratios) == (Outcome.NO_BASELINE, 2.5, [2.5])


def test_a_ratio_is_to_the_same_boot_where_that_counts(verdict):
    found, _, _ = verdict([sample("1", latency=2.0), sample("2", latency=4.0)], [sample("2", latency=5.0)])
    assert found.value == 1.25


def test_a_ratio_to_what_was_disturbed_is_invalid_and_says_so(verdict):
    found, ratios, other = verdict([sample("1", "throttled", latency=9.0)], [sample("2", latency=5.0)])
    assert (found.outcome, found.value, ratios) == (Outcome.INVALID, None, [None])
    assert found.reason == f"{other.id}, which it is in proportion to, is invalid: throttled"

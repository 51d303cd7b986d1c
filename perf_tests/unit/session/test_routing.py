"""What a routing cell tells of an engine that routes otherwise than its model's configuration says."""

import numpy as np
import pytest

from fixtures.deployments.cell import cells
from fixtures.deployments.server import Server
from fixtures.engines.boot import Boot, attach
from fixtures.gate.verdict import Outcome
from fixtures.metrics import METRICS
from fixtures.routing.routing import Routed
from fixtures.session.measurer import Measurer
from perf_tests.fakes.deployments import head, load, workload
from perf_tests.fakes.judging import Draws, judge_beside
from perf_tests.fakes.server_process import mock_server

pytestmark = pytest.mark.cpu

LAYERS, EXPERTS = 2, 8


@pytest.mark.parametrize(("top_k", "outcome"), [(1, Outcome.REGRESSION), (2, Outcome.PASS), (4, Outcome.REGRESSION)])
def test_the_number_of_experts_that_a_token_is_routed_to_is_the_models(tmp_path, monkeypatch, top_k, outcome):
    """Two of eight in Mixtral. It needs no baseline, and one boot tells."""
    random = np.random.default_rng(0)

    def routed(self, prompt, tokens):
        count = len(prompt) + tokens - 1
        chosen = random.permuted(np.tile(np.arange(EXPERTS), (count, LAYERS, 1)), axis=-1)[..., :top_k]
        return Routed(chosen.astype(np.int16), tuple(range(tokens)))

    monkeypatch.setattr(Boot, "routed", routed)
    chosen = load(
        tmp_path, head(["mixtral-8x7b"]) + workload("routing", "routing", num_prompts=8, input_len=16, output_len=8)
    )
    (cell,) = cells(chosen)
    with mock_server("--ttft", "0", "--gap", "0") as url:
        sample = Measurer(chosen, []).measure(cell, attach(Server(url), "mock"))
    assert sample.metrics["experts_per_token"] == abs(top_k / 2 - 1)
    judge = judge_beside(chosen, [cell], tmp_path, Draws(lambda cell, boot: sample))
    judge.reference.judged.boots[cell] = [sample]
    assert judge.verdict(cell, METRICS["experts_per_token"], judge.trial([cell])).outcome is outcome

"""The source document's figures."""

import pytest

from fixtures.report.figures import batch_latency, svg, tensor_parallel

pytestmark = pytest.mark.cpu


@pytest.mark.parametrize(
    ("draw", "texts"),
    [
        (tensor_parallel, ("TP=1", "TP=2", "9,946", "10,755", "device alone, by the model")),
        (batch_latency, ("H200 TP=2, measured", "HBM floor", "model with the host's share")),
    ],
)
def test_figures_of_the_document_show_measured_points_model_and_floor(draw, texts):
    drawn = svg(draw())
    for text in texts:
        assert text in drawn
    assert drawn == svg(draw()), "the same every time, so that it can be committed"

"""The source document's figures."""

import pytest

from perf_tests.documentation import figures

pytestmark = pytest.mark.cpu


@pytest.mark.parametrize(
    ("name", "texts"),
    [
        ("document-tensor-parallel", ("TP=1", "TP=2", "9,946", "10,755", "device alone, by the model")),
        ("document-batch-latency", ("H200 TP=2, measured", "HBM floor", "model with the host's share")),
    ],
)
def test_figures_of_the_document_show_measured_points_model_and_floor(name, texts):
    drawn = figures.svg(figures.FIGURES[name]())
    for text in texts:
        assert text in drawn
    assert drawn == figures.svg(figures.FIGURES[name]()), "the same every time, so that it can be committed"

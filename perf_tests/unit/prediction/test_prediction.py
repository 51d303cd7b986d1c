"""Predictions of whole deployments, and the command that prints them."""

import dataclasses
import subprocess
import sys

import pytest

from fixtures.analytical import memory, serving
from fixtures.analytical.hardware import gpu, hardware
from fixtures.analytical.parallel import Parallel
from fixtures.analytical.precision import precision
from fixtures.analytical.step import Setup
from fixtures.deployments import deployment as deployments
from fixtures.engines.registry import ENGINES
from fixtures.errors import UsageError
from fixtures.prediction import prediction
from fixtures.prediction.__main__ import main
from fixtures.prediction.table import rows
from perf_tests.analytical.models import LLAMA_8B, MIXTRAL
from perf_tests.paths import ROOT

pytestmark = pytest.mark.cpu


@pytest.fixture
def pair():
    return deployments.load("h200x2", ENGINES)


def found(deployment, *patterns):
    return {(one.cell.id, one.metric): one for one in prediction.predictions(deployment, patterns)}


def test_a_batch_is_predicted_with_the_host_of_its_card_and_engine(pair):
    predicted = found(pair, "*/llama-3.1-8b/tp2/batch-8")
    for engine, platform in (("vllm", "vllm-0.33"), ("sglang", "sglang-0.5")):
        setup = Setup(LLAMA_8B, gpu("h200"), Parallel(2), precision("bf16"))
        seconds = serving.latency_seconds(setup, hardware().host_term(platform, "h200", 2), 8, 32, 64)
        one = predicted[f"{engine}/llama-3.1-8b/tp2/batch-8", "latency"]
        assert one.value == seconds
        assert (one.low, one.high) == hardware().uncertainty_of(platform, "latency", 2).interval(seconds)


@pytest.mark.parametrize(
    ("model", "architecture", "parallel", "spread"),
    [
        ("llama-3.1-8b", LLAMA_8B, Parallel(1, 1, 4), "tp1dp4"),
        ("mixtral-8x7b", MIXTRAL, Parallel(1, 4, 4), "tp1dp4ep4"),
    ],
)
def test_copies_on_a_card_each_have_the_host_of_one_card(model, architecture, parallel, spread):
    cell = f"vllm/{model}/{spread}/batch-8"
    one = found(deployments.load("h200x4", ENGINES), cell)[cell, "latency"]
    setup = Setup(architecture, gpu("h200"), parallel, precision("bf16"))
    alone, several = (hardware().host_term("vllm-0.33", "h200", tp) for tp in (1, 2))
    assert alone != several
    assert one.value == serving.latency_seconds(setup, alone, 8, 32, 64)


def test_sizes_are_arithmetic(pair):
    predicted = found(pair, "vllm/mixtral-8x7b/tp2/startup")
    weights, tokens = (predicted["vllm/mixtral-8x7b/tp2/startup", m] for m in ("weight_memory", "kv_capacity"))
    assert weights.value == memory.weight_bytes_per_gpu(MIXTRAL, precision("bf16"), Parallel(2))
    assert weights.low < weights.value < weights.high < 1.01 * weights.value
    assert tokens.low == tokens.value == tokens.high == 30 * 2**30 // (64 * 1024)


def test_what_the_model_has_no_expectation_for_is_left_out(pair):
    with pytest.raises(UsageError, match="no cell"):
        found(pair, "*/nothing")
    assert found(pair, "*/shared-prefix") == {}
    sizes, speeds = {"weight_memory", "kv_capacity"}, {"latency", "output_throughput", "tpot_p50"}
    assert {metric for _, metric in found(pair, "*/tp1/*")} == sizes | speeds


def test_a_ratio_is_as_wide_as_errors_that_are_opposed_make_it(pair):
    predicted = found(pair, "vllm/llama-3.1-8b/*/offline-150")
    one, two, ratio = (
        predicted[f"vllm/llama-3.1-8b/tp{tp}/offline-150", metric]
        for tp, metric in ((1, "output_throughput"), (2, "output_throughput"), (2, "throughput_to_tp_1"))
    )
    assert ratio.value == two.value / one.value
    assert ratio.low == two.low / one.high
    assert ratio.high == two.high / one.low


def test_a_model_that_outgrows_one_card_has_no_ratio_to_it(pair):
    mixtral = "vllm/mixtral-8x7b/tp2/offline-100"
    assert (mixtral, "throughput_to_tp_1") in found(pair, mixtral)
    assert list(found(deployments.load("h100x2", ENGINES), mixtral)) == [(mixtral, "output_throughput")]


def every_cell(deployment):
    """Also of models that are measured in some cells only: of another engine these have other ids."""
    return dataclasses.replace(
        deployment, models=tuple(dataclasses.replace(entry, cells=()) for entry in deployment.models)
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hardware": "B300"}, "hardware: predictions are for cards .* found 'B300'"),
        ({"hardware": "cpu"}, "hardware: predictions are for cards .* found 'cpu'"),
        ({"kv_cache_gib": 0.0}, "kv_cache_gib: predictions need a KV budget, found 0"),
        ({"engines": ("tgi",)}, "no platform of engine 'tgi' is calibrated"),
    ],
)
def test_what_cannot_be_predicted_is_said_in_a_line(pair, change, message):
    with pytest.raises(UsageError, match=message) as caught:
        prediction.predictions(dataclasses.replace(every_cell(pair), **change))
    assert "\n" not in str(caught.value)


def test_stages_and_an_engines_own_dtype_are_not_predicted(pair):
    for change in ({"pipeline_parallel": 2}, {"dtype": "auto"}):
        assert prediction.predictions(dataclasses.replace(every_cell(pair), **change), ["*/batch-8"]) == []


def test_the_command_prints_what_is_predicted_beside_the_documents_figures(capsys):
    assert main(["--deployment", "h200x2", "--cells", "vllm/*/tp2/*"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "h200x2, 2 x NVIDIA H200: PREDICTED by the analytical model, nothing here is a measurement"
    assert lines[1] == "platform vllm-0.33"
    cells = {(words[0], words[1]): line for line in lines[5:] if (words := line.split())}
    for cell, metric, figure in (
        ("llama-3.1-8b/tp2/batch-32", "latency", "466 ms"),
        ("llama-3.1-8b/tp2/offline-150", "output_throughput", "10,755 tok/s"),
        ("llama-3.1-8b/tp2/offline-150", "throughput_to_tp_1", "0.9973 x"),
        ("mixtral-8x7b/tp2/online-4", "tpot_p50", "13.19 ms (ITL)"),
    ):
        assert cells[f"vllm/{cell}", metric].endswith(f"  {figure}")
    assert "  exact" in cells["vllm/mixtral-8x7b/tp2/startup", "kv_capacity"]
    assert cells["vllm/mixtral-8x7b/tp2/startup", "weight_memory"].split()[2:5:2] == ["43.5", "43.15"]
    assert not any("sglang" in line or "/tp1/" in line for line in lines)


def test_the_document_has_no_figure_for_other_lengths(pair):
    for changes, figure in (({}, "10,755 tok/s"), ({"input_len": 76}, ""), ({"output_len": 64}, "")):
        changed = tuple(dataclasses.replace(w, **changes) if w.kind == "offline" else w for w in pair.workloads)
        ((*_, shown),) = (
            row
            for row in rows(dataclasses.replace(pair, workloads=changed), ["vllm/llama*/tp2/offline-150"])
            if row[1] == "output_throughput"
        )
        assert shown == figure


def test_cells_that_the_model_says_nothing_of_are_no_empty_table(capsys):
    assert main(["--deployment", "h200x2", "--cells", "*/shared-prefix"]) == 2
    assert capsys.readouterr().err == (
        "error: --cells: the model says nothing of '*/shared-prefix'; choose other cells\n"
    )


def test_the_module_runs_and_its_mistakes_are_one_line():
    command = [sys.executable, "-m", "fixtures.prediction", "--deployment"]
    done = subprocess.run([*command, "cpu"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: cpu: hardware: predictions are for cards")
    assert done.stderr.count("\n") == 1

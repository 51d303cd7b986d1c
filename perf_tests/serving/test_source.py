"""Claims about the engine's source, checked in the installed engine: nothing is booted."""

import ast
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

import fixtures.engines
from fixtures.analytical.moe_forward import route
from fixtures.engines.registry import ENGINES
from fixtures.errors import UsageError

pytestmark = pytest.mark.serving


@pytest.fixture
def vllm(night):
    try:
        environment = night.environment("vllm")
        environment.package("vllm")
    except UsageError as error:
        pytest.skip(str(error))
    return environment


@pytest.fixture
def models(vllm):
    return vllm.package("vllm") / "model_executor" / "models"


def names(path):
    """Names of the functions and classes at the top level of a module or of the modules of a package."""
    files = sorted(path.glob("*.py")) if path.is_dir() else [path]
    nodes = [node for file in files for node in ast.parse(file.read_text()).body]
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}


@pytest.mark.claim("source-mixtral")
def test_the_mixtral_layer_is_where_the_document_says(models):
    assert "MixtralMoE" in names(models / "mixtral.py")


@pytest.mark.claim("source-fused-moe")
def test_the_fused_moe_function_has_moved(models):
    layer = models.parent / "layers" / "fused_moe"
    assert "fused_experts" in names(layer), "what does the work now"
    assert "fused_moe" not in names(layer), "the function that the document names"


@pytest.mark.claim("source-mixtral-quant")
def test_the_quantised_model_file_is_gone(models):
    assert not (models / "mixtral_quant.py").exists()
    assert "quant_config" in (models / "mixtral.py").read_text(), "one file serves both now"


@pytest.mark.claim("moe-forward")
def test_the_engine_selects_and_weighs_experts_as_the_reference_does(vllm):
    logits = np.random.default_rng(0).normal(scale=3, size=(512, 8))
    script = Path(fixtures.engines.__file__).parent / "inside" / "route.py"
    question = json.dumps({"logits": logits.tolist(), "top_k": 2})
    engine = ENGINES["vllm"]
    done = subprocess.run(
        [vllm.python, str(script), engine.releases.value_of("module of select_experts", engine.release(vllm))],
        check=False,
        timeout=300,
        input=question,
        env=vllm.variables(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    answer = json.loads(done.stdout.splitlines()[-1])
    ids, weights = route(logits, 2)
    found = np.zeros((512, 8))
    np.put_along_axis(found, np.array(answer["ids"]), np.array(answer["weights"]), axis=-1)
    expected = np.zeros((512, 8))
    np.put_along_axis(expected, ids, weights, axis=-1)
    assert np.abs(found - expected).max() < 1e-5

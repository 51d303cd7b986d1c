"""Claims about code that the document prints."""

import ast
import types

import pytest

pytestmark = pytest.mark.cpu

# The document's probe, as printed; it is to be run as a script.
PROBE = """\
from vllm import LLM, SamplingParams
import torch, collections

llm = LLM(
    model="mistralai/Mixtral-8x7B-Instruct-v0.1",
    tensor_parallel_size=2,
)

# Patch router to capture selections
expert_counts = collections.defaultdict(lambda: collections.Counter())

def hook_router(layer_idx, expert_indices):
    for idx in expert_indices.flatten().tolist():
        expert_counts[layer_idx][idx] += 1

prompts = ["Explain quantum computing in simple terms."] * 50
outputs = llm.generate(prompts, SamplingParams(max_tokens=128))

# Print expert load balance per layer
for layer, counts in sorted(expert_counts.items()):
    total = sum(counts.values())
    print(f"Layer {layer}:", {k: f"{v/total:.1%}" for k,v in counts.most_common(8)})
"""


@pytest.fixture
def engine(monkeypatch):
    """Stand-ins for the modules that the probe imports: an engine that generates, and whatever it is asked to call."""

    class Engine:
        called = ()

        def __init__(self, **options):
            pass

        def generate(self, prompts, sampling):
            for hook in self.called:
                hook()
            return prompts

    monkeypatch.setitem(__import__("sys").modules, "torch", types.ModuleType("torch"))
    vllm = types.ModuleType("vllm")
    vllm.LLM, vllm.SamplingParams = Engine, dict
    monkeypatch.setitem(__import__("sys").modules, "vllm", vllm)
    return Engine


@pytest.mark.claim("source-expert-probe")
def test_the_hook_is_never_attached(engine, capsys):
    tree = ast.parse(PROBE)
    assert "hook_router" in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    assert "hook_router" not in {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    exec(compile(tree, "expert_probe.py", "exec"), {})
    assert capsys.readouterr().out == ""


@pytest.mark.claim("source-expert-probe")
def test_an_attached_hook_would_print(engine, capsys):
    scope = {}
    engine.called = (lambda: scope["expert_counts"][0].update([3, 3, 5, 3]),)
    exec(compile(PROBE, "expert_probe.py", "exec"), scope)
    assert capsys.readouterr().out == "Layer 0: {3: '75.0%', 5: '25.0%'}\n"

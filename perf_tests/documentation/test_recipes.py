"""The recipes of docs/extending.md, followed to the letter in a copy of the repository."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from perf_tests.fakes import fake_engine
from perf_tests.fakes.server_process import mock_server
from perf_tests.paths import ROOT

pytestmark = pytest.mark.faults

PAGE = (ROOT / "docs" / "extending.md").read_text()
STEP = re.compile(
    r"^(New file|Add to|After `(?P<anchor>[^`]+)` in) `(?P<path>[^`]+)`:\n\n```\w+\n(?P<text>.*?)^```$", re.M | re.S
)
WORKLOADS = ("batch-1", "batch-8")


def follow(step, root):
    """Do what a step of the page says."""
    path, text = root / step["path"], step["text"]
    if step[1] == "New file":
        assert not path.exists(), f"{path} is there already"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    elif step[1] == "Add to":
        path.write_text(path.read_text() + text)
    else:
        before = path.read_text()
        assert before.count(step["anchor"]) == 1, f"{step['path']} holds {step['anchor']!r} not once"
        path.write_text(before.replace(step["anchor"], f"{step['anchor']}\n{text.rstrip()}"))


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The repository with all recipes followed."""
    root = tmp_path_factory.mktemp("copy")
    for name in ("fixtures", "perf_tests", "docs", "baselines"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("conftest.py", "pyproject.toml"):
        shutil.copy(ROOT / name, root)
    for step in STEP.finditer(PAGE):
        follow(step, root)
    return root


def run(root, *words):
    """A command in the copy: exit status and output. ``$`` lines of the page say ``pytest`` and ``python``."""
    program = {"pytest": [sys.executable, "-m", "pytest"], "python": [sys.executable]}[words[0]]
    variables = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "PYTHONPATH"))}
    done = subprocess.run(
        [*program, *words[1:]],
        cwd=root,
        env=variables | {"CUDA_VISIBLE_DEVICES": ""},
        text=True,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    return done.returncode, done.stdout


def commands(start):
    """Those of the page that begin so, without their comments."""
    return [line.split("#")[0].split()[1:] for line in PAGE.splitlines() if line.startswith(f"$ {start}")]


def test_every_block_of_the_page_is_followed_or_run():
    fences = [fence for fence in re.findall(r"^```(\w*)", PAGE, re.MULTILINE) if fence]
    assert len(list(STEP.finditer(PAGE))) == 13
    examples = 3  # a server's table, and entries of a table of releases, which name releases that are there already
    assert len(fences) - fences.count("console") == 13 + examples
    assert len(commands("pytest")) + len(commands("python")) == 10
    headings = re.findall(r"^## (.*)$", PAGE, re.MULTILINE)
    assert headings == [
        "A server that already runs",
        "A deployment",
        "A model",
        "An engine",
        "A release of an engine",
        "A metric",
        "A claim",
    ]


def test_a_server_that_already_runs(copy):
    (command,) = [one for one in commands("python") if "fixtures.init" in one]
    root = copy / "fixtures" / "models" / "llama-3.1-8b-twin"
    with mock_server("--model", "team/llama", "--root", str(root), "--max-model-len", "512") as url:
        words = [url if word.startswith("http") else word for word in command]
        status, text = run(copy, "python", *words[1:], "--no-measure")
        assert status == 0, text
        status, text = run(copy, "pytest", "-m", "serving", "--deployment=my.toml", "--collect-only", "-q")
    assert status == 0, text
    assert "external/llama/tp1/batch-1" in text


def judged(copy, deployment, engine, *options):
    """Follow the commands that measure a deployment; what the last one says, and the boots of each cell in its baseline."""
    for command in [one for one in commands("pytest") if f"--deployment={deployment}.toml" in one]:
        for _ in range(5):  # on a busy machine the client misses its schedule now and then, and a cell is invalid
            status, text = run(copy, *command, *options)
            assert status == 0, text
            if " invalid" not in text:
                break
    assert re.search(r"^verdicts: \d+ pass$", text, re.MULTILINE), text
    (path,) = (copy / "baselines" / "cpu").rglob(f"{engine}-*/chat-small.json")
    stored = {b["name"]: b["extra_info"]["boots"] for b in json.loads(path.read_text())["benchmarks"]}
    assert set(WORKLOADS) <= set(stored)
    assert min(map(len, stored.values())) >= 2, "appended"
    return text, stored


def test_a_deployment_of_a_model_on_a_real_engines_command_line(copy, tmp_path):
    # The fake has no model's source to look into.
    environment = f"--engine-env=vllm={fake_engine.build(tmp_path / 'engine')}"
    text, _ = judged(copy, "mine", "vllm", environment, "-k", "not test_source")
    for name in WORKLOADS:
        assert f"vllm/chat-small/tp1/{name}: measured" in text


def test_an_engine_with_a_deployment_a_metric_and_a_claim(copy):
    text, stored = judged(copy, "mock", "mock")
    assert re.search(r"^batch-of-8-is-free .* checked$", text, re.MULTILINE), "the last one says --claims"
    for name in WORKLOADS:
        assert f"mock/chat-small/tp1/{name}: measured" in text
    assert re.search(r"^  prefill_share +[\d.]+ % +[\d.]+ % .* pass$", text, re.MULTILINE)
    assert 0 < stored["batch-1"][0]["metrics"]["prefill_share"] < 1


def test_the_analytical_model_knows_the_model(copy):
    (command,) = [one for one in commands("python") if "fixtures.analytical" in one]
    status, text = run(copy, *command, "--json")
    assert status == 0, text
    assert json.loads(text)["total_params"] == pytest.approx(1.1e9, rel=0.01)


def test_what_holds_the_pages_and_the_ledger_still_holds(copy):
    files = ["documentation/test_metrics_page.py", "documentation/test_architecture.py", "documentation/test_ledger.py"]
    status, text = run(copy, "pytest", "-q", *(f"perf_tests/{name}" for name in files))
    assert status == 0, text
    assert "`prefill_share`" in (copy / "docs" / "metrics.md").read_text()

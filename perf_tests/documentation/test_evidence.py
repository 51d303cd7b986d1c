"""Evidence is frozen apart from baselines: these may be replaced or added to, and nothing turns red.

In a copy of the repository where a night's pull request was merged: the boots of one model replaced by one whose latencies are
1.5% lower, and a boot added to another's.
"""

import copy as copies
import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from fixtures.metrics import METRICS
from perf_tests.documentation import evidence, generate
from perf_tests.paths import ROOT

FASTER = 0.985
BLOCK = "baselines/h200x1/vllm-tp1-dummy"
NAMES = ("fixtures", "perf_tests", "docs", "baselines", ".github", "requirements")
FILES = ("README.md", "SECURITY.md", "conftest.py", "pyproject.toml", "tox.ini", ".gitignore")
# Tests of whatever baselines are committed.
READERS = [
    str(path.relative_to(ROOT))
    for path in sorted((ROOT / "perf_tests").rglob("test_*.py"))
    if re.search(r'ROOT / "baselines"|Path\("baselines', path.read_text(encoding="utf-8"))
    and path.name != "test_evidence.py"
]


def faster(values):
    """Metrics of a boot that is faster in all that is measured in time."""
    by = {"s": FASTER, "ms": FASTER, "tok/s": 1 / FASTER, "req/s": 1 / FASTER}
    return {
        name: [v * by.get(METRICS[name].unit, 1) for v in value]
        if isinstance(value, list)
        else value * by.get(METRICS[name].unit, 1)
        for name, value in values.items()
    }


def another(boot, name):
    """A boot of its own, faster than ``boot``."""
    return {
        **copies.deepcopy(boot),
        "boot": name,
        "metrics": faster(boot["metrics"]),
        "repetitions": faster(boot["repetitions"]),
    }


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The repository with other baselines."""
    root = tmp_path_factory.mktemp("copy")
    for name in NAMES:
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copy(ROOT / name, root)
    for model, kept in (("llama-3.1-8b", 0), ("mixtral-8x7b", None)):
        path = root / BLOCK / f"{model}.json"
        data = json.loads(path.read_text(encoding="utf-8"))
        for cell in data["benchmarks"]:
            boots = cell["extra_info"]["boots"]
            cell["extra_info"]["boots"] = [*boots[:kept], another(boots[-1], "moved")]
        path.write_text(json.dumps(data), encoding="utf-8")
    return root


def run(root, *words):
    """A module of Python in the copy: exit status and output."""
    variables = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "PYTHONPATH"))}
    command = [sys.executable, "-m", *words]
    done = subprocess.run(
        command, cwd=root, env=variables, text=True, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    return done.returncode, done.stdout


def check(root, *names):
    return run(root, "perf_tests.documentation.generate", "--check", *names)


@pytest.mark.cpu
def test_constants_ledger_and_pages_are_what_the_evidence_gives_whatever_the_baselines_are(copy):
    status, text = check(copy, *sorted(part.name for part in (*generate.DATA, *generate.PAGES)))
    assert status == 0, f"{text}look at the difference that the command makes"


@pytest.mark.cpu
def test_a_table_of_baselines_would_be_found_out(copy):
    path = copy / "perf_tests" / "documentation" / "evidence" / "__init__.py"
    text = path.read_text(encoding="utf-8")
    path.write_text(re.sub(r"^CURRENT = .*$", 'CURRENT = SETS.parents[2] / "baselines"', text, flags=re.MULTILINE))
    path.write_text(path.read_text(encoding="utf-8").replace(".name.rpartition", ".name and 'x-dummy'.rpartition"))
    try:
        status, text_of_check = check(copy, "baselines/README.md")
    finally:
        path.write_text(text)
    assert (status, text_of_check.splitlines()[0]) == (1, "baselines/README.md: stale")


@pytest.mark.cpu
def test_what_holds_for_all_baselines_holds_for_others(copy):
    assert READERS == ["perf_tests/documentation/test_recorded.py", "perf_tests/unit/session/test_judge.py"]
    status, text = run(copy, "pytest", "-q", "-m", "cpu", "-p", "no:cacheprovider", *READERS)
    assert status == 0, text


@pytest.mark.faults
def test_all_that_is_generated_and_all_tests_of_it_are_green_with_other_baselines(copy):
    status, text = check(copy)
    assert status == 0, text
    others = ("perf_tests/documentation", "perf_tests/session/test_suite.py")
    status, text = run(copy, "pytest", "-q", "-m", "cpu", *others, "--ignore=perf_tests/documentation/test_evidence.py")
    assert status == 0, text


@pytest.mark.cpu
def test_the_current_set_holds_every_model_of_the_tables():
    assert evidence.CURRENT.is_dir()
    assert evidence.CURRENT.name.endswith(f"-{evidence.WEIGHTS}")
    for hardware in ("h100-80gb-hbm3x1", "h200x1"):
        assert list(evidence.block(hardware, "vllm").glob("*.json"))

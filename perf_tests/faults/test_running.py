"""A server that already runs, from the first command to a verdict: its boots are its restarts."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from perf_tests.documentation.faults import fault
from perf_tests.fakes.server_process import mock_server
from perf_tests.paths import ROOT

pytestmark = pytest.mark.faults
SERVER = ("--model", "team/llama", "--version", "0.32.0", "--max-model-len", "512", "--ttft", "0.02", "--gap", "0.004")
CONFIG = ROOT / "fixtures" / "models" / "llama-3.1-8b-twin"


class Clone:
    """A copy of the repository, in which a user works."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("fixtures", "perf_tests/serving", "baselines/document"):
            shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in (
            "conftest.py",
            "pyproject.toml",
            "perf_tests/__init__.py",
            "perf_tests/conftest.py",
            "perf_tests/paths.py",
        ):
            shutil.copy(ROOT / name, root / name)

    def run(self, module: str, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", module, *words], cwd=self.root, capture_output=True, text=True, check=False
        )

    def pytest(self, *words: str) -> str:
        """A run of the deployment, once more where the client was late on a busy machine."""
        for _ in range(3):
            done = self.run("pytest", "-m", "serving", "--deployment=my.toml", *words)
            if " invalid" not in done.stdout:
                break
        return done.stdout + done.stderr

    def boots(self) -> dict[str, list[dict]]:
        """What the baseline holds of each workload."""
        (path,) = (self.root / "baselines" / "cpu").rglob("*.json")
        return {cell["name"]: cell["extra_info"]["boots"] for cell in json.loads(path.read_text())["benchmarks"]}


@pytest.fixture
def clone(tmp_path):
    return Clone(tmp_path / "clone")


def short(clone: Clone) -> None:
    """Leave the batches only, a minute less, and let pass what a busy machine does to them."""
    path = clone.root / "my.toml"
    text = re.sub(r'\n\[\[workloads\]\]\nname = "online".*', "", path.read_text(), flags=re.DOTALL)
    path.write_text(re.sub(r"^(latency|ttft_p50|tpot_p50) = .*", r"\1 = 0.5", text, flags=re.MULTILINE))


@fault("Server", "already runs and is measured three times", "one boot of three times the repetitions", "everything")
def test_from_the_first_command_to_the_verdict_of_the_second_boot(clone):
    with mock_server(*SERVER, "--started", "1000") as url:
        first = clone.run("fixtures.init", url, "-o", "my.toml", f"--config={CONFIG}", "--no-measure")
        assert first.returncode == 0, first.stderr
        assert f"{url}: vllm 0.32.0, serving team/llama, 512 tokens of context, started 1970-01-01" in first.stdout
        short(clone)
        text = clone.pytest("--update-baselines")
        assert "baseline written" in text, text
        once = {name: len(boots[0]["repetitions"]["latency"]) for name, boots in clone.boots().items()}
        for _ in range(2):
            clone.pytest("--update-baselines=append")
        assert {name: len(boots) for name, boots in clone.boots().items()} == dict.fromkeys(once, 1)
        for name, (boot,) in clone.boots().items():
            assert len(boot["repetitions"]["latency"]) > once[name]
        same = clone.pytest()
        assert (
            "the baseline has no boot but this one, which is still running: restart the server for another" in same
        ), same
    with mock_server(*SERVER, "--started", "2000") as url:
        second = clone.pytest(f"--engine-url={url}")
    assert re.search(r"^verdicts: \d+ pass$", second, re.MULTILINE), second


def test_the_first_command_measures_and_says_what_could_be_found(clone):
    with mock_server(*SERVER) as url:
        done = clone.run("fixtures.init", url, "-o", "my.toml", f"--config={CONFIG}")
    assert done.returncode == 0, done.stderr + done.stdout
    assert re.search(r"^batch-1 +latency +[\d.,]+ ms +[\d.]+% +[\d.]+%( +[\d.]+%){3}$", done.stdout, re.MULTILINE), (
        done.stdout
    )
    assert "  pytest -m serving --deployment=my.toml --update-baselines=append    # or: one more boot" in done.stdout
    again = clone.run("fixtures.init", "http://127.0.0.1:9", "-o", "my.toml")
    assert again.returncode == 2
    assert (
        "my.toml exists: name another file with -o, or measure it: pytest -m serving --deployment=my.toml"
        in again.stderr
    )


@fault(
    "Server",
    "already runs, and another card than the baseline's is stated",
    "no baseline: it is another one's",
    "everything",
)
def test_a_server_of_another_card_is_not_judged_against_the_first_ones_baseline(clone):
    with mock_server(*SERVER) as url:
        clone.run("fixtures.init", url, "-o", "my.toml", f"--config={CONFIG}", "--hardware=H200", "--no-measure")
        short(clone)
        clone.pytest("--update-baselines")
        path = clone.root / "my.toml"
        path.write_text(path.read_text().replace('"H200"', '"H100"'))
    with mock_server(*SERVER) as url:
        text = clone.pytest(f"--engine-url={url}")
    assert (clone.root / "baselines" / "h200x1" / "external-tp1-served" / "llama.json").exists(), text
    assert "h100x1/external-tp1-served/llama.json: write it with --update-baselines" in text


@fault("Server", "already runs, and is started otherwise than the deployment states", "a usage error that names both")
def test_a_server_that_is_not_what_the_deployment_states(clone):
    with mock_server(*SERVER) as url:
        clone.run("fixtures.init", url, "-o", "my.toml", f"--config={CONFIG}", "--no-measure")
        path = clone.root / "my.toml"
        path.write_text(
            path.read_text().replace("[models.server]", '[models.server]\nstates = { "prefix cache" = "False" }')
        )
        done = clone.run("pytest", "-m", "serving", "--deployment=my.toml")
    assert done.returncode == 4
    assert "tells prefix cache 'True', the deployment states 'False': correct its `states`" in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["http://127.0.0.1:9"], "nothing answers at http://127.0.0.1:9 (Connection refused): start the server"),
        (["missing/config.json"], "missing/config.json: cannot be read"),
        (["http://127.0.0.1:9", "-o", "my.json"], "-o: expected the name of a .toml file"),
    ],
)
def test_what_is_wrong_is_one_line(clone, words, message):
    done = clone.run("fixtures.init", *words)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (clone.root / "my.toml").exists()


def test_a_configuration_becomes_a_deployment_that_is_booted(clone):
    done = clone.run("fixtures.init", str(CONFIG), "-o", "my.toml", "--hardware=cpu")
    assert done.returncode == 0, done.stderr
    assert "If boots differ by 2%, which is assumed, these changes of a latency are found: " in done.stdout
    listed = clone.run("pytest", "-m", "serving", "--deployment=my.toml", "--collect-only", "-q")
    assert "vllm/llama-3.1-8b-twin/tp1/batch-8" in listed.stdout, listed.stdout + listed.stderr

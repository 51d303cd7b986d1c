"""The suite as its user meets it: pytest in a process of its own, against mock servers."""

import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fixtures.store import history
from perf_tests.documentation import evidence
from perf_tests.fakes.server_process import mock_server
from perf_tests.faults.suite import DEPLOYMENT, ROOT

# Results of two cards, which say nothing of a deployment of one.
PAIR = evidence.block("h200x2", "vllm", "tp2")
ONLINE = """
[[workloads]]
name = "online-20"
kind = "online"
rate = 20
num_prompts = 6
input_len = 8
output_len = 8
"""


class Suite:
    """Runs pytest on the serving tests with a deployment, baselines and artifacts of its own."""

    def __init__(self, directory):
        self.directory = directory
        self.deployment = directory / "mock.toml"
        self.deployment.write_text(DEPLOYMENT + ONLINE)

    def run(self, *options, serving=True):
        process = self.start(*options, serving=serving)
        output, errors = process.communicate()
        return subprocess.CompletedProcess(process.args, process.returncode, output, errors)

    def start(self, *options, serving=True):
        fixed = (
            [
                f"--deployment={self.deployment}",
                f"--baselines={self.directory / 'baselines'}",
                f"--artifacts={self.directory / 'run'}",
            ]
            if serving
            else []
        )
        lean = ["-p", "no:cacheprovider", "-p", "no:hypothesispytest", "-p", "no:anyio"]
        return subprocess.Popen(
            [sys.executable, "-m", "pytest", "perf_tests/serving", *lean, *fixed, *options],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")} | {"CUDA_VISIBLE_DEVICES": ""},
        )

    def measured(self, url, kept=None):
        """A run that wrote the baselines of all cells, and the history ``kept``."""
        options = ["-m", "serving", "--engine-url", url, "--update-baselines", *([f"--history={kept}"] if kept else [])]
        for _ in range(5):  # on a busy machine the client misses its schedule now and then, and a cell is invalid
            shutil.rmtree(self.directory / "baselines", ignore_errors=True)
            if kept:
                kept.unlink(missing_ok=True)
            done = self.run(*options)
            if "every boot is invalid" not in done.stdout:
                break
        return done

    def baseline(self):
        (path,) = (self.directory / "baselines").rglob("*.json")
        return path


@pytest.fixture
def suite(tmp_path):
    return Suite(tmp_path)


@pytest.mark.faults
def test_measure_store_compare_and_catch_a_slower_server(suite):
    path = suite.directory / "kept" / "history.jsonl"
    with mock_server("--ttft", "0.02", "--gap", "0.01") as url:
        first = suite.measured(url, path)
        again = suite.run("-m", "serving", "--engine-url", url, "--strict-baselines", f"--history={path}")
    assert first.returncode == 0, first.stdout
    assert "no baseline" in first.stdout
    assert again.returncode == 0, again.stdout
    assert re.search(r"verdicts: \d+ pass", again.stdout)
    with mock_server("--ttft", "0.03", "--gap", "0.03") as url:
        slower = suite.run("-m", "serving", "--engine-url", url, f"--history={path}")
        moved = suite.run("-m", "serving", "--engine-url", url, "--update-baselines=append")
    assert slower.returncode == 1
    assert "regression: external/llama-3.1-8b-twin/tp1/batch-1 latency" in slower.stdout, slower.stdout
    assert "Traceback" not in slower.stdout
    assert moved.returncode == 0, moved.stdout
    page = (suite.directory / "run" / "report.html").read_text()
    assert page.index("baseline written") < page.index('id="cells"')
    report = (suite.directory / "run" / "report.md").read_text()
    assert "| external/llama-3.1-8b-twin/tp1/batch-1" in report
    data = json.loads(suite.baseline().read_text())
    command = data["commit_info"]["command"]
    assert command.startswith("pytest perf_tests/serving ")
    assert "--update-baselines=append" in command
    assert "--deployment=mock.toml" in command
    assert str(suite.directory) not in command, "where things lie here is nobody's business"
    boots = {b["fullname"]: len(b["extra_info"]["boots"]) for b in data["benchmarks"]}
    assert set(boots.values()) <= {1, 2}
    assert 2 in boots.values(), "appended"
    assert "external/llama-3.1-8b-twin/tp1/online-20" in boots
    lines = (suite.directory / "run" / "samples.jsonl").read_text().splitlines()
    assert len(lines) >= 4 * 3, "every cell of every run is in the record"
    cells = [json.loads(line)["cell"].rsplit("/", 1)[1] for line in lines]
    assert cells.count("batch-1") >= 4 + 2, "a suspicious cell is measured again until three boots agree"
    nights = [entry for entry in history.read(path) if (entry.cell[-7:], entry.metric) == ("batch-1", "latency")]
    assert [entry.outcome for entry in nights] == ["no baseline", "pass", "regression"]
    assert nights[0].boots == 1
    assert nights[2].boots >= 3, "three boots agree"
    assert [entry.baseline for entry in nights] == [None, nights[0].value, nights[0].value]
    assert nights[2].value > 1.5 * nights[0].value
    assert len({entry.run for entry in nights}) == 3
    assert len({entry.fingerprint for entry in nights}) == 1
    assert nights[0].tolerance == 0.5
    judged = {f"{entry.cell} {entry.metric}" for entry in history.read(path)}
    assert f"history: {len(judged)} lines appended to {path}" in first.stdout


@pytest.mark.faults
def test_a_baseline_of_another_fingerprint_is_not_appended_to(suite):
    with mock_server("--ttft", "0.01", "--gap", "0.002") as url:
        suite.measured(url)
        path = suite.baseline()
        path.write_text(path.read_text().replace('"tensor_parallel": 1', '"tensor_parallel": 2'))
        before = path.read_bytes()
        done = suite.run("-m", "serving", "--engine-url", url, "--update-baselines=append")
    assert done.returncode == 1, done.stdout
    refusal = f"not written: {path}: its fingerprint differs from this run's: replace it instead of appending"
    assert re.findall(r"^(?:not written|baseline written): .*", done.stdout, re.MULTILINE) == [refusal]
    assert path.read_bytes() == before
    assert refusal in (suite.directory / "run" / "report.md").read_text()


@pytest.mark.faults
def test_baselines_are_readable_by_pytest_benchmark(suite):
    with mock_server("--ttft", "0.01", "--gap", "0.002") as url:
        suite.measured(url)
    done = subprocess.run(
        [sys.executable, "-m", "pytest_benchmark", "compare", str(suite.baseline())],
        cwd=suite.directory,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "batch-4" in done.stdout


@pytest.mark.faults
def test_a_changed_workload_is_never_compared(suite):
    with mock_server("--ttft", "0.01", "--gap", "0.002") as url:
        suite.measured(url)
        suite.deployment.write_text((DEPLOYMENT + ONLINE).replace("output_len = 8", "output_len = 9", 1))
        done = suite.run("-m", "serving", "--engine-url", url, "--strict-baselines")
    assert done.returncode == 1
    assert re.search(r"no baseline for \d+ metrics: ", done.stdout)
    assert "output_len: 8 -> 9" in done.stdout


@pytest.mark.cpu
def test_a_damaged_baseline_is_named_before_anything_is_measured(suite):
    path = suite.directory / "baselines" / "external" / "external-tp1-random" / "llama-3.1-8b-twin.json"
    path.parent.mkdir(parents=True)
    path.write_text("{")
    done = suite.run("-m", "serving", "--engine-url", "http://127.0.0.1:9")
    assert done.returncode == 4, done.stdout + done.stderr
    assert f"{path}: not valid JSON" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert not (suite.directory / "run").exists()


@pytest.mark.cpu
def test_a_damaged_history_is_named_before_anything_is_measured(suite):
    path = suite.directory / "history.jsonl"
    path.write_text('{"v": 1, "time": "2026-')
    done = suite.run("-m", "serving", "--engine-url", "http://127.0.0.1:9", f"--history={path}")
    assert done.returncode == 4, done.stdout + done.stderr
    assert f"{path}:1: not valid JSON" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert path.read_text() == '{"v": 1, "time": "2026-'


@pytest.mark.faults
def test_a_cell_that_fails_leaves_the_others_alone(suite):
    with mock_server("--ttft", "0.01", "--gap", "0.002", "--fault", "wrong-count") as url:
        done = suite.run("-m", "serving", "--engine-url", url)
    assert done.returncode == 1
    assert "1 of 1" not in done.stdout
    assert "3 of 3 requests failed, most often: asked for 8 tokens, the server's usage says 7" in done.stdout
    assert "6 of 6 requests failed" in done.stdout
    assert "Traceback" not in done.stdout


@pytest.mark.faults
def test_an_interrupted_run_keeps_what_was_measured(suite):
    suite.deployment.write_text(DEPLOYMENT + ONLINE.replace("rate = 20", "rate = 0.1"))
    with mock_server("--ttft", "0.01", "--gap", "0.002") as url:
        run = suite.start("-m", "serving", "--engine-url", url, "--update-baselines")
        samples = suite.directory / "run" / "samples.jsonl"
        deadline = time.monotonic() + 60
        while not (samples.exists() and samples.read_text().count("\n") == 2):
            assert time.monotonic() < deadline, "two cells were not measured in time"
            time.sleep(0.05)
        time.sleep(0.3)  # into the third
        run.send_signal(signal.SIGINT)
        output = run.communicate(timeout=60)[0]
    assert run.returncode == 2, output
    assert "baseline written" in output
    stored = json.loads(suite.baseline().read_text())
    assert [b["name"] for b in stored["benchmarks"]] == ["batch-1", "batch-4"]


def replay(suite, directory, *options, deployment="h200x1"):
    return suite.run(
        "-m",
        "serving",
        f"--deployment={deployment}",
        f"--replay={directory}",
        f"--artifacts={suite.directory / 'run'}",
        *options,
        serving=False,
    )


@pytest.mark.cpu
def test_recorded_gpu_results_go_through_gate_claims_and_report(suite):
    done = replay(suite, evidence.CURRENT / "h200x1", "--claims")
    assert done.returncode == 0, done.stdout
    assert re.search(r"verdicts: \d+ pass", done.stdout)
    for claim in ("llama-weights-measured", "itl-moe-above-dense", "gap-widens-with-batch", "sglang-ahead"):
        assert re.search(rf"^{claim} .* checked$", done.stdout, re.MULTILINE), claim
    assert "| vllm/mixtral-8x7b/tp1/batch-8" in (suite.directory / "run" / "report.md").read_text()
    page = (suite.directory / "run" / "report.html").read_text()
    assert "Nothing regressed: " in page
    assert "this run, vllm H200 TP=1" in page, "in the document's figure"


@pytest.mark.cpu
def test_recorded_results_of_a_pair_settle_the_claims_of_two_cards(suite):
    done = replay(suite, evidence.CURRENT / "h100-80gb-hbm3x2", "--claims", deployment="h100x2")
    assert done.returncode == 0, done.stdout
    for claim in (
        "mixtral-weights-per-gpu",
        "offline-llama-h100-tp2",
        "tp2-no-gain",
        "tp2-all-reduce-cancels",
        "latency-h100-batch-1",
        "ep-duplication",
        "moe-dense-offline",
        "moe-dense-batch-1",
        "sglang-ahead",
        "sglang-moe-ahead",
    ):
        assert re.search(rf"^{claim} .* checked$", done.stdout, re.MULTILINE), claim
    page = (suite.directory / "run" / "report.html").read_text()
    assert "recorded on h100x2: output_throughput of llama-3.1-8b/tp2/offline-150 over" in page
    assert "this run, vllm H100 TP=2, EP=2" in page, "in the document's figure"


@pytest.mark.cpu
def test_a_recorded_boot_that_is_worse_is_suspicious_and_one_boot_proves_nothing(suite):
    shutil.copytree(evidence.CURRENT / "h200x1", suite.directory / "h200x1")
    (path,) = (suite.directory / "h200x1").rglob("vllm-*/mixtral-8x7b.json")

    def played() -> subprocess.CompletedProcess[str]:
        return replay(suite, suite.directory / "h200x1", "--strict-verdicts", "--cells=vllm/mixtral-8x7b/*")

    def doubts(text: str) -> list[str]:
        return re.findall(r"^inconclusive: (\S+ \S+)", text, re.MULTILINE)

    as_recorded = doubts(played().stdout)
    data = json.loads(path.read_text())
    (cell,) = [b for b in data["benchmarks"] if b["fullname"].endswith("/batch-32")]
    *others, last = (boot["metrics"] for boot in cell["extra_info"]["boots"])
    last["latency"] = 1.10 * statistics.fmean(other["latency"] for other in others)
    path.write_text(json.dumps(data))
    done = played()
    assert done.returncode == 1
    assert "inconclusive: vllm/mixtral-8x7b/tp1/batch-32 latency" in done.stdout
    assert re.search(r"worse by (9|10)\.\d%, not yet confirmed", done.stdout)
    assert sorted(doubts(done.stdout)) == sorted([*as_recorded, "vllm/mixtral-8x7b/tp1/batch-32 latency"])
    report = (suite.directory / "run" / "report.md").read_text()
    assert report.startswith("## ⚠️ moegauge h200x1\n\n**Nothing regressed: ")
    assert re.search(
        r"### inconclusive: vllm/mixtral-8x7b/tp1/batch-32\n\n- \*\*latency\*\* 1,6\d\d ms -> 1,7\d\d ms, \+\S+% \(95%: ",
        report,
    )
    assert "--cells=vllm/mixtral-8x7b/tp1/batch-32" in report


@pytest.mark.cpu
def test_a_server_that_is_not_there(suite):
    done = suite.run("-m", "serving", "--engine-url", "http://127.0.0.1:9", "-k", "batch")
    assert done.returncode == 1
    assert "http://127.0.0.1:9/v1/models" in done.stdout


@pytest.mark.cpu
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--deployment", "h300"], "--deployment: unknown deployment 'h300'"),
        (["--deployment", "cpu", "--cells", "nothing/*"], "--cells: no cell of deployment 'cpu' matches"),
        (
            ["--deployment", "cpu", "--engine-env", "vllm=/nonexistent"],
            "--engine-env vllm=/nonexistent: no such directory",
        ),
        (["--deployment", "cpu", "--engine-env", "vlm=/tmp"], "--engine-env: unknown engine 'vlm'"),
        (["--deployment", "cpu", "--engine-env", "vllm=docs"], "no vllm in docs: build it with"),
        (["--deployment", "cpu", "--engine-url", "http://h:1"], "--engine-url: say which model it serves"),
        (["--deployment", "cpu", "--engine-url", "llama-3.1-8b-twin=ftp://h"], "expected http://HOST:PORT"),
        (["--deployment", "cpu", "--weights", "gpt=/tmp"], "--weights: unknown model 'gpt'"),
        (
            ["--deployment", "cpu", "--weights", "llama-3.1-8b-twin=/nonexistent"],
            "/nonexistent: no such directory, and not",
        ),
        (["--deployment", "cpu", "--sharegpt", "/nonexistent.json"], "--sharegpt: /nonexistent.json: cannot be read"),
        (["--deployment", "h200x1", "--replay=/nonexistent"], "--replay: /nonexistent: no baselines there"),
        (["--deployment", "h200x1", f"--replay={PAIR}"], "holds no cell of deployment 'h200x1'"),
        ([f"--replay={PAIR}", "--update-baselines"], "--replay: measures nothing"),
        ([f"--replay={PAIR}", "--history=h.jsonl"], "--replay: measures nothing"),
        (["--deployment=cpu", "--compare-engine-options=vllm=-O0", "--history=h.jsonl"], "leave out --history"),
        (["--update-baselines=sometimes"], "invalid choice: 'sometimes'"),
    ],
)
def test_wrong_options_are_usage_errors(suite, options, message):
    done = suite.run("-m", "serving", *options, serving=False)
    assert done.returncode == 4, done.stdout + done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.cpu
@pytest.mark.skipif(
    Path("/proc/driver/nvidia").exists(), reason="this machine has a GPU; the test is about one without"
)
def test_gpu_tests_without_a_gpu_are_skipped_with_the_reason(suite):
    done = suite.run("-m", "gpu", "-rs", serving=False)
    assert done.returncode == 0, done.stdout
    assert re.search(r"\d\d+ skipped", done.stdout)
    assert "NVML finds no GPU here; on a GPU node run `tox -e perf`" in done.stdout


@pytest.mark.cpu
def test_collection_imports_no_engine(suite):
    code = (
        "import sys, pytest; status = pytest.main(['--collect-only', '-q', '-p', 'no:cacheprovider']);"
        "print('IMPORTED', [m for m in ('torch', 'vllm', 'sglang', 'pandas') if m in sys.modules]); sys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "IMPORTED []" in done.stdout


@pytest.mark.cpu
@pytest.mark.parametrize(
    "options", [("--collect-only", "-q", "-m", "serving"), ("--help",)], ids=lambda given: given[-1]
)
def test_what_measures_nothing_imports_nothing_that_is_slow_to_import(options):
    slow = ("pandas", "scipy", "jinja2", "matplotlib", "tokenizers", "uvloop", "tabulate", "fixtures.report.page")
    code = (
        f"import sys, pytest; pytest.main([*{options}, '-p', 'no:cacheprovider', '-p', 'no:anyio']);"
        f"print('IMPORTED', [name for name in {slow} if name in sys.modules]);"
        "print('MODULES', *(name for name in sys.modules if name.startswith('perf_tests.')))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "IMPORTED []" in done.stdout, done.stdout + done.stderr
    (modules,) = re.findall(r"^MODULES(.*)$", done.stdout, re.MULTILINE)
    assert not [name for name in modules.split() if name.startswith(("perf_tests.unit.", "perf_tests.faults."))]

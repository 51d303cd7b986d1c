"""The suite as its user meets it: whole runs, against mock servers and on recorded results."""

import json
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
from perf_tests.conftest import IMPORTED
from perf_tests.documentation import evidence
from perf_tests.fakes.deployments import FAKE, workload
from perf_tests.fakes.server_process import mock_server
from perf_tests.fakes.suite import Done, Suite
from perf_tests.paths import ROOT

# Results of two cards, which say nothing of a deployment of one.
PAIR = evidence.block("h200x2", "vllm", "tp2")
SLOW_ONLINE = workload("online-20", "online", rate=0.1, num_prompts=6)
ONLINE = SLOW_ONLINE.replace("0.1", "20")
NOBODY = "http://127.0.0.1:9"


@pytest.fixture
def suite(tmp_path):
    """A suite that measures a batch of one, a batch of four and online traffic; nothing of its runs may be left."""
    suite = Suite(tmp_path, FAKE + ONLINE)
    suite.variables["CUDA_VISIBLE_DEVICES"] = ""
    yield suite
    suite.assert_nothing_left()


def measured(suite, url, kept=None):
    """A run that wrote the baselines of all cells, and the history ``kept``."""
    options = ["--engine-url", url, "--update-baselines", *([f"--history={kept}"] if kept else [])]
    for _ in range(5):  # on a busy machine the client misses its schedule now and then, and a cell is invalid
        shutil.rmtree(suite.baselines, ignore_errors=True)
        if kept:
            kept.unlink(missing_ok=True)
        done = suite.run(*options)
        if "every boot is invalid" not in done.text:
            break
    return done


@pytest.mark.faults
def test_measure_store_compare_and_catch_a_slower_server(suite):
    path = suite.directory / "kept" / "history.jsonl"
    with mock_server("--ttft", "0.02", "--gap", "0.01") as url:
        first = measured(suite, url, path)
    with mock_server("--ttft", "0.02", "--gap", "0.01") as url:
        again = suite.run("--engine-url", url, "--strict-baselines", f"--history={path}")
    assert first.status == 0, first.text
    assert "no baseline" in first.text
    assert again.status == 0, again.text
    assert re.search(r"verdicts: \d+ pass", again.text)
    boots: list[str] = []
    for i in range(3):
        with mock_server("--ttft", "0.03", "--gap", "0.03") as url:
            slower = suite.run("--engine-url", url, *boots, *([f"--history={path}"] if i == 2 else []))
            moved = suite.run("--engine-url", url, "--update-baselines=append") if i == 2 else None
        kept = suite.directory / f"boot-{i}"
        shutil.copytree(suite.artifacts, kept)
        if i < 2:  # one boot confirms nothing, and the server is nobody's to restart here
            assert slower.status == 0, slower.text
            assert f"restart the server and run this again with --boots-of={suite.artifacts}" in slower.text
            shutil.rmtree(suite.artifacts)
        boots = [f"--boots-of={kept}"]
    assert moved is not None
    assert slower.status == 1, slower.text
    assert "\nregression: external/speed, every time and rate: worse by " in slower.text, slower.text
    assert "\n  latency of external/llama-3.1-8b-twin/tp1/batch-1: " in slower.text
    assert "= FAILURES =" not in slower.text, "each regression is told once"
    assert "Traceback" not in slower.text
    assert moved.status == 0, moved.text
    page = (suite.artifacts / "report.html").read_text()
    assert page.index("baseline written") < page.index('id="cells"')
    report = (suite.artifacts / "report.md").read_text()
    assert "| external/llama-3.1-8b-twin/tp1/batch-1" in report
    data = json.loads(suite.baseline().read_text())
    command = data["commit_info"]["command"]
    assert command.startswith("pytest perf_tests/serving ")
    assert "--update-baselines=append" in command
    assert "--deployment=fake.toml" in command
    assert str(suite.directory) not in command, "where things lie here is nobody's business"
    boots = {b["fullname"]: len(b["extra_info"]["boots"]) for b in data["benchmarks"]}
    assert set(boots.values()) <= {1, 2}
    assert 2 in boots.values(), "appended"
    assert "external/llama-3.1-8b-twin/tp1/online-20" in boots
    lines = (suite.artifacts / "samples.jsonl").read_text().splitlines()
    assert len(lines) >= 3 + 2 + 3, "every cell of both runs, and what was judged of two earlier ones"
    cells = [json.loads(line)["cell"].rsplit("/", 1)[1] for line in lines]
    assert cells.count("batch-1") == 3 + 1, "a suspicious cell has the boots of earlier runs added until three agree"
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
    assert f"history: {len(judged)} lines appended to {path}" in first.text


@pytest.mark.faults
def test_what_is_stored_has_prefill_and_decode_and_pytest_benchmark_times_repetitions_in_full_alone(suite):
    suite.deployment.write_text(FAKE.replace("first_repetitions = 0", "first_repetitions = 3"))
    with mock_server("--ttft", "0.5", "--gap", "0.02") as url:
        done = suite.run("--engine-url", url, "--update-baselines", "--cells=*/batch-1")
    assert done.status == 0, done.text
    (cell,) = json.loads(suite.baseline().read_text())["benchmarks"]
    (boot,) = cell["extra_info"]["boots"]
    found = boot["repetitions"]
    assert [len(found[name]) for name in ("latency", "prefill_time", "ttft_first", "decode_step")] == [3] * 4
    assert {"prefill_time", "ttft_first", "decode_step"} <= boot["metrics"].keys()
    timed = zip(cell["stats"]["data"], found["latency"], found["prefill_time"], strict=True)
    assert min(both - latency - prefill for both, latency, prefill in timed) < 0 < min(found["prefill_time"])
    assert re.search(r"^  prefill_time +\S+ ms .* recorded$", done.text, re.MULTILINE)
    assert re.search(r"^  decode_step +\S+ ms .* recorded$", done.text, re.MULTILINE)


@pytest.mark.faults
def test_a_baseline_of_another_fingerprint_is_not_appended_to(suite):
    with mock_server("--ttft", "0.01", "--gap", "0.002") as url:
        measured(suite, url)
        path = suite.baseline()
        path.write_text(path.read_text().replace('"tensor_parallel": 1', '"tensor_parallel": 2'))
        before = path.read_bytes()
        done = suite.run("--engine-url", url, "--update-baselines=append")
    assert done.status == 1, done.text
    refusal = f"not written: {path}: its fingerprint differs from this run's: replace it instead of appending"
    assert re.findall(r"^(?:not written|baseline written): .*", done.text, re.MULTILINE) == [refusal]
    assert path.read_bytes() == before
    assert refusal in (suite.artifacts / "report.md").read_text()


@pytest.mark.faults
def test_baselines_are_readable_by_pytest_benchmark(suite):
    with mock_server("--ttft", "0.01", "--gap", "0.002") as url:
        measured(suite, url)
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
        measured(suite, url)
        suite.deployment.write_text((FAKE + ONLINE).replace("output_len = 8", "output_len = 9", 1))
        done = suite.run("--engine-url", url, "--strict-baselines")
    assert done.status == 1
    assert re.search(r"no baseline for \d+ metrics: ", done.text)
    assert "output_len: 8 -> 9" in done.text


@pytest.mark.cpu
def test_a_damaged_baseline_is_named_before_anything_is_measured(suite):
    path = suite.baselines / "cpu" / "external-tp1-served" / "llama-3.1-8b-twin.json"
    path.parent.mkdir(parents=True)
    path.write_text("{")
    with mock_server() as url:
        done = suite.run_here("--engine-url", url)
    assert done.status == 4, done.text
    assert f"{path}: not valid JSON" in done.text
    assert "Traceback" not in done.text
    assert not suite.artifacts.exists()


@pytest.mark.cpu
def test_a_damaged_history_is_named_before_anything_is_measured(suite):
    path = suite.directory / "history.jsonl"
    path.write_text('{"v": 1, "time": "2026-')
    with mock_server() as url:
        done = suite.run_here("--engine-url", url, f"--history={path}")
    assert done.status == 4, done.text
    assert f"{path}:1: not valid JSON" in done.text
    assert "Traceback" not in done.text
    assert path.read_text() == '{"v": 1, "time": "2026-'


@pytest.mark.faults
def test_a_cell_that_fails_leaves_the_others_alone(suite):
    with mock_server("--ttft", "0.01", "--gap", "0.002", "--fault", "wrong-count") as url:
        done = suite.run("--engine-url", url)
    assert done.status == 1
    assert "1 of 1" not in done.text
    assert "3 of 3 requests failed, most often: asked for 8 tokens, the server's usage says 7" in done.text
    assert "8 of 8 requests failed" in done.text, "of a batch of four"
    assert "Traceback" not in done.text


@pytest.mark.faults
def test_an_interrupted_run_keeps_what_was_measured(suite):
    suite.deployment.write_text(FAKE + SLOW_ONLINE)
    with mock_server("--ttft", "0.01", "--gap", "0.002") as url:
        run = suite.start("--engine-url", url, "--update-baselines")
        suite.await_samples(2)
        time.sleep(0.3)  # into the third
        run.send_signal(signal.SIGINT)
        done = suite.wait(run)
    assert done.status == 2, done.text
    assert "baseline written" in done.text
    assert list(suite.stored()) == ["batch-1", "batch-4"]


@pytest.mark.cpu
def test_recorded_gpu_results_go_through_gate_claims_and_report(suite, tmp_path):
    for one in ("vllm-0.33.0-random", "sglang-0.5.23-random"):
        shutil.copytree(evidence.SETS / one / "h200x1", tmp_path / "recorded", dirs_exist_ok=True)
    done = suite.replay(tmp_path / "recorded", "h200x1", "--claims")
    assert done.status == 0, done.text
    assert re.search(r"verdicts: \d+ pass", done.text)
    for claim in ("llama-weights-measured", "itl-moe-above-dense", "gap-widens-with-batch", "sglang-ahead"):
        assert re.search(rf"^{claim} .* checked$", done.text, re.MULTILINE), claim
    assert "| vllm/mixtral-8x7b/tp1/batch-8" in (suite.artifacts / "report.md").read_text()
    page = (suite.artifacts / "report.html").read_text()
    assert "Nothing regressed: " in page
    assert "this run, vllm H200 TP=1" in page, "in the document's figure"


@pytest.mark.cpu
def test_recorded_results_of_a_pair_decide_the_claims_of_two_cards(suite):
    done = suite.replay(evidence.CURRENT / "h100-80gb-hbm3x2", "h100x2", "--claims")
    assert done.status == 0, done.text
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
        assert re.search(rf"^{claim} .* checked$", done.text, re.MULTILINE), claim
    page = (suite.artifacts / "report.html").read_text()
    assert "recorded on h100x2: output_throughput of llama-3.1-8b/tp2/offline-150 over" in page
    assert "this run, vllm H100 TP=2, EP=2" in page, "in the document's figure"


@pytest.mark.cpu
def test_a_recorded_boot_that_is_worse_is_suspicious_and_one_boot_proves_nothing(suite):
    shutil.copytree(evidence.CURRENT / "h200x1", suite.directory / "h200x1")
    (path,) = (suite.directory / "h200x1").rglob("vllm-*/mixtral-8x7b.json")

    def played() -> Done:
        options = ("--strict-verdicts", "--cells=vllm/mixtral-8x7b/*/batch-*")
        return suite.replay(suite.directory / "h200x1", "h200x1", *options)

    def doubts(text: str) -> list[str]:
        return re.findall(r"^inconclusive: (\S+ \S+)", text, re.MULTILINE)

    as_recorded = doubts(played().text)
    data = json.loads(path.read_text())
    (cell,) = [b for b in data["benchmarks"] if b["fullname"].endswith("/batch-32")]
    *others, last = (boot["metrics"] for boot in cell["extra_info"]["boots"])
    last["latency"] = 1.10 * statistics.fmean(other["latency"] for other in others)
    path.write_text(json.dumps(data))
    done = played()
    assert done.status == 1
    assert "inconclusive: vllm/mixtral-8x7b/tp1/batch-32 latency" in done.text
    assert re.search(r"worse by (9|10)\.\d%, not yet confirmed", done.text)
    new = set(doubts(done.text)) - set(as_recorded)
    # What it has in common with the other cells may be open too.
    assert {one for one in new if "/tp1/" in one} == {"vllm/mixtral-8x7b/tp1/batch-32 latency"}
    report = (suite.artifacts / "report.md").read_text()
    assert report.startswith("## ⚠️ moegauge h200x1\n\n**Nothing regressed: ")
    assert re.search(
        r"### inconclusive: vllm/mixtral-8x7b/tp1/batch-32\n\n- \*\*latency\*\* 1,6\d\d ms -> 1,7\d\d ms, \+\S+% \(95%: ",
        report,
    )
    assert "--cells=vllm/mixtral-8x7b/tp1/batch-32" in report


@pytest.mark.cpu
def test_a_server_that_is_not_there(suite):
    done = suite.run_here("--engine-url", NOBODY)
    assert done.status == 4
    assert done.text.strip() == (
        "ERROR: nothing answers at http://127.0.0.1:9 (Connection refused): start the server, wait until it has booted, or "
        "correct the address"
    )


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
        (["--deployment", "cpu", "--engine-url", "llama-3.1-8b-twin=h:port"], "expected http://HOST:PORT"),
        (["--deployment", "cpu", "--engine-url", "http://h:1/?model=llama"], "--engine-url: say which model it serves"),
        (["--deployment", "cpu", "--weights", "gpt=/tmp"], "--weights: unknown model 'gpt'"),
        (
            ["--deployment", "cpu", "--weights", "llama-3.1-8b-twin=/nonexistent"],
            "/nonexistent: no such directory, no hub id",
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
    done = suite.shipped(*options)
    assert done.status == 4, done.text
    assert message in done.text
    assert "Traceback" not in done.text


@pytest.mark.cpu
@pytest.mark.skipif(
    Path("/proc/driver/nvidia").exists(), reason="this machine has a GPU; the test is about one without"
)
def test_gpu_tests_without_a_gpu_are_skipped_with_the_reason(suite):
    done = suite.shipped("-m", "gpu")
    assert done.status == 0, done.text
    assert re.search(r"\d\d+ skipped", done.text)
    told = r"nothing was measured, \d\d+ serving tests are skipped: NVML finds no GPU here; on a GPU node run `tox -e perf`"
    assert len(re.findall(told, done.text)) == 1
    assert "test_batch.py" not in done.text, "one line for all of them"


@pytest.mark.cpu
def test_collection_imports_no_engine(pytestconfig):
    """That of the session which runs this test; pandas takes half a second and is wanted by few."""
    assert not {"torch", "vllm", "sglang", "pandas"} & pytestconfig.stash[IMPORTED]


@pytest.mark.cpu
def test_what_measures_nothing_imports_nothing_that_is_slow_to_import():
    slow = (
        *("pandas", "scipy", "jinja2", "matplotlib", "tokenizers", "uvloop", "tabulate", "fixtures.report.page"),
        *("hypothesis.core", "anyio"),
    )
    code = (
        "import sys, pytest\n"
        "for options in (['--help'], ['--collect-only', '-q', '-m', 'serving']):\n"
        "    pytest.main([*options, '-p', 'no:cacheprovider'])\n"
        f"    print('IMPORTED', [name for name in {slow} if name in sys.modules])\n"
        "print('MODULES', *(name for name in sys.modules if name.startswith('perf_tests.')))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert re.findall(r"^IMPORTED (.*)$", done.stdout, re.MULTILINE) == ["[]", "[]"], done.stdout + done.stderr
    (modules,) = re.findall(r"^MODULES(.*)$", done.stdout, re.MULTILINE)
    assert "perf_tests.serving." in modules
    assert not [name for name in modules.split() if name.startswith(("perf_tests.unit.", "perf_tests.faults."))]

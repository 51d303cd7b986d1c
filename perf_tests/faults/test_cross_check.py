"""The client held against an engine's own benchmark: the command in a process of its own, on a fake engine."""

import itertools
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys

import psutil
import pytest

from fixtures.deployments import deployment as deployment_module
from fixtures.engines.pool import Pool
from fixtures.engines.registry import ENGINES
from fixtures.models.model import Model
from fixtures.session.warm_up import WITHOUT_CARD_TOKENS
from fixtures.studies.cross_check import CrossCheck, selected
from perf_tests.documentation.faults import fault
from perf_tests.fakes import fake_engine
from perf_tests.fakes.deployments import FAKE
from perf_tests.fakes.fake_engine import ROOT
from perf_tests.fakes.server_process import server_log
from perf_tests.fakes.shared_object import Cards, compiled
from perf_tests.fakes.waiting import wait_until

MODEL = "llama-3.1-8b-twin"
MARK = "MOEGAUGE_CROSS_CHECK"
# What is said where a busy machine kept a client from its schedule or its streams, and how often a test begins anew for it.
DISTURBED, ATTEMPTS = ("ms late (limit", "median_itl_ms is 0.0", "text came in bursts"), 4
# Two cells of both engines; a batch is what a server has served per pass of warm-up, and by each client in each round.
BATCH = 32
BEFORE, _, AFTER = FAKE.partition("[[workloads]]")[0].partition("[[models]]")
DEPLOYMENT = f"""
{BEFORE.replace('["vllm"]', '["vllm", "sglang"]').replace("boot_timeout = 5", "boot_timeout = 60")}
kv_cache_gib = 1
[[models]]{AFTER}
[[workloads]]
name = "batch-{BATCH}"
kind = "batch"
batch_size = {BATCH}
input_len = 8
output_len = 8

[[workloads]]
name = "offline-40"
kind = "offline"
num_prompts = 40
input_len = 8
output_len = 20
"""
# The fake engine's python; some runs of its benchmark crash or hang.
PYTHON = """\
#!{python}
import json, os, pathlib, sys, time

engine, faults = pathlib.Path({engine!r}), {faults!r}
if "--num-prompts" in sys.argv:
    with (engine / "runs.jsonl").open("a+") as file:
        file.seek(0)
        fault = faults.get(len(file.readlines()))
        file.write(json.dumps(dict(zip(sys.argv, sys.argv[1:]))) + "\\n")
    if fault == "hang":
        time.sleep(600)
    if fault == "crash":
        sys.exit("RuntimeError: this benchmark has no tokenizer")
command = str(engine / "bin" / "python")
os.execv(command, [command, *sys.argv[1:]])
"""


class Checked:
    """Runs the command on a suite's deployment and engine."""

    def __init__(self, suite):
        self.suite = suite
        self.environment = suite.directory / "benchmarked"
        for name in ("bin", "vllm", "sglang"):
            (self.environment / name).mkdir(parents=True)
        self.benchmark_does({})
        suite.deployment.write_text(DEPLOYMENT)
        # Long enough for a busy machine.
        suite.boots_with("--ttft 0.1 --gap 0.02")

    def benchmark_does(self, faults):
        """What goes wrong in which run of the benchmark."""
        script = self.environment / "bin" / "python"
        script.write_text(PYTHON.format(python=sys.executable, engine=str(self.suite.engine), faults=faults))
        script.chmod(0o755)

    def start(self, *options):
        command = [sys.executable, "-m", "fixtures.studies.cross_check", f"--deployment={self.suite.deployment}"]
        command += [f"--artifacts={self.suite.artifacts}"]
        command += [f"--engine-env={engine}={self.environment}" for engine in ("vllm", "sglang")]
        return subprocess.Popen(
            [*command, *options],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"TMPDIR": str(self.suite.scratch)} | self.suite.variables,
        )

    def run(self, *options):
        """Anew where a busy machine disturbed a client, which no fault here is about."""
        for _ in range(ATTEMPTS):
            with self.start(*options) as process:
                try:
                    out, err = process.communicate(timeout=120)
                finally:
                    process.kill()
            if not any(said in err for said in DISTURBED):
                break
            self.forget()
        return subprocess.CompletedProcess(options, process.returncode, out, err)

    def forget(self):
        """Boots too: the next one is the first again, with the faults that are planned for it."""
        shutil.rmtree(self.suite.artifacts)
        (self.suite.engine / "runs.jsonl").unlink(missing_ok=True)
        (self.suite.engine / "boots.jsonl").write_text("")

    def record(self, cell):
        """What is kept of a cell: ``vllm/batch-32``."""
        engine, workload = cell.split("/")
        return json.loads((self.suite.artifacts / f"{engine}-{MODEL}-tp1-{workload}.json").read_text())

    def runs(self):
        """The options of each run of the benchmark."""
        path = self.suite.engine / "runs.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def both(suite):
    return Checked(suite)


def titles(done):
    """The cells that a table was shown of."""
    return [line.rsplit("/", 1)[1] for line in done.stdout.splitlines() if line.startswith(("vllm/", "sglang/"))]


def errors(done):
    return [line for line in done.stderr.splitlines() if line.startswith("error: ")]


@pytest.mark.faults
@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_a_benchmark_that_reports_other_times_differs(both, engine):
    both.suite.boots_with("--ttft 0.1 --gap 0.02 --benchmark-factor 1.5")
    done = both.run(f"--cells={engine}/*/batch-*", "--rounds=3", "--again")
    assert done.returncode == 1, done.stderr
    lines = {line.split()[0]: line for line in done.stdout.splitlines() if line.endswith("differ")}
    assert list(lines) == ["ttft_p50", "tpot_p50", "itl_p50", "e2e_p50"], done.stdout
    record = both.record(f"{engine}/batch-{BATCH}")
    ours_first, theirs_first = ["ours", "theirs", "again"], ["theirs", "again", "ours"]
    assert [list(one) for one in record["rounds"]] == [ours_first, theirs_first, ours_first]
    assert all(one["ours"]["ttft_p50"] >= 0.1 for one in record["rounds"])
    assert all(one[name]["ttft_p50"] >= 0.15 for one in record["rounds"] for name in ("theirs", "again"))
    # Alone it tells what was measured.
    assert record["cell"] == f"{engine}/{MODEL}/tp1/batch-{BATCH}"
    assert (record["workload"]["batch_size"], record["workload"]["output_len"]) == (BATCH, 8)
    assert record["fingerprint"]["hardware"] == "cpu"
    assert record["provenance"]["engine_version"] == {"vllm": "0.0.1", "sglang": "0.0.2"}[engine]
    assert {"host_id", "cpu", "commit"} <= record["provenance"].keys()
    if engine == "sglang":
        assert record["provenance"]["execution"]["once warm"] == "/freeze_gc"
    # The tokenizer that the server was booted with, a word for each id, and what the benchmark wrote.
    tokenizer = json.loads((both.suite.artifacts / f"tokenizer-{MODEL}" / "tokenizer.json").read_text())
    assert len(tokenizer["model"]["vocab"]) == Model.load(MODEL, "").vocab_size
    assert len(list(both.suite.artifacts.glob(f"{engine}-*-[012]-theirs.json"))) == 3
    # Other prompts in every round, but for its repetition.
    first, again, *others = [run["--seed"] for run in both.runs()]
    assert first == again
    assert len({first, *others}) == 3


@pytest.mark.faults
def test_the_same_clock_twice_does_not_differ(both):
    both.suite.boots_with("--ttft 0.1 --gap 0.02 --linger 1")
    done = both.run("--cells=vllm/*/batch-*", "--rounds=4")
    assert done.returncode in (0, 2), done.stderr
    assert "differ" not in done.stdout
    assert "95% interval" in done.stdout
    assert not errors(done)
    (boot,) = fake_engine.boots(both.suite.engine)
    assert not psutil.pid_exists(boot["pids"][0]), "the command ends after its server"
    lines = done.stderr.splitlines()
    assert not [line for line, following in itertools.pairwise(lines) if line == following], "a phase is said once"


@fault("Engine", "its own benchmark loses requests or ends early", "cross_check says so, with its last line")
@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--benchmark-lost 1", "completed is 31, 32 were asked for"),
        ("--benchmark-crash", "status 1, its last line: RuntimeError: this benchmark has no tokenizer; all in "),
    ],
)
def test_a_benchmark_that_fails(both, option, message):
    both.suite.boots_with(f"--ttft 0.02 --gap 0.005 {option}")
    done = both.run("--cells=vllm/*/batch-*", "--rounds=1")
    assert done.returncode == 2
    (line,) = errors(done)
    assert line.startswith(f"error: vllm/{MODEL}/tp1/batch-{BATCH}: vllm's own benchmark: ")
    assert message in line
    assert not titles(done), "no round is complete"


@fault(
    "Engine",
    "its own benchmark fails midway",
    "cross_check shows the cell's complete rounds and goes on with the others, status 2",
    "what each client measured",
)
def test_a_benchmark_that_fails_midway(both):
    # The medians of the other cell differ, which alone is status 1.
    both.suite.boots_with("--ttft 0.1 --gap 0.02 --benchmark-factor 1.5")
    both.benchmark_does({2: "crash"})
    done = both.run("--cells=vllm/*", "--rounds=3")
    assert done.returncode == 2
    (line,) = errors(done)
    assert line.startswith(f"error: vllm/{MODEL}/tp1/batch-{BATCH}: vllm's own benchmark: status 1")
    assert titles(done) == [f"batch-{BATCH}", "offline-40"]
    assert [len(one) for one in both.record(f"vllm/batch-{BATCH}")["rounds"]] == [2, 2, 1]
    assert [len(one) for one in both.record("vllm/offline-40")["rounds"]] == [2, 2, 2]
    assert len(fake_engine.boots(both.suite.engine)) == 1, "the server is as it was"


@pytest.mark.parametrize(
    ("faults", "message"),
    [
        pytest.param(
            f"--fault exit --after {3 * BATCH + 1}",
            "the server died with status 3; its last lines (all in ",
            marks=fault(
                "Server", "dies under an engine's own benchmark", "the next cell gets another", "complete rounds"
            ),
        ),
        pytest.param(
            f"--fault stall --after {4 * BATCH + 1}",
            "most often: no end of the response within 2 s",
            marks=fault("Server", "hangs under cross_check", "the next cell gets another", "complete rounds"),
        ),
    ],
)
def test_a_server_that_is_lost_midway(both, faults, message):
    """In the second round, in which ours comes last."""
    both.suite.boots_with(f"--ttft 0.02 --gap 0.005 {faults}", "--ttft 0.02 --gap 0.005")
    done = both.run("--cells=vllm/*", "--rounds=2")
    assert done.returncode == 2
    (line,) = errors(done)
    assert line.startswith(f"error: vllm/{MODEL}/tp1/batch-{BATCH}: ")
    assert message in line
    assert titles(done) == [f"batch-{BATCH}", "offline-40"]
    assert len(both.record(f"vllm/batch-{BATCH}")["rounds"][0]) == 2
    assert len(fake_engine.boots(both.suite.engine)) == 2


@pytest.mark.faults
def test_a_server_that_does_not_boot_is_booted_once(both):
    both.suite.boots_with("--crash")
    done = both.run("--cells=vllm/*", "--rounds=1")
    assert done.returncode == 2
    first, second = errors(done)
    assert first.startswith(f"error: vllm/{MODEL}/tp1/batch-{BATCH}: the server ended with status 1")
    assert "/offline-40: " in second
    assert "failed to boot earlier in this session: the server ended with status 1" in second
    assert "CUDA out of memory" not in done.stderr, "a line for each cell; the log is named"
    assert len(fake_engine.boots(both.suite.engine)) == 1


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(
            number,
            marks=fault(
                "Host",
                f"{number.name} of cross_check while a benchmark runs",
                "server and benchmark are ended by their supervisors",
                "what each client measured",
            ),
        )
        for number in (signal.SIGTERM, signal.SIGKILL)
    ],
)
def test_a_signal_while_a_benchmark_runs(both, number):
    token = secrets.token_hex(8)
    both.suite.variables[MARK] = token
    both.benchmark_does({2: "hang"})
    for _ in range(ATTEMPTS):
        with both.start("--cells=vllm/*", "--rounds=3") as process:
            wait_until(lambda: len(both.runs()) == 3 or process.poll() is not None)
            if process.poll() is None:
                assert len(marked(token)) >= 5, "itself, server and benchmark with a supervisor each"
                process.send_signal(number)
            _, err = process.communicate(timeout=60)
        if not any(said in err for said in DISTURBED):
            break
        both.forget()
    assert process.returncode == -number
    wait_until(lambda: not marked(token))
    assert [sorted(one) for one in both.record(f"vllm/batch-{BATCH}")["rounds"]] == [
        ["ours", "theirs"],
        ["ours", "theirs"],
        ["ours"],
    ]


def marked(token):
    """The processes that inherited a mark, wherever they went."""
    return [process.pid for process in psutil.process_iter() if mark(process) == token]


def mark(process):
    try:
        return process.environ().get(MARK) if process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.Error:
        return None


@fault("Card", "in use before cross_check boots", "no cell is judged, card and remedy named", "-")
def test_a_card_in_use(both, tmp_path):
    cards = Cards(compiled("fake_nvml.c", tmp_path / "libnvidia-ml.so.1"), tmp_path / "nvml")
    both.suite.variables |= cards.variables
    both.suite.deployment.write_text(DEPLOYMENT.replace('hardware = "cpu"', 'hardware = "H200"'))
    both.suite.boots_with("--ttft 0.02 --gap 0.005")
    done = both.run("--cells=vllm/*/batch-*", "--rounds=1")
    assert titles(done) == [f"batch-{BATCH}"], done.stderr
    record = both.record(f"vllm/batch-{BATCH}")
    assert "H200" in record["fingerprint"]["hardware"]
    assert record["provenance"]["driver"]
    assert [state["index"] for state in record["conditions"]] == [0]
    cards.add_process(os.getpid())
    done = both.run("--cells=vllm/*/batch-*", "--rounds=1", f"--artifacts={tmp_path / 'in-use'}")
    assert done.returncode == 2
    assert errors(done) == [
        f"error: vllm/{MODEL}/tp1/batch-{BATCH}: GPU 0 is in use by 1 other process(es): stop them or choose another card"
    ]
    assert not titles(done)
    assert not cards.locks()


@pytest.mark.faults
def test_cells_share_the_measurer_s_warm_up(both, tmp_path):
    """A server that compiles for every length: short answers until it is steady, then its garbage is frozen, once."""
    both.suite.boots_with("--ttft 0.1 --gap 0.02 --jit 1.5")
    chosen = deployment_module.load(str(both.suite.deployment), ENGINES)
    (cell,) = selected(chosen, ["sglang/*/offline-40"])
    pool = Pool(chosen, tmp_path / "run", {"sglang": both.environment}, [], lambda phase: None)
    checker = CrossCheck(chosen, tmp_path / "run", pool, again=False)
    try:
        for passes, times in ((3, 1), (2, 0)):  # the first one compiles
            rounds, failure = checker.check(cell, 1)
            assert (len(rounds), failure) == (1, "")
            server = pool.variant(cell.block, tokenizer=str((tmp_path / "run" / f"tokenizer-{MODEL}").resolve()))
            log = server_log(server.target.url)
            asked = [entry["tokens"] for entry in log if "tokens" in entry]
            short = asked[: asked.index(20)]
            assert set(short) == {WITHOUT_CARD_TOKENS}
            assert len(short) >= 40 * passes
            assert asked[len(short) :] == [20] * 80
            assert len([entry for entry in log if "frozen" in entry]) == times
    finally:
        pool.stop()


@pytest.mark.faults
def test_weights_bring_their_own_tokenizer(both, tmp_path):
    weights = tmp_path / "weights"
    weights.mkdir()
    for name in ("model.safetensors", "tokenizer.model"):
        (weights / name).touch()
    (weights / "config.json").write_text("{}")
    named = f'name = "{MODEL}"'
    both.suite.deployment.write_text(DEPLOYMENT.replace(named, f'{named}\nweights = "{weights}"'))
    done = both.run("--cells=vllm/*/batch-*", "--rounds=1")
    assert not errors(done)
    assert [run["--tokenizer"] for run in both.runs()] == [str(weights)]
    assert not list(both.suite.artifacts.glob("tokenizer-*"))


@pytest.mark.faults
def test_a_stream_without_a_pace(both):
    both.suite.boots_with("--tokens-per-chunk 8")
    done = both.run("--cells=vllm/*/batch-*", "--rounds=1")
    assert done.returncode == 2
    (line,) = errors(done)
    assert ": tpot_p50, itl_p50 cannot be seen: " in line
    assert "streams don't show their tokens one by one: the whole text came at once" in line


@pytest.mark.faults
def test_cells_that_no_benchmark_can_send(both):
    both.suite.deployment.write_text(DEPLOYMENT.replace(f"batch_size = {BATCH}", f"batch_size = {BATCH - 1}"))
    done = both.run("--cells=vllm/*/batch-*")
    assert done.returncode == 2
    assert (
        "no traffic that the engines' benchmarks send: choose batch, offline or online cells of at least 32 requests"
        in (done.stderr)
    )

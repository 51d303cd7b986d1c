"""Servers that die, hang, slow down, leak, flood or are not who they should be."""

import os
import re
import sys

import psutil
import pytest

from fixtures.engines.boot import Boot
from fixtures.engines.process import ServerProcess
from fixtures.engines.registry import ENGINES
from fixtures.engines.supervise import LOG_BYTES
from perf_tests.documentation.faults import fault
from perf_tests.fakes import fake_engine
from perf_tests.fakes.deployments import BATCH_1, BLOCK
from perf_tests.fakes.suite import Suite
from perf_tests.fakes.waiting import wait_until

BEFORE = f"--after {BATCH_1}"
INCONCLUSIVE = "cell fails, its verdicts are inconclusive"
KEPT = "cells before it: samples, verdicts, report"


@pytest.fixture(scope="module", autouse=True)
def deaf(request, tmp_path_factory):
    """A run whose server won't end: half a minute that passes while the other tests of this module run."""
    if not any(item.name == "test_hangs_at_stop" for item in request.session.items):
        yield None
        return
    suite = Suite(tmp_path_factory.mktemp("deaf"))
    suite.boots_with("--ignore-signals --fork")
    process = suite.start("--max-boots=1")
    yield suite, process
    process.kill()


def fails_after_batch_1(suite, message):
    """Run the suite; batch-4 must fail with ``message``, and what was measured before must be judged and kept."""
    done = suite.run()
    assert done.status == 1, done.text
    assert f"{BLOCK}/batch-4: {message}" in done.text
    assert "Traceback" not in done.text
    assert set(suite.samples()) == {"startup", "batch-1"}
    verdicts = suite.verdicts()
    assert verdicts["batch-1 latency"] == verdicts["startup kv_capacity"] == "pass"
    assert {outcome for name, outcome in verdicts.items() if name.startswith("batch-4")} == {"inconclusive"}
    assert f"**{BLOCK}/batch-4**: {message}" in (suite.artifacts / "report.md").read_text()
    return done


def fails_to_boot(suite, message):
    """Run the suite; no cell can be measured for the same cause, which the first names with the log's last lines."""
    done = suite.run()
    assert done.status == 1, done.text
    assert message in done.text
    assert "PytestBenchmarkWarning" not in done.text
    assert f"{BLOCK}/batch-4: {BLOCK} failed to boot earlier in this session: " in done.text
    assert set(suite.verdicts().values()) == {"inconclusive"}
    return done


@fault("Server", "dies at boot", "every cell of its block fails, the first with the log's last lines")
def test_dies_at_boot(suite):
    suite.boots_with("--crash")
    done = fails_to_boot(suite, "the server ended with status 1 while loading weights")
    assert "CUDA out of memory" in done.text
    assert len(fake_engine.boots(suite.engine)) == 1


@fault("Server", "hangs at boot", "every cell of its block fails at `boot_timeout`, with the phase it was last seen in")
def test_hangs_at_boot(suite):
    suite.boots_with("--boot 600")
    fails_to_boot(suite, "not healthy within 5 s, last seen starting HTTP server; its last lines (all in")


@fault("Server", "answers 503 at boot", "waited for; at `boot_timeout` every cell of its block fails, 503 named")
@pytest.mark.parametrize("seconds", [1, 600])
def test_is_unhealthy_at_boot(judged, seconds):
    judged.boots_with(f"--unhealthy {seconds}")
    if seconds > 5:
        fails_to_boot(judged, "last seen starting HTTP server, /health answers 503")
    else:
        assert judged.run().status == 0
        assert set(judged.verdicts().values()) == {"pass"}


@fault("Server", "dies at the first request", f"{INCONCLUSIVE}; exit status and last lines of the log named", KEPT)
def test_dies_at_the_first_request(judged):
    judged.boots_with("--fault exit")
    done = judged.run()
    assert done.status == 1
    assert f"{BLOCK}/batch-1: the server died with status 3; its last lines (all in" in done.text
    assert set(judged.samples()) == {"startup"}
    assert judged.verdicts()["startup kv_capacity"] == "pass"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param(
            f"--fault exit-mid-stream {BEFORE}",
            "the server died with status 3; its last lines (all in",
            marks=fault(
                "Server", "dies mid-stream", f"{INCONCLUSIVE}; exit status and last lines of the log named", KEPT
            ),
        ),
        pytest.param(
            f"--fault exit-idle --after {BATCH_1 - 1}",
            "the server died with status 3; its last lines (all in",
            marks=fault("Server", "dies between two cells", f"{INCONCLUSIVE}; exit status and last lines named", KEPT),
        ),
        pytest.param(
            f"--fault stall {BEFORE}",
            "4 of 4 requests failed, most often: no end of the response within 2 s",
            marks=fault("Server", "hangs mid-stream", f"{INCONCLUSIVE} at `request_timeout`", KEPT),
        ),
        pytest.param(
            f"--fault http-503 {BEFORE}",
            "8 of 8 requests failed, most often: HTTP 503: no worker is ready",
            marks=fault("Server", "answers 503 to requests", f"{INCONCLUSIVE}; what it answered is named", KEPT),
        ),
    ],
)
def test_fails_while_serving(judged, options, message):
    judged.boots_with(options)
    fails_after_batch_1(judged, message)


@pytest.mark.parametrize("how", ["exit", "stall"])
@fault("Server", "dies or hangs once", "the cell fails, the next one is measured on a fresh server", "everything else")
def test_the_next_cell_gets_another_server(judged, how):
    judged.boots_with(f"--fault {how}", "")
    done = judged.run("--max-boots=1")
    assert done.status == 1
    assert f"{BLOCK}/batch-1: " in done.text
    assert judged.samples() == ["startup", "batch-4"]
    assert judged.verdicts()["batch-4 latency"] == "pass"
    assert judged.verdicts()["batch-1 latency"] == "inconclusive"
    assert len(fake_engine.boots(judged.engine)) == 2


@fault("Server", "becomes 10 times slower midway, in every boot", "regression, after three boots agree", "everything")
def test_slows_down(judged):
    judged.boots_with(f"--fault slow {BEFORE}")
    done = judged.run()
    assert done.status == 1
    assert f"regression: latency of {BLOCK}/batch-4: " in done.text
    verdicts = judged.verdicts()
    assert verdicts.pop("batch-4 latency") == "regression"
    assert set(verdicts.values()) == {"pass"}
    assert judged.samples().count("batch-4") >= 3


@fault("Server", "becomes 10 times slower midway, in one boot", "pass: fresh boots don't confirm it", "everything")
def test_slows_down_once(judged):
    judged.boots_with(f"--fault slow {BEFORE}", "")
    assert judged.run().status == 0
    assert set(judged.verdicts().values()) == {"pass"}


@fault("Server", "leaks memory", "regression of `peak_memory`, where it is gated", "everything")
def test_leaks_memory(judged):
    judged.boots_with(f"--fault leak {BEFORE}")
    assert judged.run().status == 1
    assert judged.verdicts()["batch-4 peak_memory"] == "regression"
    assert judged.verdicts()["batch-1 peak_memory"] == "pass"


@fault("Server", "leaves a child in a session of its own", "ended with the server", "everything")
def test_leaves_a_child(judged):
    judged.boots_with(f"--fork --fault exit {BEFORE}")
    fails_after_batch_1(judged, "the server died with status 3")
    for boot in fake_engine.boots(judged.engine):
        assert len(boot["pids"]) == 2
        assert not any(map(psutil.pid_exists, boot["pids"]))


@fault("Server", "port taken between choosing and binding", "booted again on another port", "everything")
@pytest.mark.parametrize("squatter", ["mute", "stranger"])
def test_the_port_is_taken(judged, squatter):
    judged.boots_with(f"--squat {squatter}", "")
    assert judged.run().status == 0
    assert len(fake_engine.boots(judged.engine)) >= 2
    assert set(judged.verdicts().values()) == {"pass"}


@fault("Server", "port taken every time", "every cell of its block fails; the log's last lines name the port")
def test_the_port_is_always_taken(suite):
    suite.boots_with("--squat mute")
    assert "address already in use" in fails_to_boot(suite, "the server ended with status 1").text
    assert len(fake_engine.boots(suite.engine)) == 3


@fault(
    "Server",
    "prints a gigabyte of log",
    "pass; what the engine reports of itself is still found",
    "everything; 64 MB of the log, half from its start and half from its end",
)
def test_prints_a_gigabyte(judged):
    judged.deployment.write_text(judged.deployment.read_text().replace("boot_timeout = 5", "boot_timeout = 60"))
    judged.boots_with(f"--flood {10**9}")
    assert judged.run().status == 0
    assert set(judged.verdicts().values()) == {"pass"}
    (log,) = (judged.artifacts / "logs").iterdir()
    text = log.read_bytes()
    assert len(text) < LOG_BYTES + 100
    assert b"Initializing a V1 LLM engine" in text[:1000]
    left_out = int(re.search(rb"\n\.\.\. (\d+) bytes left out \.\.\.\n", text)[1])
    assert len(text) + left_out > 10**9
    assert b"nothing to schedule" not in text[-10:]


@fault("Server", "compiles a kernel behind megabytes of log", "found: the cell is invalid", "everything", quick=True)
def test_a_compilation_behind_a_flood_is_found(tmp_path):
    code = "import time; print('x\\n' * 1_000_000 + 'y' * 3_000_000); print('{}', flush=True); time.sleep(60)"
    line = "WARNING Triton kernel JIT compilation during inference: late_kernel. This causes a spike."
    process = ServerProcess([sys.executable, "-c", code.format(line)], dict(os.environ), tmp_path / "log", grace=1.0)
    try:
        wait_until(lambda: "late_kernel" in process.tail())
        boot = Boot("1", "h", "", 0.0, None, None, process, ENGINES["vllm"])
        assert boot.compilations(0) == ["late_kernel"]
    finally:
        process.stop()


@fault("Server", "writes no log", "what only the log tells is inconclusive and named; the rest is judged")
def test_writes_no_log(judged):
    judged.boots_with("--silent")
    done = judged.run()
    assert done.status == 1
    assert "the engine does not report kv_capacity, weight_memory" in done.text
    verdicts = judged.verdicts()
    assert verdicts.pop("startup kv_capacity") == verdicts.pop("startup weight_memory") == "inconclusive"
    assert set(verdicts.values()) == {"pass"}


SECRETS = {name: f"{name.lower()}-0123456789" for name in ("HF_TOKEN", "VLLM_API_KEY", "OPENAI_API_KEY", "AWS_SECRET")}


@fault("Server", "prints its environment, secrets in it", "pass; hidden in all but the server's own log", "everything")
@pytest.mark.parametrize("options", ["", "--crash"])
def test_prints_its_environment(suite, options):
    suite.variables |= SECRETS
    suite.boots_with(f"--print-environment {options}")
    junit, history = suite.directory / "junit.xml", suite.directory / "history.jsonl"
    how = [] if options else ["--update-baselines"]
    done = suite.run(*how, f"--junit-xml={junit}", f"--history={history}")
    assert done.status == (1 if options else 0), done.text
    log = next((suite.artifacts / "logs").iterdir()).read_text()
    assert all(secret in log for secret in SECRETS.values()), "the log is the engine's own"
    assert "***" in (suite.artifacts / "report.html").read_text()
    if options:
        assert "'HF_TOKEN': '***'" in done.text
    written = [
        path for place in (suite.artifacts, suite.baselines, junit, history) for path in (place, *place.rglob("*"))
    ]
    written = [path for path in written if path.is_file() and path.parent.name != "logs"]
    names = {path.name for path in written}
    assert names >= {"run.json", "report.md", "report.html", "junit.xml"} | (set() if options else {"samples.jsonl"})
    for secret in SECRETS.values():
        assert secret not in done.text
        assert not [path for path in written if secret.encode() in path.read_bytes()]


@fault("Server", "another model behind the right name", "every cell of its block fails, both models named")
def test_serves_another_model(judged):
    judged.boots_with("--another-model")
    fails_to_boot(judged, "the server has loaded /models/another instead of ")


@fault("Server", "preempts requests, of which its log says nothing", "invalid, by its own counters", "everything")
def test_preempts_requests(judged):
    judged.boots_with("--preempts 3")
    done = judged.run("--max-boots=1")
    assert done.status == 0, done.text
    assert re.search(
        r"the engine preempted requests, \d+ in all: its KV cache is too small for this workload: raise", done.text
    )
    verdicts = judged.verdicts()
    assert verdicts["batch-4 latency"] == verdicts["batch-1 latency"] == "invalid"
    assert verdicts["startup kv_capacity"] == "pass"


@fault("Server", "serves somebody else meanwhile", "said, by its own counters", "everything")
def test_serves_somebody_else(judged):
    judged.boots_with("--counts-more 2")
    done = judged.run()
    assert done.status == 0, done.text
    assert re.search(
        r"server and client disagree, .*batch-4: the server counted [\d,]+ prompt and [\d,]+ generated", done.text
    )
    assert judged.verdicts()["batch-4 latency"] == "pass"


@fault("Server", "hangs at stop, its child too", "killed, after SIGINT and SIGTERM in vain", "everything")
def test_hangs_at_stop(deaf):
    suite, process = deaf
    done = suite.wait(process)
    assert done.status == 0, done.text
    (boot,) = fake_engine.boots(suite.engine)
    assert not any(map(psutil.pid_exists, boot["pids"]))
    assert set(suite.samples()) == {"startup", "batch-1", "batch-4"}
    suite.assert_nothing_left()

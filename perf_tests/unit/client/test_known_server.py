"""The server that the client's benches are held against, and what they make of its log."""

import contextlib
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from fixtures.client.load import exchange, run
from fixtures.client.metrics import summarize
from fixtures.client.protocol import PROTOCOLS
from fixtures.client.request import Request
from fixtures.client.target import Target
from perf_tests.fakes.known_server import Served, build, known_server
from perf_tests.tools import bench_fidelity
from perf_tests.tools.bench_fidelity import CEILING_RATES, CEILING_TOKENS, ceiling, clean, figures

pytestmark = pytest.mark.cpu


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    if shutil.which("cc") is None:
        pytest.skip("no C compiler")
    directory = tmp_path_factory.mktemp("server")
    build(directory)
    return directory


def test_it_logs_when_it_wrote_each_token_and_no_client_has_one_sooner(compiled):
    requests = [Request([i + 1] * 8, 4, i * 0.002) for i in range(20)]
    with known_server(2, 0.02, 0.003, directory=compiled) as server:
        start, exchanges = exchange(Target(server.url, "mock"), requests, 0, lambda: time.perf_counter() + 0.05)
        log = {one.first_id: one for one in server.log()}
        assert server.log() == []
    assert log.keys() == {request.prompt[0] for request in requests}
    for request, sent in zip(requests, exchanges, strict=True):
        served = log[request.prompt[0]]
        assert len(served.written) == 4
        assert served.received >= sent.sent >= start
        due = served.received + 0.02 + 0.003 * np.arange(4)
        assert (served.written >= due).all()
        tokens = [when for when, data in sent.reads for _ in range(data.count(b'"text"'))]
        assert (np.array(tokens) >= served.written).all()


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=lambda one: one.name)
def test_it_answers_as_the_client_expects(compiled, protocol):
    with known_server(1, 0.01, 0.002, directory=compiled) as server:
        target = Target(server.url, "mock", protocol=protocol)
        found = summarize(run(target, [Request([3] * 8, 6) for _ in range(5)], concurrency=2))
        log = server.log()
    assert (found.completed, found.output_tokens) == (5, 30)
    assert [(one.first_id, len(one.written)) for one in log] == [(3, 6)] * 5


def test_figures_are_those_worked_out_by_hand():
    # Two requests of three tokens; the client has all events of the first 1 ms late, and of the second two in one read.
    log = [
        Served(0, 10.0, np.array([10.050, 10.060, 10.070])),
        Served(1, 11.0, np.array([11.050, 11.060, 11.070])),
    ]
    records = {
        "ids": np.array([0, 1]),
        "scheduled": np.array([0.0, 1.0]),
        "sent": np.array([0.0, 1.002]),
        "worker": np.array([0, 1]),
        "chunks": np.array([[0.051, 0.061, 0.071], [1.050, 1.070, 1.070]]),
        "delays": np.zeros((2, 3)),
        "stamped": np.array([True, True]),
    }
    found = figures(records, log)
    assert found["ttft"]["p50"] == pytest.approx(50.5)
    assert found["server_ttft"]["p50"] == pytest.approx(50)
    assert found["request_error"]["p100"] == pytest.approx(1)
    assert found["event_error"] == {"p50": pytest.approx(0), "p99": pytest.approx(9.7), "p100": pytest.approx(10)}
    assert found["joined_share"] == pytest.approx(1 / 5)
    assert found["worst_worker_lag_p99"] == pytest.approx(2)
    assert found["server_late"]["p100"] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, True),
        ({"ttft": {"p50": 50.6, "p99": 54.9}}, False),
        ({"ttft": {"p50": 50.4, "p99": 55.1}}, False),
        ({"worst_worker_lag_p99": 5.0}, False),
        ({"error": "3 failed"}, False),
    ],
)
def test_a_run_is_clean_if_both_quantiles_and_the_sending_are_true(changed, expected):
    run = {"ttft": {"p50": 50.4, "p99": 54.9}, "server_ttft": {"p50": 50, "p99": 50}, "worst_worker_lag_p99": 4.9}
    assert clean(run | changed) is expected


def test_a_build_goes_on_to_the_rate_at_which_two_runs_are_not_clean(monkeypatch):
    # The other build is clean at the first rate, and in one run of the second; this one at the first three.
    clean_runs = {"this": [True] * 6 + [False] * 9, "other": [True, True, False, True, False]}

    def measure(job, server):
        off = 0 if clean_runs[job.build].pop(0) else 1
        ttft = {"p50": 50 + off, "p99": 50}
        run = {"build": job.build, "rate": job.rate, "ttft": ttft, "worst_worker_lag_p99": 0}
        return run | {"server_ttft": {"p50": 50, "p99": 50}}

    monkeypatch.setattr(bench_fidelity, "measure", measure)
    monkeypatch.setattr(bench_fidelity, "known_server", lambda *_: contextlib.nullcontext())
    runs = [(one["build"], CEILING_RATES.index(one["rate"] * CEILING_TOKENS)) for one in ceiling([0, 1], Path(), None)]
    first = [("this", 0), ("other", 0)] * 2
    second = [("this", 1), ("other", 1)] * 2 + [("other", 1)]
    assert runs == [*first, *second, ("this", 2), ("this", 2), ("this", 3), ("this", 3)]

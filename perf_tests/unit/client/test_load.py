"""The load client against a server of known timing, in a process of its own."""

import concurrent.futures
import contextlib
import itertools
import json
import math
import re
import socket
import time

import pytest

from fixtures.client import connection, load, metrics
from fixtures.client.__main__ import main
from fixtures.client.arrivals import Arrivals
from fixtures.client.load import run
from fixtures.client.metrics import summarize
from fixtures.client.outcome import record_of
from fixtures.client.protocol import PROTOCOLS
from fixtures.client.record import Record
from fixtures.client.request import Request
from fixtures.client.sender import PREPARE_SECONDS
from fixtures.client.target import Target
from perf_tests.fakes.commands import run_here
from perf_tests.fakes.conformance import FORMS, TOKENS
from perf_tests.fakes.server_process import mock_server, server_log

pytestmark = pytest.mark.cpu


def requests(count, tokens=8, every=0.01):
    return [Request([5] * 16, tokens, i * every) for i in range(count)]


def test_every_request_is_recorded_with_what_the_server_did():
    with mock_server("--ttft", "0.03", "--gap", "0.005") as url:
        records = run(Target(url, "mock"), requests(10))
        log = sorted(server_log(url), key=lambda entry: entry["received"])
    assert [r.error for r in records] == [""] * 10
    assert [len(r.chunks) for r in records] == [8] * 10 == [len(entry["written"]) for entry in log]
    assert {(r.prompt_tokens, r.completion_tokens) for r in records} == {(16, 8)}
    for record, entry in zip(records, log, strict=True):
        # The client can see a chunk only after the server wrote it, and counts from before the server received.
        assert metrics.ttft(record) > entry["written"][0] - entry["received"]
        assert record.sent >= record.scheduled


@pytest.mark.parametrize("at_once", [False, True])
def test_what_one_process_sends_begins_once_connections_are_open_or_a_little_later(monkeypatch, at_once):
    began = []
    here = load.run_here

    def recorded(target, requests, concurrency, start, cutoff=None):
        def asked():
            before, begun, after = time.perf_counter(), start(), time.perf_counter()
            began.append((before, begun, after))
            return begun

        return here(target, requests, concurrency, asked, cutoff)

    monkeypatch.setattr(load, "run_here", recorded)
    with mock_server() as url:
        records = run(Target(url, "mock", at_once=at_once), requests(2, every=0))
    assert not any(one.error for one in records)
    ((before, begun, after),) = began
    pause = 0.0 if at_once else PREPARE_SECONDS
    assert before + pause <= begun <= after + pause


def test_open_loop_sends_on_schedule_though_the_server_is_slow():
    with mock_server("--ttft", "0.3") as url:
        records = run(Target(url, "mock"), requests(10, tokens=1, every=0.01))
        received = sorted(entry["received"] for entry in server_log(url))
    assert received[-1] - received[0] < 0.3, "the last request left before the first answer came"
    assert [r.scheduled for r in records] == [i * 0.01 for i in range(10)]


def test_closed_loop_keeps_as_many_in_flight_as_asked():
    with mock_server("--ttft", "0.02", "--gap", "0.005") as url:
        records = run(Target(url, "mock"), requests(9, tokens=3), concurrency=3)
        log = server_log(url)
    assert summarize(records).completed == 9
    spans = [(e["received"], e["written"][-1]) for e in log]
    in_flight = [sum(a <= start < b for a, b in spans) for start, _ in spans]
    assert max(in_flight) == 3


@pytest.fixture
def one_event_a_read(monkeypatch):
    """Each event of a stream arrives by itself, 0.1 s after the one before, whatever a busy machine reads at once."""

    def arrived(target, request, exchange, *others):
        events = re.split(rb"(?<=\n\n)", b"".join(data for _, data in exchange.reads))
        times = (exchange.sent + 0.1 * i for i in itertools.count(1))
        exchange.reads = Arrivals.of(zip(times, filter(None, events), strict=False))
        return record_of(target, request, exchange, *others)

    monkeypatch.setattr(load, "record_of", arrived)


@pytest.mark.usefixtures("one_event_a_read")
def test_chunks_of_several_tokens_have_a_pace_only_where_the_server_counts_them():
    with mock_server("--tokens-per-chunk", "4") as url:
        (record,) = run(Target(url, "mock"), requests(1, tokens=16))
        (counted,) = run(Target(url, "mock", protocol=PROTOCOLS["sglang"]), requests(1, tokens=16))
    assert len(record.chunks) == len(counted.chunks) == 4
    assert record.completion_tokens == counted.completion_tokens == 16
    assert (list(record.tokens), list(counted.tokens)) == ([], [4] * 4)
    assert math.isnan(metrics.tpot(record))
    assert metrics.tpot(counted) * 12 == pytest.approx(counted.chunks[-1] - counted.chunks[0]) == pytest.approx(0.3)
    summary = summarize([record])
    assert math.isnan(summary.tpot_p50)
    assert math.isnan(summary.itl_p50)
    assert "nothing tells how many tokens a chunk holds (vLLM does if count_tokens asks for it)" in summary.unseen
    assert summary.unseen.endswith("(median 4 chunks for 16 tokens)")


def test_a_response_in_one_piece_gives_latency_and_counts_alone():
    with mock_server("--ttft", "0.02", "--gap", "0.005") as url:
        records = run(Target(url, "mock"), [Request([5] * 16, 8, 0.0, stream=False) for _ in range(3)])
    summary = summarize(records)
    assert (summary.completed, summary.output_tokens, summary.input_tokens) == (3, 24, 48)
    assert all(len(r.chunks) == 1 for r in records)
    assert summary.e2e_p50 > 0.05
    assert math.isnan(summary.ttft_p50)
    assert math.isnan(summary.tpot_p50)


def test_a_refused_response_in_one_piece_keeps_its_cause():
    with mock_server("--fault", "http-400") as url:
        (record,) = run(Target(url, "mock"), [Request([1], 1, stream=False)])
    assert "prompt too long" in record.error


def test_goodput_counts_requests_within_both_limits():
    def record(ttft, tpot):
        return Record(
            0.0, 3, sent=0.0, chunks=[ttft, ttft + tpot, ttft + 2 * tpot], prompt_tokens=1, completion_tokens=3
        )

    records = [record(0.1, 0.01), record(0.3, 0.01), record(0.1, 0.05), record(0.05, 0.02)]
    summary = summarize(records, slo_ttft=0.2, slo_tpot=0.02)
    assert summary.goodput * summary.duration == pytest.approx(2)
    assert math.isnan(summarize(records).goodput)


def test_a_connection_that_has_idled_for_long_is_replaced_before_the_server_closes_it(monkeypatch):
    assert connection.KEEPALIVE_SECONDS <= 4, "uvicorn keeps one for 5 s"
    monkeypatch.setattr(connection, "KEEPALIVE_SECONDS", 0.3)
    with mock_server("--ttft", "0.01") as url:
        plan = [Request([1], 1, 0.0), Request([1], 1, 0.1), Request([1], 1, 0.5)]
        assert [r.error for r in run(Target(url, "mock"), plan)] == [""] * 3


ANSWER = b"".join(piece for _, piece in FORMS["plain"].pieces)


@contextlib.contextmanager
def connections(*scripts):
    """A server of so many connections, each with what it answers to its requests before it closes; yields its URL."""

    def serve():
        for script in scripts:
            connection, _ = listener.accept()
            with connection:
                for answer in script:
                    connection.recv(65536)
                    connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener, concurrent.futures.ThreadPoolExecutor(1) as thread:
        serving = thread.submit(serve)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        serving.result(10)


def test_a_request_on_a_connection_that_the_server_closes_meanwhile_is_sent_again_on_another():
    # The first connection closes on its second request, as it would if it had idled for too long just then.
    with connections([ANSWER, b""], [ANSWER]) as url:
        first, second = run(Target(url, "m", timeout=10), requests(2, tokens=TOKENS), concurrency=1)
    assert (first.error, first.resent) == ("", False)
    assert (second.error, second.resent) == ("", True)
    assert second.chunks[0] > second.sent >= second.scheduled


def test_a_request_is_sent_again_once_and_never_on_a_connection_of_its_own():
    with connections([ANSWER, b""], [b""], [ANSWER]) as url:
        records = run(Target(url, "m", timeout=10), requests(3, tokens=TOKENS), concurrency=1)
    assert [record.resent for record in records] == [False, True, False]
    assert [record.error for record in records] == ["", "the server closed the connection without a response", ""]


def test_with_new_connections_each_request_has_its_own():
    with connections([ANSWER, b""], [ANSWER], [ANSWER]) as url:
        target = Target(url, "m", timeout=10, new_connections=True)
        records = run(target, requests(3, tokens=TOKENS), concurrency=1)
    assert [(record.error, record.resent) for record in records] == [("", False)] * 3


def test_a_request_is_not_sent_again_once_an_answer_has_begun():
    with connections([ANSWER, ANSWER[:300]], [ANSWER]) as url:
        records = run(Target(url, "m", timeout=10), requests(3, tokens=TOKENS), concurrency=1)
    assert [record.resent for record in records] == [False] * 3
    assert "mid-stream, after 2 events" in records[1].error
    assert records[2].error == ""


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        ("http-500", "HTTP 500: Internal Server Error"),
        ("stall", "no end of the response within 0.5 s"),
    ],
)
def test_no_answer_is_a_failed_request_with_its_cause(fault, cause):
    with mock_server("--ttft", "0.01", "--gap", "0.002", "--fault", fault) as url:
        records = run(Target(url, "mock", timeout=0.5), requests(3))
    for record in records:
        with pytest.raises(AssertionError, match=cause):
            raise AssertionError(record.error)
    summary = summarize(records)
    assert (summary.completed, summary.failed) == (0, 3)


def test_a_server_that_does_not_take_connections_fails_each_request_in_its_time():
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):  # more than its queue holds: what comes then waits to be connected
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        records = run(Target(url, "mock", timeout=0.3), requests(4, every=0.1))
    assert [record.error for record in records] == ["no end of the response within 0.3 s"] * 4


def test_of_several_addresses_the_one_that_answers_is_taken(monkeypatch):
    resolved = [(socket.AF_INET6, 1, 6, "", ("::1", 1)), (socket.AF_INET, 1, 6, "", ("127.0.0.1", 1))]
    with mock_server("--ttft", "0.01") as url:
        port = int(url.rpartition(":")[2])
        found = [(*one[:4], (one[4][0], port)) for one in resolved]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        records = run(Target(f"http://both.example:{port}", "mock", timeout=10), requests(3))
    assert [record.error for record in records] == [""] * 3


def test_a_host_without_an_address_fails_each_request():
    for concurrency in (0, 2):
        records = run(Target("http://nowhere.invalid:1", "m", timeout=10), requests(3), concurrency)
        assert all(record.error.startswith("cannot connect: [Errno -") for record in records)


def test_nobody_listens():
    records = run(Target("http://127.0.0.1:9", "mock", timeout=1.0), requests(2))
    assert all("cannot connect" in r.error for r in records)


def test_a_model_that_the_server_does_not_have():
    with mock_server() as url:
        (record,) = run(Target(url, "other"), requests(1))
    assert "HTTP 404" in record.error


def test_the_command_prints_and_writes_what_it_measured(tmp_path):
    out = tmp_path / "out.json"
    with mock_server("--ttft", "0.02", "--gap", "0.005") as url:
        traffic = ["--rate", "50", "--num-prompts", "10", "--input-len", "7", "--output-len", "5"]
        done = run_here(main, "--url", url, "--model", "mock", *traffic, "--json", str(out))
        chosen = ["--burstiness", "0.5", "--end-rate", "90", "--new-connections", "--client-workers", "2"]
        shared = run_here(main, "--url", url, "--model", "mock", *traffic, *chosen)
        failing = run_here(main, "--url", url, "--model", "other", "--num-prompts", "2", "--concurrency", "1")
        unwritable = run_here(
            main, "--url", url, "--model", "mock", "--num-prompts", "2", "--json", str(tmp_path / "no" / "out.json")
        )
    assert done.returncode in (0, 2), done.stderr  # 2: a busy machine kept the client from its schedule
    assert shared.returncode in (0, 2), shared.stderr
    data = json.loads(out.read_text())
    assert data["summary"]["completed"] == len(data["records"]) == 10
    assert data["summary"]["input_tokens"] == 70
    assert data["summary"]["output_tokens"] == 50
    assert "ttft_p50" in done.stdout
    assert failing.returncode == 1
    assert "failed: HTTP 404" in failing.stderr
    assert "ttft_p50" in unwritable.stdout
    assert unwritable.stderr.splitlines()[-1].endswith("out.json: cannot be written: No such file or directory")
    assert unwritable.returncode == 2


def test_the_command_asks_for_a_count_in_each_chunk():
    with mock_server("--ttft", "0.02", "--gap", "0.02", "--tokens-per-chunk", "2") as url:
        asked = ["--url", url, "--model", "mock", "--num-prompts", "1", "--output-len", "8"]
        plain, counted = (run_here(main, *asked, *options) for options in ((), ("--count-tokens",)))
    assert re.search(r"^tpot_p50 +-$", plain.stdout, re.MULTILINE)
    assert re.search(r"^tpot_p50 +0\.0\d+$", counted.stdout, re.MULTILINE)


@pytest.mark.parametrize(
    "options",
    [
        ["--num-prompts", "0"],
        ["--rate", "-1"],
        ["--rate", "nan"],
        ["--rate", "1", "--concurrency", "2"],
        ["--end-rate", "9"],
    ],
)
def test_the_command_refuses_nonsense(options):
    done = run_here(main, "--url", "http://127.0.0.1:9", "--model", "m", *options)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr

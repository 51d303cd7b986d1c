"""Runs that are given up: by requests that are too late for certain, on a server in a process of its own."""

import itertools
import math
import signal
import time
import urllib.request

import pytest

from fixtures.client.cutoff import Cutoff, Misses
from fixtures.client.exchange import Exchange
from fixtures.client.load import run
from fixtures.client.metrics import summarize
from fixtures.client.request import Request
from fixtures.client.target import Target
from perf_tests.fakes.server_process import mock_server, server_log

pytestmark = pytest.mark.cpu

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNK = b"6\r\ndata: \r\n"


def requests(count, tokens=8, every=0.01):
    return [Request([5] * 16, tokens, i * every) for i in range(count)]


def unfinished(url):
    """What the server tells after its last step."""
    with urllib.request.urlopen(f"{url}/metrics") as response:
        lines = response.read().decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("vllm:num_requests_"))


@pytest.mark.parametrize("workers", [1, 2])
def test_what_is_under_way_is_aborted_and_the_rest_is_never_sent(workers):
    """No answer would come within an hour."""
    with mock_server("--ttft", "3600", "--counts", "vllm") as url:
        target = Target(url, "mock")
        records = run(target, requests(400), workers=workers, cutoff=Cutoff(0.05, 7200.0, 3))
        received = len(server_log(url))
        assert unfinished(url) > 0, "it has made no step since"
        run(target, requests(1), cutoff=Cutoff(0.05, 7200.0, 0))
        assert unfinished(url) == 1, "of all requests this one is left"
    assert len(records) == 400
    assert all(one.given_up and not one.error for one in records)
    assert 4 <= received < 400
    assert received == sum(not math.isnan(one.sent) for one in records)
    found = summarize(records)
    assert (found.completed, found.failed, found.errors) == (0, 0, ())
    assert found.send_lag_p99 >= 0


def test_a_run_in_which_few_enough_are_late_goes_on_to_its_end():
    slow = ("--ttft", "0.01", "--other-ttft", "0.4")
    odd = [5] * 15 + [7]
    wanted = [Request(odd if i < 3 else [4] * 16, 2, i * 0.01) for i in range(10)]
    with mock_server(*slow) as url:
        records = run(Target(url, "mock"), wanted, cutoff=Cutoff(0.2, 60.0, 3))
        assert not any(one.given_up for one in records)
        records = run(Target(url, "mock"), wanted, cutoff=Cutoff(0.2, 60.0, 2))
    assert [one.given_up for one in records] == [True] * 3 + [False] * 7
    assert summarize(records).completed == 7


def test_answers_that_have_begun_in_time_and_have_no_end_are_too_late():
    with mock_server("--ttft", "0.01", "--gap", "3600") as url:
        records = run(Target(url, "mock"), requests(10), cutoff=Cutoff(0.2, 0.3, 5))
        assert len(server_log(url)) == 10
    assert all(one.given_up for one in records)


def test_what_came_in_time_is_in_time_however_late_the_client_reads_it():
    """It stands still while the first tokens come, until long after they would have been too late."""
    before = signal.signal(signal.SIGALRM, lambda *_: time.sleep(1.2))
    try:
        with mock_server("--ttft", "0.15") as url:
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            records = run(Target(url, "mock"), requests(10, every=0.0), cutoff=Cutoff(0.8, 60.0, 3))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
    assert not any(one.given_up for one in records)


def test_only_what_has_neither_ended_nor_begun_in_time_is_counted():
    now = time.perf_counter()
    early = now - 1
    silent, headers, begun, ended, broken = (Exchange(b"", early) for _ in range(5))
    headers.reads.add(early, 0.0, HEAD)
    begun.reads.add(early, 0.0, HEAD)
    begun.reads.add(early, 0.0, CHUNK)
    ended.done = True
    broken.reads.add(early, 0.0, b"no HTTP")
    for most, some in itertools.product(range(3), ([silent, headers], [silent, headers, begun, ended, broken])):
        misses = Misses(Cutoff(0.5, 3600.0, most))
        for one in some:
            misses.watch(one)
        assert misses.next == early + 0.5
        assert not misses.too_many(early + 0.49)
        assert misses.too_many(now) == (most < 2)


def test_a_request_without_first_token_and_without_end_is_one():
    misses = Misses(Cutoff(0.1, 0.2, 1))
    misses.watch(Exchange(b"", 0.0))
    assert not misses.too_many(1.0)
    assert misses.next == math.inf

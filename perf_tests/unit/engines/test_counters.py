"""What servers count, under the names of their engines and releases, from real /metrics."""

import pytest

from fixtures.client.load import run
from fixtures.client.plan import plan
from fixtures.deployments.server import Server
from fixtures.engines.boot import attach
from fixtures.engines.counters import Counters, counters
from fixtures.engines.registry import ENGINES
from fixtures.engines.running import Metrics, exposed
from fixtures.session.served import SPECULATION
from fixtures.workloads.workload import Workload
from perf_tests.fakes.server_process import mock_server
from perf_tests.fakes.specs import spec

pytestmark = pytest.mark.cpu
TRAFFIC = Workload("batch", "batch", batch_size=3, input_len=20, output_len=5)
INFO = '{"version": "0.5.23", "model_path": "m", "internal_states": []}'
NAMES = {
    *("prompt_tokens", "output_tokens", "cache_queries", "cache_hits", "preemptions"),
    *("queue_seconds", "queued", "ttft_seconds", "first_tokens", "itl_seconds", "steps"),
}


@pytest.mark.parametrize(
    ("engine", "releases", "prefix"),
    [
        ("vllm", ("0.26.0", "0.32.0", "0.33.0"), "vllm:"),
        ("sglang", ("0.5.17", "0.5.23"), "sglang:"),
    ],
)
def test_every_release_has_a_name_for_everything(engine, releases, prefix):
    for release in releases:
        table = ENGINES[engine].counted(release)
        drafts = set(SPECULATION) if engine == "vllm" else set()
        assert {one.tells for one in table} == NAMES | drafts, "SGLang tells of drafts in each response"
        assert len(table) == len(NAMES | drafts)
        assert all(one.name.startswith(prefix) for one in table)


@pytest.mark.parametrize(
    ("options", "engine"),
    [(("--counts", "vllm", "--version", "0.32.0"), "vllm"), (("--counts", "sglang", "--server-info", INFO), "sglang")],
)
def test_what_a_server_counts_of_requests(options, engine):
    with mock_server(*options, "--ttft", "0.05", "--gap", "0.01", "--preempts", "2", "--cache-hits", "0.25") as url:
        server = attach(Server(url, protocol="sglang" if engine == "sglang" else "openai"), "mock")
        assert server.report.version
        assert server.counted == ENGINES[engine].counted(server.report.version)
        before = server.counters()
        run(server.target, plan(TRAFFIC, 1000, 256, "a"))
        after = server.counters()
    assert before is not None
    assert after is not None
    grown = after.since(before)
    assert set(grown) == NAMES
    assert (grown["prompt_tokens"], grown["output_tokens"]) == (60, 15)
    assert (grown["cache_hits"], grown["cache_queries"], grown["preemptions"]) == (15, 60, 1)
    assert (grown["first_tokens"], grown["queued"], grown["steps"]) == (3, 3, 12)
    assert grown["ttft_seconds"] / 3 >= 0.05
    assert grown["itl_seconds"] / 12 == pytest.approx(0.01, rel=0.5)


def test_a_server_that_does_not_count_says_nothing():
    with mock_server() as url:
        assert attach(Server(url), "mock").counters() is None, "nobody knows its engine"
    with mock_server("--no-metrics") as url:
        assert exposed(url).text == ""
    table = ENGINES["vllm"].counted("0.33.0")
    assert counters(Metrics(""), table) is None
    # As vLLM is with --disable-log-stats.
    silent = counters(Metrics("# HELP python_info x\npython_info 1.0\n"), table)
    assert silent == Counters({})
    # SGLang names a metric when it has observed one.
    found = counters(Metrics("sglang:num_running_reqs 0.0\n"), ENGINES["sglang"].counted("0.5.23"))
    assert found is not None
    assert set(found.values.values()) == {0.0}


def test_values_are_summed_over_labels_and_names_are_whole():
    text = (
        'a:tokens_total{engine="0",model="x{}y"} 3.0\na:tokens_total{engine="1",model="x"} 4.5\n'
        "a:tokens_total_more 100\na:tokens_created 1.7e+09\na:plain 2e3 1700000000\n"
    )
    assert Metrics(text).totals({"a:tokens_total", "a:plain", "a:none"}) == {"a:tokens_total": 7.5, "a:plain": 2000.0}


def test_a_server_that_was_started_anew_has_counted_nothing_since():
    assert Counters({"prompt_tokens": 5.0}).since(Counters({"prompt_tokens": 9.0})) == {}
    assert Counters({"prompt_tokens": 5.0}).since(Counters({})) == {"prompt_tokens": 5.0}


def test_sglang_is_asked_to_count():
    assert "--enable-metrics" in ENGINES["sglang"].command("python", spec(), 1)


def test_the_front_end_is_timed_by_what_needs_no_engine():
    with mock_server("--ttft", "600") as url:
        assert 0 < attach(Server(url), "mock").exchange_seconds() < 600

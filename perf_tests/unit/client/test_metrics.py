"""From records to metrics, by numbers worked out by hand."""

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.client import metrics
from fixtures.client.metrics import Summary, percentile, summarize
from fixtures.client.record import Record

pytestmark = pytest.mark.cpu
# Scheduled at 1 and 2 s; first and last token after 0.5 and 2.5 s, and after 1 and 3 s; the third fails.
RECORDS = [
    Record(1.0, 3, sent=1.001, chunks=[1.5, 2.0, 3.5], prompt_tokens=10, completion_tokens=3),
    Record(2.0, 5, sent=2.003, chunks=[3.0, 3.4, 5.0], prompt_tokens=20, completion_tokens=5),
    Record(2.5, 5, sent=2.501, error="HTTP 503"),
]


def summary(**changes) -> Summary:
    return dataclasses.replace(summarize(RECORDS), **changes)


def test_every_metric_of_a_repetition():
    found = dataclasses.asdict(summarize(RECORDS, slo_ttft=0.6, slo_tpot=1.0))
    expected = {
        "completed": 2,
        "failed": 1,
        "duration": 4.0,
        "input_tokens": 30,
        "output_tokens": 8,
        "request_throughput": 0.5,
        "output_throughput": 2.0,
        "total_throughput": 9.5,
        "ttft_p50": 0.75,
        "ttft_p99": 0.5 + 0.99 * 0.5,
        "tpot_p50": 0.75,
        "tpot_p99": 0.5 + 0.99 * 0.5,  # (3.5 - 1.5) / 2 and (5 - 3) / 4
        "itl_p50": (0.5 + 1.5) / 2,
        "itl_p99": 1.5 + 0.97 * 0.1,  # 0.4, 0.5, 1.5, 1.6
        "e2e_p50": 2.75,
        "e2e_p99": 2.5 + 0.99 * 0.5,
        "send_lag_p99": 0.001 + 0.98 * 0.002,  # 1, 1 and 3 ms: the failed one counts too
        "goodput": 0.25,
        "errors": ("HTTP 503",),
    }
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == (value if name == "errors" else pytest.approx(value, rel=1e-9)), name


def test_both_limits_bind_and_are_met_exactly():
    assert summarize(RECORDS, 0.5, 1.0).goodput == 0.25
    assert summarize(RECORDS, 1.0, 0.5).goodput == 0.25
    assert summarize(RECORDS, 1.0, 1.0).goodput == 0.5
    assert math.isnan(summarize(RECORDS).goodput)


def test_a_single_token_has_no_time_per_output_token():
    alone = Record(0.0, 1, sent=0.0, chunks=[0.5], prompt_tokens=4, completion_tokens=1)
    assert metrics.tpot(alone) == 0.0
    found = summarize([alone, RECORDS[0]])
    assert found.tpot_p50 == found.tpot_p99 == metrics.tpot(RECORDS[0]) == 1.0
    assert metrics.tpot(Record(0.0, 2, chunks=[0.5, 0.8], completion_tokens=2)) == pytest.approx(0.3)


def test_without_a_stream_there_are_latencies_alone():
    whole = dataclasses.replace(RECORDS[0], streamed=False, chunks=[3.5])
    found = summarize([whole, RECORDS[1]])
    assert found.ttft_p50 == metrics.ttft(RECORDS[1])
    assert found.itl_p50 == pytest.approx(1.0)
    assert found.e2e_p50 == 2.75


def test_nothing_completed_has_no_duration():
    found = summarize([RECORDS[2]])
    assert (found.completed, found.failed, found.output_tokens) == (0, 1, 0)
    for name in ("duration", "request_throughput", "ttft_p50", "e2e_p99"):
        assert math.isnan(getattr(found, name)), name


def test_the_largest_of_all_but_one_in_a_hundred():
    assert percentile([4.0, 1.0, 2.0], 50) == 2.0
    assert percentile([1.0, 2.0], 25) == 1.25
    assert percentile([1.0, 3.0], 100) == 3.0
    assert percentile([7.0], 99) == 7.0
    assert math.isnan(percentile([], 50))


def test_a_client_that_misses_its_schedule_is_invalid():
    assert summary(send_lag_p99=0.005).invalid_reason == ""
    late = "the client sent p99 5.1 ms late (limit 5 ms): free a core for it"
    assert summary(send_lag_p99=0.0051).invalid_reason == late
    # Where no first token is observed, half a percent of the whole is allowed.
    assert summary(send_lag_p99=0.0051, ttft_p50=math.nan, duration=1.02).invalid_reason == ""
    assert "limit 5.5 ms" in summary(send_lag_p99=0.0056, ttft_p50=math.nan, duration=1.1).invalid_reason
    assert "limit 5 ms" in summary(send_lag_p99=0.0051, ttft_p50=math.nan, duration=0.5).invalid_reason


@given(st.lists(st.floats(-1e6, 1e6), min_size=1), st.floats(0, 100))
def test_percentile_is_numpys(values, q):
    numpy = pytest.importorskip("numpy")
    assert percentile(values, q) == pytest.approx(numpy.percentile(values, q), rel=1e-9, abs=1e-6)

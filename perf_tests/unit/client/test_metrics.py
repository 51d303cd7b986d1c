"""From records to metrics, by numbers worked out by hand."""

import dataclasses
import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.client import metrics
from fixtures.client.metrics import Summary, itl_tail, percentile, relative_spread, steps, summarize
from fixtures.client.record import Record
from fixtures.workloads.workload import P99_VALUES

pytestmark = pytest.mark.cpu
# Scheduled at 1 and 2 s; first and last token after 0.5 and 2.5 s, and after 1 and 3 s; the third fails.
RECORDS = [
    Record(1.0, 3, sent=1.001, chunks=[1.5, 2.0, 3.5], prompt_tokens=10, completion_tokens=3),
    Record(2.0, 5, sent=2.003, chunks=[3.0, 3.4, 3.8, 4.2, 5.0], prompt_tokens=20, completion_tokens=5),
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
        "itl_p50": (0.4 + 0.5) / 2,
        "itl_p99": 0.8 + 0.95 * 0.7,  # 0.4, 0.4, 0.4, 0.5, 0.8, 1.5
        "e2e_p50": 2.75,
        "e2e_p99": 2.5 + 0.99 * 0.5,
        "send_lag_p99": 0.001 + 0.98 * 0.002,  # 1, 1 and 3 ms: the failed one counts too
        "read_delay_p99": math.nan,  # records of no reads
        "goodput": 0.25,
        "unseen": "",
        "misread": "",
        "errors": ("HTTP 503",),
    }
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == (
            value if isinstance(value, str | tuple) else pytest.approx(value, rel=1e-9, nan_ok=True)
        ), name


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
    assert found.itl_p50 == pytest.approx(0.4)
    assert found.e2e_p50 == 2.75


def stream(*chunks, tokens=0, counts=()):
    """A stream of so many tokens, one for each chunk unless that is said."""
    return Record(0.0, 1, sent=0.0, chunks=list(chunks), tokens=list(counts), completion_tokens=tokens or len(chunks))


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        # By hand: the time after the tokens that came first, over the tokens that came after them.
        (stream(1.0, 1.1, 1.2), (0.1, 0.1)),
        (stream(1.0, 1.3, tokens=6, counts=[3, 3]), (0.1, 0.1)),
        (stream(1.0, 1.0, 1.0, 1.1, 1.2, 1.3, 1.4), (0.1, 0.1)),
        (stream(1.0, 1.2, 1.4, tokens=9), (0.4 / 8, 0.4 / 2)),
        (stream(1.0, 1.0, 1.4, 1.8, tokens=10), (0.8 / 8, 0.8 / 2)),
        (stream(1.0, 1.1, 1.2, 1.3, 1.4, tokens=3), (0.4 / 3, 0.4 / 2)),
        (stream(1.0, 1.1, tokens=1), (0.0, 0.0)),
        # Nobody could see these.
        (stream(1.0, 1.0, 1.0), (0.0, math.inf)),
        (stream(1.0, tokens=8), (0.0, math.inf)),
        (stream(1.0, 1.0001, 1.0002, 1.0003), (0.0, math.inf)),
        (stream(*[1.0] * 4, *[2.0] * 4), (0.0, math.inf)),
        (stream(1.0, 1.001, tokens=4, counts=[1, 3]), (0.0, math.inf)),
    ],
)
def test_the_pace_that_a_stream_shows(record, expected):
    assert metrics.pace(record) == pytest.approx(expected)
    assert bool(metrics.unseen(record)) == (expected[1] == math.inf)


def test_what_the_pace_is_open_within_two_percent_of_is_known():
    times = [1 + i / 10 for i in range(60)]
    assert metrics.tpot(stream(*times, tokens=61)) == pytest.approx(5.9 / 60)
    assert math.isnan(metrics.tpot(stream(*times, tokens=62)))


def test_a_pace_that_few_streams_hide_is_bounded_by_the_others():
    even, hidden = stream(*[1 + i / 10 for i in range(9)]), stream(*[1.8] * 9)
    assert summarize([even] * 9 + [hidden]).tpot_p50 == pytest.approx(0.1)
    assert math.isnan(summarize([even] * 9 + [hidden]).tpot_p99)
    most = summarize([even] * 4 + [hidden] * 5)
    assert math.isnan(most.tpot_p50)
    assert math.isnan(most.itl_p50)
    assert most.unseen == (
        "5 of 9 streams don't show their tokens one by one: the whole text came at once (median 9 chunks for 9 tokens)"
    )


def test_goodput_is_absent_where_an_unseen_pace_decides_it():
    record = stream(1.0, 1.3, 1.6, tokens=4)  # 0.2 to 0.3 s a token
    assert summarize([record], 2.0, 0.35).goodput == pytest.approx(1 / 1.6)
    assert summarize([record], 2.0, 0.15).goodput == 0
    assert math.isnan(summarize([record], 2.0, 0.25).goodput)
    assert summarize([record], 0.5, 0.25).goodput == 0


@given(st.lists(st.floats(0.001, 1.0), min_size=1, max_size=40), st.data())
def test_the_true_pace_is_within_the_bounds_however_tokens_are_merged(gaps, data):
    times = [sum(gaps[:i]) for i in range(len(gaps) + 1)]
    ends = sorted(data.draw(st.sets(st.integers(0, len(gaps)), min_size=1)) | {len(gaps)})
    counts = [b - a for a, b in zip([-1, *ends], ends, strict=False)]
    merged = [times[i] for i in ends]
    least, most = metrics.pace(stream(*merged, tokens=len(times)))
    counted = metrics.pace(stream(*merged, tokens=len(times), counts=counts))
    assert counted[0] == counted[1] or counted == (0.0, math.inf)
    assert least <= counted[0] * (1 + 1e-9)
    assert most >= min(counted[1], most) * (1 - 1e-9)
    if len(ends) > 1 and counted[0]:
        assert counted[0] == pytest.approx((times[-1] - merged[0]) / (len(times) - counts[0]))


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
    assert summary(send_lag_p99=0.005).invalid_reason() == ""
    late = "the client sent p99 5.1 ms late (limit 5 ms): free a core for it"
    assert summary(send_lag_p99=0.0051).invalid_reason() == late
    # Where no first token is observed, half a percent of the whole is allowed.
    assert summary(send_lag_p99=0.0051, ttft_p50=math.nan, duration=1.02).invalid_reason() == ""
    assert "limit 5.5 ms" in summary(send_lag_p99=0.0056, ttft_p50=math.nan, duration=1.1).invalid_reason()
    assert "limit 5 ms" in summary(send_lag_p99=0.0051, ttft_p50=math.nan, duration=0.5).invalid_reason()
    # The same where first tokens are observed, but only the whole is judged.
    assert summary(send_lag_p99=0.0051, duration=1.02).invalid_reason(latencies=False) == ""
    assert "limit 5.5 ms" in summary(send_lag_p99=0.0056, duration=1.1).invalid_reason(latencies=False)


def test_latencies_that_were_read_late_are_worth_another_try_where_they_are_judged():
    late = summary(misread="read late", ttft_p50=math.nan, duration=1.0)
    assert (late.late_reason(), late.late_reason(latencies=False)) == ("read late", "")
    assert summary(send_lag_p99=0.1, misread="read late").late_reason(latencies=False).startswith("the client sent p99")


def test_the_spread_of_repetitions():
    assert relative_spread([1.0, 1.1, 1.3]) == pytest.approx(1.0483 * 0.2 / 1.1)
    assert relative_spread([2.0] * 5) == 0.0
    assert math.isnan(relative_spread([1.0]))
    # One that is disturbed is not the spread of the rest.
    assert relative_spread([1.0, 1.0, 1.01, 1.01, 1.02, 5.0]) < 0.025


@given(st.lists(st.floats(0.5, 2), min_size=2, max_size=12), st.floats(0.1, 10))
def test_the_spread_is_relative(values, scale):
    assert relative_spread([scale * value for value in values]) == pytest.approx(relative_spread(values), abs=1e-9)


def test_the_spread_is_the_standard_deviation_of_normal_values():
    numpy = pytest.importorskip("numpy")
    drawn = numpy.random.default_rng(1).normal(1, 0.02, 1500)
    assert relative_spread(list(map(float, drawn))) == pytest.approx(0.02, rel=0.06)


def test_streams_that_are_decoded_together_make_their_steps_once():
    def shifted(by, begin=0):
        return stream(*[1 + by + i / 100 for i in range(begin, 11)])

    assert steps([shifted(0)]) == 10
    assert steps([shifted(i / 10_000) for i in range(30)]) == 10, "written one after the other"
    assert steps([shifted(0), shifted(1)]) == 20, "one after the other is done"
    assert steps([]) == steps([stream(1.0)]) == 0


def test_a_tail_needs_so_many_steps_that_the_largest_lies_beyond_it():
    assert 1 - 0.99 ** (P99_VALUES - 1) < 0.95 <= 1 - 0.99**P99_VALUES

    def run(gaps, streams=4):
        times = list(itertools.accumulate(gaps, initial=1.0))
        return [stream(*times) for _ in range(streams)]

    gaps = [0.03 if i % 50 == 0 else 0.01 for i in range(P99_VALUES)]
    assert itl_tail([run(gaps)]) == pytest.approx(3.0)
    assert itl_tail([run(gaps[:100]), run(gaps[100:200]), run(gaps[200:])]) == pytest.approx(3.0), "of a boot together"
    assert math.isnan(itl_tail([run(gaps[1:])]))
    assert math.isnan(itl_tail([run(gaps[1:], streams=300)]))
    assert math.isnan(itl_tail([]))
    merged = [stream(1.0, 1.1, tokens=9)]
    assert math.isnan(itl_tail([run(gaps), merged])), "a run that doesn't show its tokens"


@given(st.lists(st.floats(-1e6, 1e6), min_size=1), st.floats(0, 100))
def test_percentile_is_numpys(values, q):
    numpy = pytest.importorskip("numpy")
    assert percentile(values, q) == pytest.approx(numpy.percentile(values, q), rel=1e-9, abs=1e-6)

"""Workloads that suit a server's context and pace."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.init import traffic
from fixtures.init.traffic import BATCH, Pace

pytestmark = pytest.mark.cpu


@given(st.integers(4, 10**6))
def test_lengths_fit_the_context(context):
    prompt, answer = traffic.lengths(context)
    assert prompt >= 1
    assert answer >= 2
    assert prompt + answer <= context


@given(st.integers(16, 10**6), st.floats(0.001, 100), st.floats(1, BATCH))
def test_workloads_are_valid_and_the_server_keeps_up_with_them(context, request, together):
    pace = Pace(request, request * together)
    chosen = traffic.workloads(*traffic.lengths(context), pace)
    for workload in chosen:
        workload.validate("test")
        assert workload.input_len + workload.output_len <= context
    (online,) = [one for one in chosen if one.kind == "online"]
    assert online.rate <= 0.5 * BATCH / pace.batch * (1 + 1e-9)
    assert traffic.seconds(chosen, pace) > 0


def test_a_slow_server_is_asked_for_less():
    assert traffic.shortened(64, 1.0) == 64
    assert traffic.shortened(64, 16.0) == 16
    assert traffic.shortened(64, 1000.0) == 8
    quick, slow = (traffic.workloads(128, 64, Pace(each, 2 * each)) for each in (0.1, 8.0))
    for one, other in zip(quick, slow, strict=True):
        assert one.repetitions >= other.repetitions
        assert one.requests >= other.requests

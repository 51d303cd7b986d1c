"""What a boot is over the boot beside it: repetition by repetition where both had the same prompts."""

import math

import pytest

from fixtures.session.reference.pairs import partner, ratio
from fixtures.session.reference.protocol import Arm
from perf_tests.fakes.samples import sample

pytestmark = pytest.mark.cpu


def measured(*latencies, **others):
    return sample(latency=sorted(latencies)[len(latencies) // 2], repetitions={"latency": latencies}, **others)


def test_how_long_a_prompt_takes_cancels():
    """The middle of three differs, as it is of other prompts; repetition by repetition all are a tenth slower."""
    first, second = measured(1.0, 2.0, 3.0), measured(1.1, 2.2, 3.3)
    assert ratio(second, first, "latency") == pytest.approx(1.1)
    disturbed = measured(1.1, 9.0, 3.3)
    assert ratio(disturbed, first, "latency") == pytest.approx(1.1), "one that was disturbed does not count"
    assert disturbed.metrics["latency"] / first.metrics["latency"] == pytest.approx(1.65)


@pytest.mark.parametrize(
    ("own", "beside"),
    [
        (measured(1.1, 2.2), measured(1.0, 2.0)),
        (measured(1.1, 2.2, 3.3), measured(1.0, 2.0)),
        (measured(1.1, 2.2, 3.3, metrics={"latency": 2.2, "retried": 1.0}), measured(1.0, 2.0, 3.0)),
    ],
)
def test_otherwise_it_is_that_of_the_boots(own, beside):
    assert ratio(own, beside, "latency") == own.metrics["latency"] / beside.metrics["latency"]


def test_what_has_no_positive_value_has_no_ratio():
    assert math.isnan(ratio(sample(latency=1.0), sample(latency=0.0), "latency"))
    assert math.isnan(ratio(sample(latency=1.0), sample(), "latency"))


def test_boots_are_paired_in_the_order_in_which_they_were_measured():
    judged, other = Arm(None), Arm(None)
    judged.boots["cell"] = [sample("a"), sample("b"), sample("c")]
    other.boots["cell"] = [sample("x"), sample("y", "throttled")]
    assert partner(judged, other, "cell", "a").boot == "x"
    assert partner(judged, other, "cell", "b") is None
    assert partner(judged, other, "cell", "c") is None
    assert partner(judged, other, "another", "a") is None

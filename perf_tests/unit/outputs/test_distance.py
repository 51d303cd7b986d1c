"""How far the outputs of two servers are apart."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.errors import UsageError
from fixtures.outputs.distance import Distance, distance
from fixtures.outputs.output import Output
from perf_tests.unit.outputs.test_output import outputs

pytestmark = pytest.mark.cpu
SEVERAL = st.lists(outputs(), min_size=1, max_size=4)
ONE = Output((-1.0, -2.0), (5, 6), (7, 8, 9), (-0.5, -0.25, -0.125))


@given(SEVERAL)
def test_outputs_are_where_they_are(several):
    assert distance(several, several) == Distance(0, 0, 0, 0)


@given(st.lists(st.tuples(outputs(), outputs()), min_size=1, max_size=4))
def test_a_distance_has_no_direction(pairs):
    own, other = zip(*pairs, strict=True)
    there, back = distance(own, other), distance(other, own)
    assert dataclasses.astuple(there) == pytest.approx(dataclasses.astuple(back))
    assert there.difference >= 0
    assert 0 <= there.others <= 1


@given(SEVERAL, st.floats(0.001, 5))
def test_a_shift_of_all_log_probabilities_is_the_distance(several, shift):
    moved = [
        dataclasses.replace(
            one,
            logprobs=tuple(v - shift for v in one.logprobs),
            answer_logprobs=tuple(v - shift for v in one.answer_logprobs),
        )
        for one in several
    ]
    found = distance(several, moved)
    assert (found.prompt, found.answer) == pytest.approx((shift, shift))
    assert found.others == 0


def test_prompt_and_answer_are_told_apart():
    worse = dataclasses.replace(ONE, logprobs=(-1.0, -2.5), likeliest=(5, 7))
    assert distance([ONE, ONE], [ONE, worse]) == Distance(0.125, 0, 0.25, 0)


def test_an_answer_is_followed_up_to_the_first_other_token():
    # What follows it answers another prompt, and may differ by any amount.
    other = dataclasses.replace(ONE, answer=(7, 1, 9), answer_logprobs=(-0.75, -9.0, -9.0))
    assert distance([ONE], [other]) == Distance(0, 0.25, 0, 0.5)
    first = dataclasses.replace(ONE, answer=(1, 8, 9), answer_logprobs=(-9.0, -9.0, -9.0))
    assert distance([ONE], [first]) == Distance(0, 0, 0, 1)


def test_outputs_of_other_prompts_are_not_compared():
    shorter = dataclasses.replace(ONE, logprobs=(-1.0,), likeliest=(5,))
    for own, other in (([ONE], [shorter]), ([ONE], [ONE, ONE]), ([], [])):
        with pytest.raises(UsageError, match="of other prompts"):
            distance(own, other)

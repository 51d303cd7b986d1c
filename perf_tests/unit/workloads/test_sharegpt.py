"""The real ShareGPT file."""

import json

import pytest

from fixtures.client.plan import plan
from fixtures.errors import UsageError
from fixtures.workloads import sharegpt
from fixtures.workloads.sharegpt import SALT_TOKENS
from fixtures.workloads.traffic import traffic
from fixtures.workloads.workload import Workload

pytestmark = pytest.mark.cpu
OFFLINE = Workload("w", "offline", num_prompts=50, input_len=20, output_len=30, lengths="sharegpt")


QUESTION, ANSWER = "tell me something " * 4, "an answer of some length " * 4


def turn(speaker, value):
    return {"from": speaker, "value": value}


def entry(*turns):
    return {"conversations": list(turns)}


GOOD = entry(turn("human", QUESTION), turn("gpt", ANSWER))


def parse(*entries, encode=None, max_total=2048):
    return sharegpt.parse(json.dumps(entries), "f", encode, max_total)


def letters(text):
    return list(text.encode())


def test_the_filters_are_those_of_vllm():
    short, long = (
        entry(turn("human", "hi"), turn("gpt", "x" * 400)),
        entry(turn("human", "y" * 5000), turn("gpt", "z" * 40)),
    )
    together = entry(turn("human", "y" * 4000), turn("gpt", "z" * 5000))
    found = parse(short, GOOD, long, long, together)
    (kept,) = found
    assert (kept.input_len, kept.output_len, kept.prompt) == (18, 25, None)
    assert found.left_out == {
        "with a prompt of more than 1,024 tokens": (2, 2),
        "of less than 4 tokens": (1, 0),
        "of more than 2,048 tokens together": (1, 4),
    }
    assert str(found) == (
        "lengths alone (there is no tokenizer.json: prompts are random tokens, lengths estimated from characters): "
        "1 of 5 conversations; 2 with a prompt of more than 1,024 tokens (first: entry 2); "
        "1 of less than 4 tokens (first: entry 0); 1 of more than 2,048 tokens together (first: entry 4)"
    )


@pytest.mark.parametrize(
    ("odd", "why"),
    [
        (entry(turn("human", QUESTION), turn("gpt", None)), "whose turns hold no text as 'value'"),
        (entry(turn("human", [{"type": "text"}]), turn("gpt", ANSWER)), "whose turns hold no text as 'value'"),
        (entry(turn("human", QUESTION), {"from": "gpt"}), "whose turns hold no text as 'value'"),
        (entry(turn("human", QUESTION), {"from": "function_call"}), "without a user's turn that an assistant answers"),
        (entry(turn("gpt", ANSWER), turn("human", QUESTION)), "without a user's turn that an assistant answers"),
        (entry(turn("human", QUESTION)), "without a user's turn that an assistant answers"),
        (entry(turn(["human"], QUESTION), turn("gpt", ANSWER)), "without a user's turn that an assistant answers"),
        (entry(), "without a user's turn that an assistant answers"),
        ({"conversations": None}, "without a list of turns as 'conversations'"),
        ({"conversations": ["x"]}, "without a list of turns as 'conversations'"),
        ({"id": "1"}, "without a list of turns as 'conversations'"),
        (None, "without a list of turns as 'conversations'"),
    ],
)
def test_an_odd_entry_is_left_out_with_its_number(odd, why):
    found = parse(GOOD, odd, GOOD)
    assert (len(found), found.left_out) == (2, {why: (1, 1)})
    with pytest.raises(UsageError, match="f: no conversation passes the filters: 1 .*entry 0"):
        parse(odd)


@pytest.mark.parametrize(
    "turns",
    [
        [turn("system", "be polite " * 9), turn("human", QUESTION), turn("gpt", ANSWER)],
        [turn("gpt", "welcome " * 9), turn("human", QUESTION), turn("gpt", ANSWER)],
        [turn("human", "hm " * 9), turn("user", QUESTION), turn("assistant", ANSWER), turn("human", "thanks")],
        [{"value": QUESTION}, {"value": ANSWER}],
    ],
)
def test_a_prompt_is_what_a_user_said(turns):
    (found,) = parse(entry(*turns), encode=letters)
    assert (list(found.prompt), found.output_len) == (letters(QUESTION), len(ANSWER))


def test_the_text_is_sent_behind_a_salt_that_no_repetition_shares():
    """A cache that holds the tokens of one repetition has none of the next one's, nor of a text that is sent twice."""
    dataset = parse(GOOD, encode=letters, max_total=1024)
    sent = [request.prompt for label in ("warm", "0", "1") for request in plan(OFFLINE, 32_000, 1024, label, dataset)]
    assert {tuple(prompt[SALT_TOKENS:]) for prompt in sent} == {tuple(letters(QUESTION))}
    assert len({tuple(prompt[:SALT_TOKENS]) for prompt in sent}) == len(sent) == 3 * OFFLINE.num_prompts
    assert plan(OFFLINE, 32_000, 1024, "0", dataset) == plan(OFFLINE, 32_000, 1024, "0", dataset)
    arrivals = traffic(OFFLINE, 1024, dataset)
    assert {one.input_len for one in arrivals} == {len(sent[0])}, "what the client's counts are held against"


def test_the_salt_is_within_the_limits():
    most = 1024 - len(ANSWER) - SALT_TOKENS
    fits, long = (entry(turn("human", "x" * length), turn("gpt", ANSWER)) for length in (most, most + 1))
    assert len(parse(fits, long, encode=letters, max_total=1024)) == 1
    (request, *_) = plan(OFFLINE, 1000, 1024, "s", parse(fits, encode=letters, max_total=1024))
    assert len(request.prompt) + request.output_len == 1024


@pytest.mark.parametrize("text", ["nonsense", "{}", "[]", '[{"conversations": 3}]', '[{"other": []}]', "3", "[" * 9000])
def test_a_file_that_is_not_sharegpt(text):
    with pytest.raises(UsageError, match="^f: "):
        sharegpt.parse(text, "f", None, 2048)

"""The real ShareGPT file."""

import dataclasses
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


def parse(*entries, encode=None, max_total=2048, turns=1):
    return sharegpt.parse(json.dumps(entries), "f", encode, max_total, turns)


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


def said(turns):
    """An entry of so many turns, each of other words."""
    return entry(
        *(one for i in range(turns) for one in (turn("human", f"{QUESTION}{i}"), turn("gpt", f"{ANSWER}{i}" * (i + 1))))
    )


TALK = Workload("t", "conversations", rate=5, num_prompts=3, turns=3, input_len=9, output_len=9, lengths="sharegpt")


def test_further_turns_are_kept_as_far_as_they_are_asked_for_and_answered():
    (one,) = parse(said(5), turns=3)
    assert [later.output_len for later in one.later] == [50, 75]
    assert parse(said(5))[0].later == ()
    broken = entry(
        *said(2)["conversations"], turn("human", "and then?"), turn("system", "no"), *said(1)["conversations"]
    )
    assert len(parse(broken, turns=4)[0].later) == 1, "up to the first that nobody answers"
    empty = entry(*said(2)["conversations"], turn("human", ""), turn("gpt", ANSWER))
    assert len(parse(empty, turns=4)[0].later) == 1


def test_conversations_are_the_files_own_turn_by_turn():
    dataset = parse(said(3), said(4), GOOD, encode=letters, turns=3)
    found = traffic(TALK, 2048, dataset)
    assert [one.follows for one in found] == [None, 0, 1, None, 3, 4, None, 6, 7]
    assert [one.prompt for one in found[:3]] == [tuple(letters(f"{QUESTION}{i}")) for i in range(3)]
    assert found[0].input_len == len(found[0].prompt) + SALT_TOKENS, "a cache that knows the text serves none of it"
    assert found[1].input_len == len(found[1].prompt)
    requests = plan(TALK, 1000, 2048, "seed", dataset)
    assert requests[1].prompt == letters(f"{QUESTION}1")
    assert all(one.tells_ids for one in requests)
    assert requests[0].prompt[:SALT_TOKENS] != requests[6].prompt[:SALT_TOKENS], "the same text again"


def test_a_file_without_conversations_long_enough_is_refused():
    dataset = parse(said(2), GOOD, turns=3)
    with pytest.raises(UsageError, match="'t': no conversation has 3 turns that fit into 2,048 tokens"):
        traffic(TALK, 2048, dataset)
    with pytest.raises(UsageError, match="fit into 100 tokens: ask for fewer turns"):
        traffic(TALK, 100, parse(said(3), turns=3))


def test_drawn_turns_fit_into_the_context_together():
    drawn = dataclasses.replace(TALK, num_prompts=40, input_len=20, output_len=30, think_time=1.5)
    found = traffic(drawn, 600)
    totals = [sum(one.input_len + one.output_len for one in found[i : i + 3]) for i in range(0, 120, 3)]
    assert max(totals) <= 600
    thought = [one.at for one in found if one.follows is not None]
    assert sum(thought) / len(thought) == pytest.approx(1.5, rel=0.4)
    assert found == traffic(drawn, 600), "the same in every run"

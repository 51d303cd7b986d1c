"""Prefill and decode of a server whose times are known, and what is sent for them."""

import dataclasses
import itertools
import os
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.client.load import run
from fixtures.client.plan import plan
from fixtures.deployments.cell import cells
from fixtures.deployments.server import Server
from fixtures.engines.boot import Boot, attach
from fixtures.engines.usage import usage
from fixtures.errors import EngineError
from fixtures.session.measurer import Measurer
from fixtures.session.repetitions import FIRST_WARM, WARM, Repetitions, requests_of
from fixtures.session.rounds import plain_rounds
from fixtures.session.seat import Seat
from fixtures.session.warm_up import WITHOUT_CARD_TOKENS
from fixtures.workloads.repetitions import trimmed_mean
from fixtures.workloads.workload import Workload
from perf_tests.fakes.deployments import head, load, workload
from perf_tests.fakes.server_process import mock_server, server_log

pytestmark = pytest.mark.cpu

TTFT, OTHER, GAP = 0.03, 0.06, 0.02
TOKENS, REPETITIONS, FIRSTS = 6, 3, 10
FIELDS = {"input_len": 24, "output_len": TOKENS, "repetitions": REPETITIONS, "first_repetitions": FIRSTS}
# A busy machine's client is late in some repetition, which is measured again, or sees everything late.
ATTEMPTS = 8
NEAR = 0.25


class Timed:
    """A cell measured on the mock server, and the truth by its log: seconds of each repetition of one token, and in full."""

    def __init__(self, directory, kind, size, options, **changes):
        count = {"batch_size": size} if kind == "batch" else {"num_prompts": size}
        chosen = load(directory, head() + workload("cell", kind, **(FIELDS | count | changes)))
        (cell,) = cells(chosen)
        for _ in range(5):  # on a busy machine the client is late now and then, and measures again
            with mock_server("--ttft", str(TTFT), "--gap", str(GAP), *options) as url:
                self.sample = Measurer(chosen, []).measure(cell, attach(Server(url), "mock"))
                log = server_log(url)
            if "retried" not in self.sample.metrics:
                break
        total = size * (REPETITIONS + sum(cell.workload.firsts(on_card=False)))
        self.warm_up, self.log = log[:-total], log[-total:]
        runs = [self.log[i : i + size] for i in range(0, total, size)]
        ends = [max(one["written"][-1] for one in run) - min(one["received"] for one in run) for run in runs]
        single = [{one["tokens"] for one in run} == {1} for run in runs]
        self.others = sum(run[0]["last"] % 2 for run, one in zip(runs, single, strict=True) if one)
        self.firsts = [end for end, one in zip(ends, single, strict=True) if one]
        self.full = [end for end, one in zip(ends, single, strict=True) if not one]
        self.order = single

    @property
    def prefill(self):
        return trimmed_mean(self.firsts)

    @property
    def decode(self):
        return statistics.fmean(self.full) - self.prefill

    def check(self):
        """What holds however busy the machine is."""
        found, repetitions = self.sample.metrics, self.sample.repetitions
        seconds = repetitions["latency" if "latency" in repetitions else "duration"]
        # The client sends before the server receives, and sees what was written.
        for seen, true in zip(repetitions["prefill_time"] + seconds, self.firsts + self.full, strict=True):
            assert seen >= true
        assert found["prefill_time"] == trimmed_mean(repetitions["prefill_time"])
        ahead = iter(repetitions["prefill_time"])
        parts = [list(itertools.islice(ahead, count)) for count in (4, 3, 3)]
        decode = [one - statistics.fmean(some) for one, some in zip(seconds, parts, strict=True)]
        own = repetitions.get("decode_time") or [step * (TOKENS - 1) for step in repetitions["decode_step"]]
        assert list(own) == pytest.approx(decode)

    def near(self, name, truth):
        return abs(self.sample.metrics[name] / truth - 1) < NEAR


def timed(directory, near, *arguments, **changes):
    """One that the client was never late in, and in which these metrics are near the truth."""
    for _ in range(ATTEMPTS):
        found = Timed(directory, *arguments, **changes)
        if "retried" in found.sample.metrics:
            continue
        found.check()
        if all(found.near(name, truth(found)) for name, truth in near.items()):
            break
    assert "retried" not in found.sample.metrics
    for name, truth in near.items():
        assert found.sample.metrics[name] == pytest.approx(truth(found), rel=NEAR), name
    return found


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("options", [(), ("--other-ttft", str(OTHER))])
def test_the_parts_of_a_batch_are_the_servers_by_its_log_streamed_or_not(tmp_path, stream, options):
    near = {"prefill_time": lambda one: one.prefill, "decode_step": lambda one: one.decode / (TOKENS - 1)}
    if stream:
        near |= {"tpot_p50": lambda one: GAP, "ttft_first": lambda one: one.sample.metrics["prefill_time"]}
    if not options:
        near["decode_step"] = lambda one: GAP
    found = timed(tmp_path, near, "batch", 1, options, stream=stream)
    if stream and not options:
        step, tpot = (found.sample.metrics[name] for name in ("decode_step", "tpot_p50"))
        assert step == pytest.approx(tpot, rel=2 * NEAR)
    assert ("ttft_first" in found.sample.metrics) == stream


def test_prefill_in_two_modes_is_between_them_by_their_shares(tmp_path):
    def by_shares(one):
        return TTFT + (OTHER - TTFT) * (one.others - 1) / (FIRSTS - 2)

    found = timed(tmp_path, {"prefill_time": by_shares}, "batch", 1, ("--other-ttft", str(OTHER)))
    assert 1 < found.others < FIRSTS - 1, "prompts are seeded: so many end with an odd id"
    assert found.prefill == pytest.approx(by_shares(found), rel=NEAR)
    assert found.sample.metrics["prefill_time"] == pytest.approx(found.prefill, rel=NEAR)


def test_offline_decode_is_the_rest_of_the_time(tmp_path):
    near = {"prefill_time": lambda one: one.prefill, "decode_time": lambda one: one.decode}
    found = timed(tmp_path, near, "offline", 3, (), stream=False)
    assert "decode_step" not in found.sample.metrics


def test_some_go_ahead_of_each_repetition_with_prompts_of_their_own_and_a_warm_up(tmp_path):
    found = timed(tmp_path, {}, "batch", 2, ())
    assert found.order == [True] * 4 + [False] + [True] * 3 + [False] + [True] * 3 + [False]
    prompts = [one["prompt"] for one in found.log]
    assert len(set(prompts)) == len(prompts)
    assert set(prompts).isdisjoint(one["prompt"] for one in found.warm_up)
    assert {one["tokens"] for one in found.warm_up} == {1, WITHOUT_CARD_TOKENS}


def test_without_them_nothing_more_is_sent(tmp_path):
    found = Timed(tmp_path, "batch", 2, (), first_repetitions=0)
    assert {one["tokens"] for one in found.warm_up} == {WITHOUT_CARD_TOKENS}
    assert {one["tokens"] for one in found.log} == {TOKENS}
    assert not {"prefill_time", "ttft_first", "decode_step"} & found.sample.metrics.keys()
    assert "repetition_spread" in found.sample.metrics


def test_two_engines_on_cards_are_asked_more_often_still(tmp_path):
    batch = workload("cell", "batch", batch_size=128, input_len=8, output_len=3, repetitions=REPETITIONS)
    chosen = load(tmp_path, head(["llama-3.1-8b"], hardware="H200") + batch)
    with (
        mock_server("--ttft", "0.004", "--gap", "0.01") as one,
        mock_server("--ttft", "0.004", "--gap", "0.01") as other,
    ):
        seats = [Seat(cells(chosen)[0], attach(Server(url), "mock")) for url in (one, other)]
        both = Measurer(chosen, []).measure_in_turn(seats, plain_rounds)
    assert [len(sample.repetitions["prefill_time"]) for sample in both] == [20, 20]


@pytest.mark.parametrize(("hardware", "count"), [("H200", 32), ("cpu", REPETITIONS)])
def test_a_card_is_asked_more_often_than_a_processor(tmp_path, hardware, count):
    """By the deployment: whether the server runs on one is not asked."""
    batch = workload("cell", "batch", batch_size=1, input_len=8, output_len=3, repetitions=REPETITIONS)
    chosen = load(tmp_path, head(["llama-3.1-8b"], hardware=hardware) + batch)
    with mock_server("--ttft", "0.004", "--gap", "0.05") as url:
        sample = Measurer(chosen, []).measure(cells(chosen)[0], attach(Server(url), "mock"))
    assert [len(sample.repetitions[name]) for name in ("prefill_time", "decode_step")] == [count, REPETITIONS]


WORKLOAD = Workload("w", "batch", batch_size=1, input_len=8, output_len=3, repetitions=2)
LATE_SECONDS = 0.1


class Labelled:
    """Repetitions on a mock server, one of one token ahead of each; those of ``late`` labels are sent as if long due."""

    def __init__(self, url, late=()):
        self.asked, self.notes = list[str](), list[str]()
        self._late = late
        server = attach(Server(url), "mock")
        self.runs = Repetitions(WORKLOAD, (1, 1), server, self._requests, lambda phase: None, run, lambda: None)
        plain_rounds(self.runs.measure, self.runs.ahead, WORKLOAD.repetitions)
        self.runs.retry(self.notes.append)

    def _requests(self, label):
        self.asked.append(label)
        planned = plan(WORKLOAD, 1000, 64, label)
        return [dataclasses.replace(one, scheduled=-LATE_SECONDS * (label in self._late)) for one in planned]


def labelled(late, expected, invalid):
    """One in which the client was late in nothing else, if a busy machine lets it."""
    for _ in range(ATTEMPTS):
        with mock_server("--ttft", "0.01", "--gap", "0.01") as url:
            found = Labelled(url, late)
        if (found.asked, of_invalid(found)) == (expected, invalid):
            break
    assert (found.asked, of_invalid(found)) == (expected, invalid)
    return found


def of_invalid(found):
    """Which of its repetitions are invalid; the client may also have read late."""
    return [bool(one.summary.invalid_reason()) for one in found.runs.all]


def test_of_a_repetition_and_those_ahead_of_it_only_what_was_late_is_measured_again():
    found = labelled({"first/1"}, ["first/0", "0", "first/1", "1", "first/1 again"], [False] * 4)
    assert len(found.runs.replaced) == 1
    assert [one.label for one in found.runs.all] == ["first/0", "0", "first/1 again", "1"]
    assert found.notes[0].startswith("first token 2: the client sent p99 ")


def test_late_again_is_invalid_and_the_end_of_it():
    asked = ["first/0", "0", "first/1", "1", "first/0 again"]
    labelled({"first/0", "first/0 again", "1"}, asked, [True, False, False, True])


def test_a_request_for_the_first_token_that_fails_fails_the_cell():
    with mock_server("--fault", "http-500", "--after", "1") as url:
        found = Labelled(url)
    with pytest.raises(EngineError, match=r"^3 of 4 requests failed, most often: HTTP 500"):
        found.runs.refuse_failed()


@pytest.mark.parametrize(("most", "accounted"), [(None, [True] * 6), (1, [True, False, False] * 2)])
def test_one_by_one_those_ahead_are_sent_at_once_and_only_the_first_is_accounted_for(monkeypatch, most, accounted):
    """The processor's time of this process stands for a server's; what was late is accounted for as it was."""
    monkeypatch.setattr(Boot, "usage", lambda self: usage([os.getpid()]))
    with mock_server("--ttft", "0.01", "--gap", "0.01") as url:
        server = attach(Server(url), "mock")

        def requests(label):
            late = LATE_SECONDS * (label in ("first/0", "first/1"))
            return [dataclasses.replace(one, scheduled=-late) for one in plan(WORKLOAD, 1000, 64, label)]

        def send(target, requests, concurrency):
            at_once.append(target.at_once)
            return run(target, requests, concurrency)

        at_once = []
        runs = Repetitions(WORKLOAD, (3, 3), server, requests, lambda phase: None, send)
        for i in range(2):
            while runs.ahead(i, most):
                pass
            runs.measure(i)
        assert at_once == ([most == 1] * 3 + [False]) * 2
        del at_once[:]
        runs.retry(lambda note: None)
    assert at_once[:2] == [most == 1] * 2
    assert [one.label for one in runs.firsts[0]][:2] == ["first/0 again", "first/1 again"]
    assert [one.before is not None for own in runs.firsts for one in own] == accounted
    assert all(one.before and one.after for one in runs.full)
    assert [(one.before is None, one.host is None) for one in runs.all if one.before is None] == [
        (True, True)
    ] * accounted.count(False)


LONG_NAMES = st.text(st.characters(exclude_characters="/", codec="utf-8"), min_size=1, max_size=12)
LABELS = [WARM, FIRST_WARM] + [
    f"{label}{again}" for i in range(4) for label in (f"{i}", f"first/{i}") for again in ("", " again")
]


@given(st.lists(LONG_NAMES, min_size=1, max_size=2, unique=True), st.integers(1, 3), st.sampled_from(["", "x"]))
def test_no_repetition_shares_a_prompt_with_another_whatever_its_workload_is_called(names, size, salt):
    names += [f"{name} first" for name in names] + [f"{names[0]} 0", f"{names[0]} first 0"]
    found = [
        tuple(request.prompt)
        for name in dict.fromkeys(names)
        for label in LABELS
        for request in requests_of(
            lambda label, name=name: plan(
                Workload(name, "batch", batch_size=size, input_len=12, output_len=4),
                32_000,
                64,
                f"{name} {label} {salt}",
            ),
            label,
        )
    ]
    assert len(set(found)) == len(found)


def test_a_closed_loop_of_new_connections_is_sent_as_one():
    asked = []

    def sent(target, requests, concurrency):
        asked.append((target.new_connections, len(requests), concurrency))
        return run(target, requests, concurrency)

    workload = dataclasses.replace(WORKLOAD, kind="offline", num_prompts=6, concurrency=2, new_connections=True)
    with mock_server("--ttft", "0.02", "--gap", "0.01") as url:
        server = attach(Server(url), "mock")
        runs = Repetitions(workload, (0, 0), server, lambda label: plan(workload, 1000, 64, label), print, sent, list)
        runs.measure(0)
        spans = [(entry["received"], entry["written"][-1]) for entry in server_log(url)]
    assert asked == [(True, 6, 2)]
    assert max(sum(begin <= moment < end for begin, end in spans) for moment, _ in spans) == 2

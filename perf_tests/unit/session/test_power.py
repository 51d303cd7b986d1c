"""What a summary says of the verdicts on times: what could have been found, and how to get more."""

import dataclasses

import pytest

from fixtures.deployments.cell import cells
from fixtures.deployments.deployment import load
from fixtures.engines.registry import ENGINES
from fixtures.gate.verdict import Outcome, Verdict
from fixtures.session.power import power, saturated
from fixtures.session.session import Session
from perf_tests.fakes.judging import commit, judge_beside
from perf_tests.fakes.samples import sample

pytestmark = pytest.mark.cpu


def verdict(outcome, detectable=None):
    return Verdict(outcome, 1.0, 1.0, 0.0, "", detectable, error=None if detectable is None else detectable / 10)


@pytest.fixture
def session(tmp_path):
    def of(instruction_set="avx512_bf16", cores=2, processors=(), **changes):
        """A session of the main job whose baseline has a boot of each of these processors."""
        chosen = dataclasses.replace(load("cpu", ENGINES).on(instruction_set, cores), **changes)
        every = cells(chosen)
        judge = judge_beside(chosen, every, tmp_path)
        boots = [sample(name, provenance={"instruction_set": name}) for name in processors]
        if boots:
            commit(judge, {every[0]: boots})
        judge.read_baselines()
        return Session(judge, None, tmp_path)

    return of


RATIO, OTHER, RELATION, COUNT = "latency_to_dense", "cpu_time_to_dense", "idle_cores", "completed"


def test_what_was_judged_on_times_is_counted_apart(session):
    night = session(processors=["avx512_bf16"])
    night.verdicts.update(
        {
            ("a", RATIO): verdict(Outcome.PASS, 0.094),
            ("b", RATIO): verdict(Outcome.REGRESSION, 0.142),
            ("b", OTHER): verdict(Outcome.NO_BASELINE),
            ("c", OTHER): verdict(Outcome.INVALID),
            ("c", RELATION): verdict(Outcome.PASS),
            ("c", COUNT): verdict(Outcome.PASS),
        }
    )
    judged, more = power(night)
    assert judged == (
        "timed metrics judged: 3 of 5, 2 against a baseline, which finds four times out of five what is worse by 9% to 14%, "
        "1 by relations within this run, which need none; the other verdicts are on counts, sizes and outputs"
    )
    assert more == (
        "to find more: --update-baselines=append on this machine gives 1 more a baseline; "
        "no boot yet of a processor with amx_bf16, bf16"
    )


def test_too_few_boots_find_nothing(session):
    night = session(processors=["avx512_bf16"])
    few = dataclasses.replace(verdict(Outcome.PASS), error=0.01)
    night.verdicts.update({("a", RATIO): few, ("b", RATIO): few})
    found = next(iter(power(night)))
    assert "2 of 2, 2 against a baseline, which finds nothing in fewer than 3 boots (--max-boots), 0 by" in found


def test_a_first_run_says_that_nothing_was_compared(session):
    night = session("avx2")
    night.verdicts.update({("a", RATIO): verdict(Outcome.NO_BASELINE), ("a", RELATION): verdict(Outcome.PASS)})
    judged, more = power(night)
    assert judged.startswith("timed metrics judged: 1 of 2, none against a baseline, 1 by relations within this run")
    assert more.endswith("no boot yet of a processor with avx512f, avx2, asimd")


def test_where_nothing_would_find_half_the_threads_that_is_said(session):
    night = session("amx_bf16", cores=16)
    night.verdicts.update({("a", RATIO): verdict(Outcome.NO_BASELINE)})
    assert "half the threads for both models would not be found here" in list(power(night))[1]
    night.verdicts.update({("a", RELATION): verdict(Outcome.INCONCLUSIVE)})  # the kernel does not say
    assert "half the threads for both models would not be found here" in list(power(night))[1]
    night.verdicts.update({("a", RELATION): verdict(Outcome.PASS)})
    assert "half the threads" not in list(power(night))[1]


def test_nothing_is_said_where_nothing_was_judged_and_without_rows(session):
    assert list(power(session())) == []
    night = session(row="")
    night.verdicts.update({("a", RATIO): verdict(Outcome.PASS), ("a", COUNT): verdict(Outcome.PASS)})
    assert list(power(night)) == []


def test_a_rate_that_the_machine_does_not_keep_up_with_is_named(session):
    night = session()
    online = [cell for cell in night.cells if cell.workload.name in ("online-1", "online-8")][:2]
    served = {"online-1": 0.9, "online-8": 3.9}
    night.boots.update({cell: [sample("1", request_throughput=served[cell.workload.name])] for cell in online})
    assert saturated(night) == [online[1].id]

"""The course of a search: what is measured, what is kept, and that it goes on where it was cut off."""

import dataclasses

import numpy as np
import pytest

from fixtures.bisect import course, table
from fixtures.bisect.evidence import Side
from fixtures.bisect.records import SESSIONS, Record, Records
from fixtures.bisect.regression import Regression
from fixtures.errors import UsageError
from fixtures.gate.noise import PooledNoise
from fixtures.studies.bisect.__main__ import main as study

pytestmark = pytest.mark.cpu
ENGINES = [f"v{i}" for i in range(9)]
ONE = Regression("vllm/m/tp1/batch-8", "latency", 0.10)
OTHER = Regression("vllm/m/tp1/batch-1", "total_throughput", 0.20)
NOISE = {one.name: PooledNoise(0.01**2, 30) for one in (ONE, OTHER)}


class Engines:
    """Boots engines whose first bad one is known."""

    def __init__(self, latency, throughput=99, broken=(), disturbed=()):
        self.latency, self.throughput, self.broken, self.disturbed = latency, throughput, broken, disturbed
        self.sessions, self.random = [], np.random.default_rng(1)

    def __call__(self, engine, regressions, pairs):
        number = ENGINES.index(engine)
        self.sessions.append(engine)
        if number in self.broken:
            return Record(engine, skipped="the server ended with status 1")
        if number in self.disturbed:
            return Record(engine, disturbed="another program had the cores")
        levels = {
            ONE.name: 1.1 if number >= self.latency else 1.0,
            OTHER.name: 0.8 if number >= self.throughput else 1.0,
        }
        ratios = {
            one.name: tuple(levels[one.name] * float(self.random.normal(1, 0.014)) for _ in range(pairs))
            for one in regressions
        }
        chose = {"vllm/m/tp1": {"runner": "V2" if number >= self.latency else "V1", "version": engine}}
        return Record(engine, ratios, choices=chose, reference={"vllm/m/tp1": {"runner": "V1", "version": "v0"}})


def search(tmp_path, engines, regressions=(ONE,)):
    records = Records(tmp_path, ENGINES, regressions)
    return course.search(ENGINES, regressions, records, engines, NOISE), records


def test_the_first_bad_engine_is_found_and_what_it_chose_otherwise(tmp_path):
    (found,), records = search(tmp_path, engines := Engines(5))
    assert (found.suspects, found.confirmed) == ((5,), True)
    assert set(engines.sessions) == {"v4", "v6", "v5"}
    assert 0 < found.wrong < 0.02
    text = table.text(ENGINES, [found], records)
    assert "First bad: v5 (a wrong turn was taken with a probability of 0." in text
    assert "Otherwise than in v4:" in text
    assert [line.split() for line in text.splitlines() if line.startswith("runner")] == [
        ["runner", "V1", "V2", "vllm/m/tp1"]
    ]
    assert "boots in" in text


def test_several_regressions_share_sessions(tmp_path):
    both, _ = search(tmp_path / "both", engines := Engines(5, 5), (ONE, OTHER))
    assert [one.suspects for one in both] == [(5,), (5,)]
    assert set(engines.sessions) == {"v4", "v6", "v5"}
    apart, _ = search(tmp_path / "apart", Engines(2, 7), (ONE, OTHER))
    assert [one.suspects for one in apart] == [(2,), (7,)]


def test_what_does_not_boot_or_cannot_be_measured_is_skipped_and_said(tmp_path):
    (found,), records = search(tmp_path, engines := Engines(5, broken=(4,), disturbed=(3,)))
    assert found.suspects == (3, 4, 5)
    text = table.text(ENGINES, [found], records)
    assert "skipped: v4: the server ended with status 1" in text
    assert engines.sessions.count("v3") == SESSIONS
    assert "skipped: v3: disturbed in 3 sessions, at last: another program had the cores" in text
    (none,), records = search(tmp_path / "all", Engines(5, broken=range(1, 9)))
    assert not none.confirmed
    assert "It may be v1, v2" in table.text(ENGINES, [none], records)


def test_what_was_told_of_one_regression_stays_where_another_is_disturbed(tmp_path):
    engines, records = Engines(5, 5), Records(tmp_path, ENGINES, (ONE, OTHER))

    def measure(engine, regressions, pairs):
        found = engines(engine, regressions, pairs)
        if engine != "v4" or OTHER not in regressions:
            return found
        kept = {name: own for name, own in found.ratios.items() if name != OTHER.name}
        return dataclasses.replace(found, ratios=kept, disturbed="another program had the cores")

    one, other = course.search(ENGINES, (ONE, OTHER), records, measure, NOISE)
    assert (one.suspects, other.suspects) == ((5,), (4, 5))
    assert one.judged[4].side == Side.GOOD


def test_pairs_that_do_not_count_are_said(tmp_path):
    records = Records(tmp_path, ENGINES[:2], (ONE,))
    records.add(Record("v1", {ONE.name: (1.1, 0.92, 1.1, 1.11, 1.1)}))
    found = course.search(ENGINES[:2], (ONE,), records, lambda *_: pytest.fail("all is known"), NOISE)
    row = next(line for line in table.text(ENGINES[:2], found, records).splitlines() if line.startswith("v1"))
    assert row.split()[-4:] == ["4", "of", "5", "bad"]


def test_the_cost_counts_the_boots_and_sessions_that_were(tmp_path):
    records = Records(tmp_path, ENGINES, (ONE,))
    for one in (
        Record("v4", {ONE.name: (1.0, 1.0)}, run="session-001-v4", boots=4),
        Record("v6", skipped="cannot be built"),
    ):
        records.add(one)
    assert table.text(ENGINES, [], records).endswith("skipped: v6: cannot be built\n4 boots in 1 session")


def test_a_regression_that_no_engine_has_is_said_not_found(tmp_path):
    (found,), records = search(tmp_path, Engines(99))
    assert found.suspects == ()
    assert "No engine is worse than v0 by this much" in table.text(ENGINES, [found], records)


def test_a_search_that_was_cut_off_goes_on_and_measures_nothing_again(tmp_path):
    engines, left = Engines(5), iter(range(3))

    def cut(*arguments):
        next(left)  # StopIteration at the fourth
        return engines(*arguments)

    with pytest.raises(StopIteration):
        search(tmp_path, cut)
    before = list(engines.sessions)
    with (tmp_path / "bisect.jsonl").open("a") as file:
        file.write('{"engine": "v6", "rat')
    (found,), records = search(tmp_path, engines)
    assert found.suspects == (5,)
    assert len(records.found) == len(engines.sessions)
    assert len(before) == 3
    (again,), _ = search(tmp_path, Engines(1))
    assert again.suspects == (5,), "all was known"


def test_a_file_of_another_search_is_refused(tmp_path):
    search(tmp_path, Engines(5))
    for engines, options in ((ENGINES[1:], ()), (ENGINES, ("--deployment=other",))):
        with pytest.raises(
            UsageError, match="a search of other engines, regressions or options; give another --artifacts"
        ):
            Records(tmp_path, engines, [ONE], options)


def test_a_command_that_measured_nothing_may_be_corrected(tmp_path):
    Records(tmp_path, ENGINES, [ONE], ("--deployment=typo",))
    records = Records(tmp_path, ENGINES, [ONE], ("--deployment=cpu",))
    records.add(Record("v4", skipped="cannot be built"))
    assert Records(tmp_path, ENGINES, [ONE], ("--deployment=cpu",)).found == records.found


def test_the_study_prints_how_often_it_is_right(capsys):
    assert study(["--searches", "3", "--engines", "4"]) == 0
    assert capsys.readouterr().out.count("5%      0.5%  30% by 4%, two speeds") == 2
    assert study(["--engines", "1"]) == 2

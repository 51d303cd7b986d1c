"""The course of a search: what is measured, what is kept, and that it goes on where it was cut off."""

import dataclasses

import numpy as np
import pytest

from fixtures.bisect import course, evidence, table
from fixtures.bisect.course import Found
from fixtures.bisect.evidence import Side
from fixtures.bisect.records import SESSIONS, Record, Records
from fixtures.bisect.regression import Regression
from fixtures.errors import UsageError
from fixtures.gate.noise import PooledNoise
from fixtures.studies.bisect.__main__ import main as study

pytestmark = pytest.mark.cpu
ENGINES = [f"v{i}" for i in range(9)]
PLACES = {name: f"/envs/{name}" for name in ENGINES}
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
        names = [one.name for one in regressions]
        if number in self.broken:
            return Record(engine, skipped=dict.fromkeys(names, "the server ended with status 1"))
        if number in self.disturbed:
            return Record(engine, disturbed=dict.fromkeys(names, "another program had the cores"))
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
    records = Records(tmp_path, PLACES, regressions)
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


@pytest.mark.parametrize(
    ("why", "sessions"), [("disturbed", SESSIONS), ("skipped", 1)], ids=["disturbed", "cannot be measured"]
)
def test_what_one_regression_cannot_be_told_for_is_told_for_another(tmp_path, why, sessions):
    engines, records, without = Engines(5, 5), Records(tmp_path, PLACES, (ONE, OTHER)), []

    def measure(engine, regressions, pairs):
        found = engines(engine, regressions, 1)  # so that one pair after the other is asked for
        if engine != "v4" or OTHER not in regressions:
            return found
        without.append(engine)
        kept = {name: own for name, own in found.ratios.items() if name != OTHER.name}
        return dataclasses.replace(found, ratios=kept, **{why: {OTHER.name: "another program had the cores"}})

    # Pairs this noisy decide nothing by the time that the other regression is skipped.
    noise = {one.name: PooledNoise(0.03**2, 30) for one in (ONE, OTHER)}
    one, other = course.search(ENGINES, (ONE, OTHER), records, measure, noise)
    assert len(without) == sessions
    assert (one.suspects, other.suspects) == ((5,), (4, 5))
    assert one.judged[4].side == Side.GOOD
    assert one.judged[4].pairs > sessions
    text = table.text(ENGINES, [one, other], records)
    assert text.count("skipped: v4: ") == 1
    assert "another program had the cores" in text


def test_pairs_that_do_not_tell_are_said(tmp_path):
    engines, records = Engines(5), Records(tmp_path, PLACES, (ONE,))
    noise = {ONE.name: PooledNoise(0.2**2, 1000)}
    (found,) = course.search(ENGINES[:3], (ONE,), records, engines, noise)
    assert found.suspects == (1, 2)
    assert f"skipped: v1: {ONE.name}: {evidence.MOST_PAIRS} pairs do not tell\n" in table.text(
        ENGINES[:3], [found], records
    )


def test_pairs_that_do_not_count_are_said(tmp_path):
    records = Records(tmp_path, {"v0": "/envs/v0", "v1": "/envs/v1"}, (ONE,))
    records.add(Record("v1", {ONE.name: (1.1, 0.92, 1.1, 1.11, 1.1)}))
    found = course.search(ENGINES[:2], (ONE,), records, lambda *_: pytest.fail("all is known"), NOISE)
    row = next(line for line in table.text(ENGINES[:2], found, records).splitlines() if line.startswith("v1"))
    assert row.split()[-4:] == ["4", "of", "5", "bad"]


def test_the_cost_counts_the_boots_and_sessions_that_were(tmp_path):
    records = Records(tmp_path, PLACES, (ONE,))
    for one in (
        Record("v4", {ONE.name: (1.0, 1.0)}, run="session-001-v4", boots=4),
        Record("v6", skipped={ONE.name: "cannot be built"}),
    ):
        records.add(one)
    assert table.text(ENGINES, [Found(ONE, (), False, {})], records).endswith(
        "skipped: v6: cannot be built\n4 boots in 1 session"
    )


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


@pytest.mark.parametrize(
    ("engines", "regressions", "options", "message"),
    [
        ({"v0": "/envs/v0"}, [ONE], (), 'a search of other engines: .*"v8".*, now '),
        (PLACES | {"v1": "/mnt/v1"}, [ONE], (), 'a search of other engines: .*"/envs/v1".*, now .*"/mnt/v1"'),
        (dict(reversed(PLACES.items())), [ONE], (), "a search of other engines: "),
        (PLACES, [dataclasses.replace(ONE, size=0.2)], (), r"other regressions: {.* 0\.1}, now {.* 0\.2}"),
        (PLACES, [ONE], ("--deployment=other",), r'other options: \[\], now \["--deployment=other"\]'),
    ],
    ids=["engines", "another place", "order", "regressions", "options"],
)
def test_a_file_of_another_search_is_refused_with_what_differs(tmp_path, engines, regressions, options, message):
    search(tmp_path, Engines(5))
    with pytest.raises(UsageError, match=rf"{message}.*; give another --artifacts$"):
        Records(tmp_path, engines, regressions, options)


def test_a_file_of_another_version_is_refused(tmp_path):
    search(tmp_path, Engines(5))
    path = tmp_path / "bisect.jsonl"
    path.write_text(path.read_text().replace('"v": 3', '"v": 2', 1))
    with pytest.raises(UsageError, match="a search of another version of this command; give another --artifacts$"):
        Records(tmp_path, PLACES, [ONE])


def test_a_command_that_measured_nothing_may_be_corrected(tmp_path):
    Records(tmp_path, PLACES, [ONE], ("--deployment=typo",))
    records = Records(tmp_path, PLACES, [ONE], ("--deployment=cpu",))
    records.add(Record("v4", skipped={ONE.name: "cannot be built"}))
    assert Records(tmp_path, PLACES, [ONE], ("--deployment=cpu",)).found == records.found


def test_the_study_prints_how_often_it_is_right(capsys):
    assert study(["--searches", "3", "--engines", "4"]) == 0
    assert capsys.readouterr().out.count("5%      0.5%  30% by 4%, two speeds") == 2
    assert study(["--engines", "1"]) == 2

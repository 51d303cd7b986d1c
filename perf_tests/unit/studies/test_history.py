"""The study of the history's rule, on a few series."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.studies.history import annotated, nights, sets
from fixtures.studies.history.__main__ import main

pytestmark = pytest.mark.cpu


def test_a_rule_that_knows_is_always_right_and_one_that_cries_wolf_is_counted():
    world = nights.World(0.01)

    def wolf(values):
        return [len(values) - 1]

    assert nights.steps(wolf, world, 0.05, [1, 2], 3) == {1: nights.Dated(3, 0), 2: nights.Dated(0, 3)}
    assert nights.false_points(wolf, world, 2, 2, keeps=False) == (61 / 2, 31.0)
    assert nights.false_points(lambda _: [], world, 2, 1, keeps=True) == (0, 0)
    assert nights.drifts(lambda values: [len(values) - 5], world, 0.5, 2) == [1, 1]
    assert nights.best_possible(nights.World(1e-6), 0.05, 5) == 5


def test_a_step_of_eight_deviations_is_dated_by_the_rule_that_is_used():
    found = nights.steps(nights.used, nights.World(0.01), 0.08, [4, 20], 20)
    assert min(one.right for one in found.values()) >= 19


def test_the_tables_are_printed(capsys):
    assert main(["--series", "1", "--months", "1", "--only", "used"]) == 0
    printed = capsys.readouterr().out
    for part in ("steps at a CV of 1%", "drifts of 1% a week", "500000 -> 496500"):
        assert part in printed
    assert main(["--series", "0"]) == 2


def turing_set(directory):
    """Two series with three annotators in the Turing Change Point Dataset's layout, and two that cannot be looked at."""
    marks = {
        "steps": {"6": [40], "7": [42, 90], "8": []},
        "flat": {"6": [], "7": []},
        "gone": {"6": []},
        "wide": {"6": []},
    }
    (directory / "annotations.json").write_text(json.dumps(marks))
    noise = [0.001 * (-1) ** (i // 2) for i in range(80)]
    series = {
        "steps": [{"label": "V1", "raw": [100 * (1 + 0.5 * (i >= 40) + one) for i, one in enumerate(noise)]}],
        "flat": [{"label": "V1", "raw": [7] * 80}],
        "wide": [{"raw": [1.0]}, {"raw": [1.0]}],
    }
    for name, columns in series.items():
        (directory / name).mkdir()
        (directory / name / f"{name}.json").write_text(json.dumps({"name": name, "n_obs": 80, "series": columns}))
    return directory


def sap_set(directory):
    """A series with a mark and one without in the layout of SAP's performance regression data set."""
    for folder in ("metadata", "data"):
        (directory / folder).mkdir(parents=True)
    details = "Type;Dataset;Change Point\nStable ;0001.csv;0\nregression;0002.csv;40\n"
    (directory / "metadata" / "dataset_details.csv").write_text(details)
    for name, step in (("0001", 0), ("0002", 0.5)):
        rows = [f"{i + 1},531193,{10 * (1 + step * (i >= 40)) + 0.01 * (i // 2 % 2)}" for i in range(80)]
        (directory / "data" / f"{name}.csv").write_text("\n".join(["Index,GHC,Measurement", *rows]) + "\n")
    return directory


def test_scores_are_those_of_the_turing_benchmark():
    """Its own examples (metrics.py of TCPDBench): the first value is a change that all agree on."""
    assert annotated.score([{10, 20}, {11, 20}, {10}, {0, 5}], {10, 20}).f1 == pytest.approx(1.0)
    assert annotated.score([set(), {10}, {50}], {10}).f1 == pytest.approx(1 / 1.1)
    assert annotated.score([set(), {10}, {50}], set()) == annotated.Scores(
        1.0, pytest.approx(2 / 3), pytest.approx(0.8), 0
    )
    assert annotated.score([{10}], {10, 12, 40}).precision == 0.5, "a mark is found once"
    assert annotated.score([{10}], {16}).recall == 0.5, "a margin of five"


@given(st.lists(st.sets(st.integers(0, 99)), min_size=1, max_size=4), st.sets(st.integers(0, 99)))
def test_scores_are_shares_and_what_an_annotator_marked_is_all_found(marks, changes):
    found = annotated.score(marks, changes)
    assert 0 < found.precision <= 1
    assert 0 < found.recall <= 1
    low, high = sorted((found.precision, found.recall))
    assert low - 1e-12 <= found.f1 <= high + 1e-12
    assert annotated.score(marks[:1], marks[0]) == annotated.Scores(1.0, 1.0, 1.0, len(marks[0] - {0}))


def test_rules_are_held_against_sets_of_both_layouts(tmp_path, capsys):
    assert main(["--annotated", str(turing_set(tmp_path)), "--only", "used"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[:2] == [
        "left out: 1, their values are not there: gone",
        "left out: 1, several dimensions, or values are missing: wide",
    ]
    assert printed[-1].split() == ["all", "2", "3", "used", "1", "1.00", "0.94", "0.97"]
    assert main(["--annotated", str(sap_set(tmp_path / "sap")), "--only", "used"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[2:]]
    assert rows == [
        ["stable", "1", "0", "used", "0", "1.00", "1.00", "1.00"],
        ["regression", "1", "1", "used", "1", "1.00", "1.00", "1.00"],
        ["all", "2", "1", "used", "1", "1.00", "1.00", "1.00"],
    ]


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("annotations.json", '{"steps": {}}', "steps: expected an object with the marks of an annotator or more"),
        ("annotations.json", '{"steps": {"6": ["4"]}}', "steps: expected lists of indices"),
        ("annotations.json", '{"other": {"6": [4]}}', "none of the series of annotations.json is there"),
        ("steps/steps.json", '{"raw": [1]}', "expected series with raw values"),
        ("sap/metadata/dataset_details.csv", "Type;Dataset\n", "expected rows with Type, Dataset, Change Point"),
        ("sap/data/0001.csv", "Index,Measurement\n1,slow\n", "expected a number, found 'slow'"),
        ("sap/data/0002.csv", "", "expected rows with Index, Measurement"),
    ],
)
def test_a_set_that_is_not_understood_is_refused_in_a_line(name, text, told, tmp_path, capsys):
    turing_set(tmp_path)
    sap_set(tmp_path / "sap")
    (tmp_path / name).write_text(text)
    assert main(["--annotated", str(tmp_path / "sap" if name.startswith("sap") else tmp_path), "--only", "used"]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert len(error.splitlines()) == 1


def test_builds_of_a_large_set_are_medians_in_their_order_and_cut_as_they_were_marked(tmp_path):
    (tmp_path / "data").mkdir()
    rows = [
        f"{n},2021-09-01 01:09:17,{build},{build + extra}"
        for n, build in enumerate(range(900, 0, -1))
        for extra in (0, 1, 9)
    ]
    path = tmp_path / "data" / "00012__cpu-time__ms.csv"
    path.write_text("\n".join(["index_1based,timestamp,sut_version,value", *rows]) + "\n")
    names = ["sap_12", "sap_12_split1", "sap_12_split2", "sap_12_split1_shuf", "mongodb_7"]
    (tmp_path / "annotations.json").write_text(json.dumps({name: {"1": [5]} for name in names}))
    found, left_out = sets.read(tmp_path)
    whole = tuple(float(build + 1) for build in range(1, 901))
    assert [one.values for one in found] == [whole, whole[:800], whole[750:]]
    assert left_out == {"their values are not there": ["sap_12_split1_shuf", "mongodb_7"]}


def test_a_directory_without_a_set_is_refused(tmp_path, capsys):
    assert main(["--annotated", str(tmp_path)]) == 2
    assert (
        "expected annotations.json (Turing Change Point Dataset) or metadata/dataset_details.csv"
        in capsys.readouterr().err
    )

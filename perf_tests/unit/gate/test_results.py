"""Samples of pytest-benchmark's files."""

import json
import math
import os
import subprocess
import sys

import pytest

from fixtures.errors import UsageError
from fixtures.gate import results
from fixtures.gate.results import DURATION, Samples, number
from fixtures.metrics import METRICS, Metric

pytestmark = pytest.mark.cpu
LATENCY, THROUGHPUT, COMPLETED = METRICS["latency"], METRICS["output_throughput"], METRICS["completed"]
QPS = Metric("qps", "", 1, "higher", 0.05, True, (), "declared")
CHUNKS = Metric("chunks", "", 1, "equal", 0.0, True, (), "declared")
SAVE = """
import numpy
def test_saved(benchmark):
    benchmark.extra_info.update(half=numpy.float16(98.5), exact=numpy.float64(7.5), count=numpy.int64(7), odd=numpy.bool_(True))
    benchmark.pedantic(lambda: None, rounds=3)
"""


def write(path, *entries):
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"benchmarks": entries}))
    return path


def boot(value, name="1", **others):
    return {"boot": name, "metrics": {"latency": value}, "host_id": "h"} | others


def ours(*boots, name="o"):
    return {"fullname": name, "stats": {}, "extra_info": {"boots": list(boots)}}


def anybodys(name="r", data=(1.0, 2.0), **extra):
    return {"fullname": name, "stats": {"data": list(data)}, "extra_info": extra}


def test_samples_of_anybodys_files(tmp_path):
    rounds = {"fullname": "r", "stats": {"data": [1.0, 2.0], "median": 1.5}}
    declared = {"fullname": "d", "stats": {"median": 1.5}, "extra_info": {"qps": 7, "name": "x", "chunks": "54"}}
    path = write(tmp_path / "a.json", rounds, declared, ours(boot(1), boot(3, "2", invalid="hot")))
    bare = {DURATION: Samples([1.5], [""], rounds=((),))}
    assert results.read(path, {"qps": "higher", "chunks": "equal", "absent": "equal"}) == {
        "r": {DURATION: Samples([1.5], [""], rounds=((1.0, 2.0),))},
        "d": {QPS: Samples([7.0], [""]), CHUNKS: Samples([54.0], [""])} | bare,
        "o": {LATENCY: Samples([1.0], ["h"])},
    }
    assert results.read(path)["d"] == bare


def test_a_cell_without_a_valid_boot_says_why(tmp_path):
    path = write(tmp_path / "a.json", ours(boot(1, invalid="busy"), boot(2, "2", invalid="hot")))
    assert results.read(path)["o"] == {LATENCY: Samples([], [], "every boot is invalid: hot")}


@pytest.mark.parametrize(
    ("entry", "fault"),
    [
        (anybodys(data=[1.0, math.nan]), "stats.data[1] is NaN"),
        (anybodys(data=[math.inf, 1.0]), "stats.data[0] is infinite"),
        (anybodys(data=[1.0, 10**400]), "stats.data[1] is infinite"),
        ({"fullname": "r", "stats": {"median": math.nan}}, "stats.median is NaN"),
        (ours(boot(1), boot(math.nan, "2"), name="r"), "extra_info.boots[1].metrics.latency is NaN"),
    ],
)
def test_what_is_no_finite_number_is_named_with_its_place(tmp_path, entry, fault):
    (samples,) = results.read(write(tmp_path / "a.json", entry))["r"].values()
    assert samples.fault == fault
    assert samples.values == []


def test_a_directory_holds_a_run_in_each_file(tmp_path):
    write(tmp_path / "runs" / "1.json", anybodys(qps=1), ours(boot(5)))
    write(tmp_path / "runs" / "2.json", anybodys(data=[3.0], qps=2), ours(boot(6, "2")), anybodys("s", data=[math.nan]))
    assert results.read(tmp_path / "runs", {"qps": "higher"}) == {
        "r": {QPS: Samples([1.0, 2.0], ["", ""]), DURATION: Samples([1.5, 3.0], ["", ""], rounds=((1.0, 2.0), (3.0,)))},
        "o": {LATENCY: Samples([5.0, 6.0], ["h", "h"])},
        "s": {DURATION: Samples([], [], "2.json: stats.data[0] is NaN", rounds=((),))},
    }


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"1.json": [anybodys()], "2.json": [anybodys()]}, "2.json: the same run as .*1.json: it would count twice"),
        (
            {"1.json": [ours(boot(1))], "2.json": [ours(boot(2))]},
            r"2.json: benchmarks\[0\]: o: boot 1 is in .*1.json too",
        ),
        ({"1.json": [ours(boot(1), boot(2))]}, r"1.json: benchmarks\[0\]: o: extra_info.boots: boot 1 is there twice"),
        ({"1.json": [anybodys(), anybodys("s"), anybodys()]}, r"1.json: benchmarks\[2\]: r is benchmarks\[0\] too"),
        ({}, "no .*json below this directory"),
    ],
)
def test_what_is_there_twice_is_refused(tmp_path, files, message):
    directory = tmp_path / "runs"
    directory.mkdir()
    for name, entries in files.items():
        write(directory / name, *entries)
    with pytest.raises(UsageError, match=message):
        results.read(directory)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (1, r"benchmarks\[0\]: not a pytest-benchmark record: expected an object"),
        ({"fullname": 5, "stats": {}}, "expected an object with 'fullname'"),
        ({"fullname": "r"}, "r: not a pytest-benchmark record: expected objects"),
        ({"fullname": "r", "stats": {}}, "r: not a pytest-benchmark record: neither stats.data nor stats.median"),
        ({"fullname": "r", "stats": {"data": 5}}, "stats.data: expected a list"),
        ({"fullname": "r", "stats": {"data": [None]}}, r"stats.data\[0\]: expected a number, found None"),
        ({"fullname": "r", "stats": {"data": [[1]]}}, r"stats.data\[0\]: expected a number, found a list"),
        (anybodys(qps="12 ms"), "r: extra_info.qps: expected a number, found '12 ms'"),
        (anybodys(qps=True), "r: extra_info.qps: expected a number, found True"),
        (anybodys(qps={}), "r: extra_info.qps: expected a number, found an object"),
        (ours(5), "extra_info.boots: not this suite's"),
        (ours({"metrics": {}}), "extra_info.boots: not this suite's"),
        (ours(boot(1) | {"metrics": {"laetncy": 1}}), "o: unknown metric 'laetncy'"),
    ],
)
def test_what_is_no_result_is_named_with_its_place(tmp_path, entry, message):
    path = write(tmp_path / "a.json", entry)
    with pytest.raises(UsageError, match=message) as caught:
        results.read(path, {"qps": "higher"})
    assert str(caught.value).startswith(f"{path}: benchmarks[0]")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("98.5", 98.5),
        ("-1e-3", -1e-3),
        (".5", 0.5),
        ("5.", 5.0),
        ("UNSERIALIZABLE[98.5]", 98.5),
        ("UNSERIALIZABLE[np.float32(98.5)]", 98.5),
        ("UNSERIALIZABLE[np.int64(7)]", 7.0),
        ("inf", math.inf),
    ],
)
def test_numbers_as_text(text, value):
    assert number(text, "x") == value


@pytest.mark.parametrize(
    "text", ["", "1_000", "0x10", "1,5", "1 ", "UNSERIALIZABLE[np.float32(98.5)", "np.float32(1)", "٣"]
)
def test_text_that_is_no_number(text):
    with pytest.raises(UsageError, match="^x: expected a number, found "):
        number(text, "x")


def test_what_pytest_benchmark_makes_of_numpys_scalars(tmp_path):
    """The form that it stores them in is its own: a run of it, not a copy of what it once wrote."""
    (tmp_path / "test_saved.py").write_text(SAVE)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "test_saved.py",
        "--benchmark-json=a.json",
    ]
    # A worker of pytest-xdist has pytest-benchmark measure nothing.
    alone = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    subprocess.run(command, cwd=tmp_path, env=alone, check=True, capture_output=True)
    path = tmp_path / "a.json"
    found = results.read(path, dict.fromkeys(("half", "exact", "count"), "higher"))["test_saved.py::test_saved"]
    assert {metric.name: samples.values for metric, samples in found.items() if metric != DURATION} == {
        "half": [98.5],
        "exact": [7.5],
        "count": [7.0],
    }
    assert len(found[DURATION].rounds[0]) == 3
    with pytest.raises(UsageError, match="extra_info.odd: expected a number, found 'UNSERIALIZABLE"):
        results.read(path, {"odd": "higher"})

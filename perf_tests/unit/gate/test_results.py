"""Samples of pytest-benchmark's files."""

import json

import pytest

from fixtures.gate import results
from fixtures.gate.results import Samples
from fixtures.metrics import METRICS, Metric

pytestmark = pytest.mark.cpu
LATENCY, THROUGHPUT, COMPLETED = METRICS["latency"], METRICS["output_throughput"], METRICS["completed"]


def test_samples_of_anybodys_files(tmp_path):
    path = tmp_path / "a.json"
    rounds = {"fullname": "r", "stats": {"data": [1.0, 2.0], "median": 1.5}}
    declared = {"fullname": "d", "stats": {"median": 1.5}, "extra_info": {"qps": 7, "name": "x"}}
    boots = [
        {"metrics": {"latency": 1, "unknown": 2}, "host_id": "h"},
        {"metrics": {"latency": 3}, "host_id": "i", "invalid": "hot"},
    ]
    ours = {"fullname": "o", "stats": {}, "extra_info": {"boots": boots}}
    path.write_text(json.dumps({"benchmarks": [rounds, declared, ours]}))
    qps = Metric("qps", "", 1, "higher", 0.05, True, (), "declared")
    expected = {
        "r": {results.DURATION: Samples([1.0, 2.0], ["", ""])},
        "d": {qps: Samples([7.0], [""])},
        "o": {LATENCY: Samples([1.0], ["h"])},
    }
    assert results.read(path, {"qps": "higher", "name": "lower", "absent": "equal"}) == expected
    assert results.read(path)["d"] == {results.DURATION: Samples([1.5], [""])}

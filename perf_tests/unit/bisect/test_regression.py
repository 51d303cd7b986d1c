"""What is searched for, and what baselines tell of its noise."""

import dataclasses

import pytest

from fixtures.bisect import regression
from fixtures.bisect.evidence import shown
from fixtures.gate.noise import pool
from fixtures.store import run as runs
from perf_tests.fakes.synthetic_run import synthetic_run

pytestmark = pytest.mark.cpu


def test_what_regressed_and_its_noise_are_read_from_a_run(tmp_path):
    run = synthetic_run(cells=4, boots=3, known=6, noise=0.01, changes={1: 0.3})
    (tmp_path / runs.FILE).write_text(runs.text(run))
    found = regression.of_run(tmp_path)
    assert [one.metric for one in found] == ["latency", "tpot_p50"]
    assert [one.size for one in found] == pytest.approx([0.3, 0.3], abs=0.03)
    noise = regression.noise_of(tmp_path)
    known = {
        f"{cell.id} {one.metric}": one.known for cell, one in runs.read(tmp_path).verdicts if one.metric == "latency"
    }
    assert {one.name for one in found} <= noise.keys()
    assert {name: noise[name] for name in known} == {
        name: shown(own, pool(known.values())) for name, own in known.items()
    }
    assert not any(name.endswith(" completed") for name in noise), "a count has no pairs"


def test_the_noise_of_a_batch_is_not_that_of_what_arrives_at_a_rate(tmp_path):
    run = synthetic_run(cells=4, boots=3, known=6, noise=0.001, changes={1: 0.3})
    online = run.cells[0]
    loud = tuple(dataclasses.replace(one, known=tuple(3 * i + 1 for i in range(6))) for one in online.judged)
    asked = {"kind": "online", "rate": 1.0, "num_prompts": 8}
    online = dataclasses.replace(online, workload=online.workload | asked, judged=loud)
    (tmp_path / runs.FILE).write_text(runs.text(dataclasses.replace(run, cells=(online, *run.cells[1:]))))
    noise = regression.noise_of(tmp_path)
    assert noise[f"{run.cells[1].id} latency"].variance < 0.002**2 < noise[f"{online.id} latency"].variance

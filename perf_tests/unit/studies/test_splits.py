"""Real boots dealt into a baseline and a night: every split once, plants where they belong, and what is printed."""

import argparse
import json
import math

import pytest

from fixtures.errors import UsageError
from fixtures.gate.verdict import Outcome
from fixtures.studies import splits
from fixtures.studies.splits import Plant
from perf_tests.fakes.commands import run_here
from perf_tests.paths import ROOT

pytestmark = pytest.mark.cpu
EVIDENCE = ROOT / "perf_tests" / "documentation" / "evidence"
BASELINES = EVIDENCE / "vllm-0.33.0-random" / "h200x1" / "vllm-tp1-random"


def test_every_choice_is_dealt_once_or_so_many_are_drawn():
    every = splits.splits(10, 5, 252)
    assert len(set(every)) == len(every) == math.comb(10, 5)
    drawn = splits.splits(10, 5, 20)
    assert len(set(drawn)) == 20
    assert set(drawn) <= set(every)
    assert drawn == splits.splits(10, 5, 20)


def test_tonights_boots_come_last_and_nothing_is_in_both():
    record = splits.recorded(BASELINES)["llama-3.1-8b"]
    ids = splits.boots(record, 5)
    assert len(ids) == 10
    made = splits.dealt(record, ids[:5], ids[5:], None)
    assert {"batch-1", "batch-32", "offline-150"} <= {cell["name"] for cell in made["benchmarks"]}
    assert "online-1" not in {cell["name"] for cell in made["benchmarks"]}, "it has one boot"
    for cell in made["benchmarks"]:
        assert [boot["boot"] for boot in cell["extra_info"]["boots"]] == [*ids[5:], *ids[:5]]
        assert [boot["started"] for boot in cell["extra_info"]["boots"]] == sorted(
            boot["started"] for boot in cell["extra_info"]["boots"]
        )


def boot(**metrics):
    return {"metrics": dict(metrics), "repetitions": {"tpot_p50": [metrics.get("tpot_p50", 0.0)]}}


def test_a_part_that_is_worse_makes_the_whole_worse_by_its_share():
    one = boot(latency=1.0, prefill_time=0.2, tpot_p50=0.01, total_throughput=100.0, kv_capacity=1000.0)
    Plant("decode", 0.05).apply(one)
    assert one["metrics"] == pytest.approx(
        {
            "latency": 1.04,
            "prefill_time": 0.2,
            "tpot_p50": 0.0105,
            "total_throughput": 100 / 1.04,
            "kv_capacity": 1000.0,
        }
    )
    assert one["repetitions"]["tpot_p50"] == pytest.approx([0.0105])
    other = boot(latency=1.0, prefill_time=0.2, tpot_p50=0.01)
    Plant("prefill", 0.1).apply(other)
    assert other["metrics"] == pytest.approx({"latency": 1.02, "prefill_time": 0.22, "tpot_p50": 0.01})
    small = boot(kv_capacity=1000.0, latency=1.0, prefill_time=0.2)
    Plant("memory", 0.05).apply(small)
    assert small["metrics"] == pytest.approx({"kv_capacity": 950.0, "latency": 1.0, "prefill_time": 0.2})


def test_what_is_planted_in_one_model_is_found_there_and_the_other_passes():
    records = splits.recorded(BASELINES)
    ids = splits.told_apart(records, 4)
    assert {model: len(own) for model, own in ids.items()} == {"llama-3.1-8b": 10, "mixtral-8x7b": 8}
    for one in splits.played(records, ids, "h200x1", 4, 1, Plant("decode", 0.2, ("mixtral-8x7b",))):
        tally = splits.Tally()
        tally.add(one)
        assert tally.alarmed == 1
        assert all("llama" not in name for name in tally.alarms)
        assert any(name.endswith("tpot_p50") for name in tally.alarms)
        assert tally.causes == {"moe": 1}, "all cells of the only model with experts"


def test_what_regressed_one_by_one_is_told_by_what_it_has_in_common():
    """Four boots tell the noise of what cells share so badly that Mixtral's 10% of prefill is found in single metrics only."""
    records = splits.recorded(BASELINES)
    ids = splits.told_apart(records, 4)
    for one in splits.played(records, ids, "h200x1", 4, 1, Plant("prefill", 0.1, ("mixtral-8x7b",))):
        regressed = {key for key, verdict in one.verdicts.items() if verdict.outcome is Outcome.REGRESSION}
        assert len({cell for cell, _ in regressed}) > 1
        (told,) = (found for found in one.causes.values() if found.told)
        assert told.cause.id == "vllm/prefill"
        assert set(told.explained) == regressed
        assert told.verdict.change > 0.02
        text = f"what {len(regressed)} regressions that were found one by one have in common: "
        assert told.verdict.reason.startswith(f"{text}worse by {told.verdict.change:.1%}; tolerance 0.5%, noise ")
        assert "not yet confirmed" not in told.verdict.reason
        assert {found.explained for found in one.causes.values() if not found.told} == {()}


def test_what_cannot_be_dealt_is_refused(tmp_path):
    with pytest.raises(UsageError, match="no baselines there"):
        splits.recorded(tmp_path)
    with pytest.raises(UsageError, match="fewer than 12 boots of one machine"):
        splits.told_apart(splits.recorded(BASELINES), 6)
    with pytest.raises(UsageError, match="m: fewer than 2 boots of one machine"):
        splits.told_apart({"m": {"benchmarks": []}}, 1)
    with pytest.raises(argparse.ArgumentTypeError, match="expected one of prefill, decode, memory"):
        Plant.parse("attention=0.02")
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "m.json").write_text(json.dumps({"benchmarks": []}))
    with pytest.raises(UsageError, match="two baselines of m"):
        splits.recorded(tmp_path)


def test_the_command():
    given = ("--night", "4", "--splits", "1", "--slower", "memory=0.05", "--of", "llama-3.1-8b")
    done = run_here(splits.main, str(BASELINES), *given)
    assert done.returncode == 0, done.stderr
    left_out, counted, *_ = done.stdout.splitlines()
    models, _, why = left_out.removeprefix("left out: ").partition(": ")
    assert {"llama-2-13b", "mixtral-8x7b-awq"} < set(models.split(", "))
    assert "llama-3.1-8b" not in models.split(", ")
    assert why == "fewer than 8 boots of one machine in any cell"
    assert counted.startswith("1 splits: 1 with")
    assert "llama-3.1-8b startup kv_capacity" in done.stdout
    lost = run_here(splits.main, str(BASELINES), "--of", "llama-2-13b")
    assert "--of: llama-2-13b: left out" in lost.stderr
    refused = run_here(splits.main, str(BASELINES), "--of", "gpt-2")
    assert "--of: gpt-2: no baseline of that model" in refused.stderr

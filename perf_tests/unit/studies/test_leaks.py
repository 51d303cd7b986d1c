"""What is told of a server that keeps what it should give back."""

import dataclasses
import json
import math

import pytest

from fixtures.deployments.cell import cells
from fixtures.errors import UsageError
from fixtures.studies.leaks import Window, leaks, main, selected, table, trends
from perf_tests.fakes import fake_engine
from perf_tests.fakes.deployments import head, load, workload

pytestmark = pytest.mark.cpu

CALM = Window(0.0, 10, 0, 8e9, math.nan, 40.0, 1e8, 12.0, 0.01, 0.05)
ONLINE = workload("online", "online", rate=10, num_prompts=2, output_len=4)


def windows(**growth):
    """Forty windows of half a minute, in which these series grow by so much in each."""
    return [
        dataclasses.replace(CALM, at=30.0 * i, **{name: getattr(CALM, name) + i * by for name, by in growth.items()})
        for i in range(40)
    ]


def test_a_series_that_grows_is_named_and_the_others_are_not():
    found = trends(windows(server_memory=1e7, client_descriptors=1.0))
    grown = {name for name, one in found.items() if leaks(one, 0.01)}
    assert grown == {"server_memory", "client_descriptors"}
    assert "card_memory" not in found, "without a card nothing is known of it"
    lines = {line.split()[0]: line for line in table(found, 0.01).splitlines()[2:]}
    assert lines["server_memory"].endswith("grows")
    assert "+1144" in lines["server_memory"], "MiB in an hour: 10 MB every 30 s"
    assert not lines["tpot_p50"].endswith("grows")


def test_growth_that_is_let_pass_and_a_pace_that_falls_are_no_leak():
    found = trends(windows(server_memory=1e6, tpot_p50=-1e-4))
    assert not any(leaks(one, 0.01) for one in found.values())
    assert leaks(found["server_memory"], 0.001)


def test_the_first_tenth_is_warm_up_and_few_windows_say_nothing():
    loading = [dataclasses.replace(one, server_memory=1e9) for one in windows()[:4]] + windows()[4:]
    assert not leaks(trends(loading)["server_memory"], 0.0001)
    assert trends(windows()[:8]) == {}


def test_one_online_cell_is_chosen(tmp_path):
    chosen = load(tmp_path, head() + ONLINE + workload("batch", "batch", batch_size=2))
    assert selected(chosen, "*").id == cells(chosen, ["*/online"])[0].id
    with pytest.raises(UsageError, match="expected one online cell, '\\*/batch' names none"):
        selected(chosen, "*/batch")


@pytest.mark.parametrize("options", ["", "--fault leak"])
def test_a_server_is_watched_window_by_window(tmp_path, capsys, options):
    path = tmp_path / "mine.toml"
    path.write_text(head(max_model_len=64, boot_timeout=20) + ONLINE)
    engine = fake_engine.build(tmp_path / "engine", f"--ttft 0.002 --gap 0.001 {options}")
    arguments = ["--deployment", str(path), "--cell", "*/online", "--minutes", "0.01", "--window", "0.2"]
    found = main([*arguments, "--artifacts", str(tmp_path / "out"), "--engine-env", f"vllm={engine}"])
    lines = [json.loads(line) for line in (tmp_path / "out" / "leaks.jsonl").read_text().splitlines()]
    assert [(line["requests"], line["failed"]) for line in lines] == [(2, 0)] * 3
    # A leak of 8 MiB a request, of which four came after the first window.
    assert (lines[-1]["server_memory"] - lines[0]["server_memory"] > 0.9 * 4 * 2**23) == bool(options)
    assert found == 2, "three windows are no line"
    assert "online: 3 windows, 6 requests, 0 of them failed\ntoo few windows" in capsys.readouterr().out

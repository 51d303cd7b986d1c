"""The page of all nights: what it names, what its data come to, and that nothing in a name can break out."""

import base64
import dataclasses
import hashlib
import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.site import data
from fixtures.site.__main__ import main
from fixtures.site.overview import deployment
from fixtures.site.page import render
from fixtures.store import history
from perf_tests.fakes.history_entries import nights

pytestmark = pytest.mark.cpu
EVIL = "</script><script>alert(1)</script>"


def noisy(levels, seed=3, cv=0.002):
    return [float(value) for value in np.asarray(levels) * np.random.default_rng(seed).normal(1, cv, len(levels))]


def test_what_crept_up_while_every_night_passed_is_named():
    slowly = nights(noisy([1.0] * 50 + [1 + 0.001 * i for i in range(30)]), baseline=None)
    (one,) = deployment("d", slowly).crept
    assert one.change == pytest.approx(0.026, abs=0.004)
    text = render([deployment("d", slowly)])
    assert "1 crept up untold" in text
    slowly[-5] = dataclasses.replace(slowly[-5], outcome="regression")
    assert deployment("d", slowly).crept == [], "a night told it"


def test_what_did_not_get_worse_beyond_noise_did_not_creep_up():
    for levels in ([1.0] * 80, [1.05] * 50 + [1.0] * 30, [1.0] * 20, [1.0] * 30 + [1.05] * 50, [0.0] * 50):
        assert deployment("d", nights(noisy(levels))).crept == []
    accepted = nights(noisy([1.0] * 60 + [1.05] * 20))
    accepted[70:] = [dataclasses.replace(one, baseline=1.05) for one in accepted[70:]]
    assert deployment("d", accepted).crept == []


def test_a_change_has_the_cause_that_told_it_and_not_a_later_one_s():
    entries = nights(noisy([1.0] * 30 + [1.1] * 20 + [1.3] * 20))
    causes = ["", "vllm/decode", "vllm/host", ""]
    first_nights = (30, 32, 52, 69)
    for cause, begins, ends in zip(causes, first_nights, (32, 50, 69, 70), strict=True):
        entries[begins:ends] = [dataclasses.replace(one, cause=cause) for one in entries[begins:ends]]
    text = render([deployment("d", entries)])
    assert re.findall(r"<td>(vllm/\w+|)</td></tr>", text)[:2] == ["vllm/decode", "vllm/host"]


def test_what_is_no_longer_measured_and_metrics_that_are_unknown_are_named():
    entries = nights([1.0] * 40)
    ended = [dataclasses.replace(one, cell="vllm/m/tp2/batch-1") for one in entries[:20]]
    strange = [dataclasses.replace(one, metric="mood<b>") for one in entries]
    text = render([deployment("d", [*entries, *ended, *strange])])
    assert f"No longer measured: vllm/m/tp2/batch-1 latency, last on {ended[-1].time[:10]}</p>" in text
    assert '<header class="warn">' in text
    assert "nothing crept up untold; 1 no longer measured" in text
    assert "Left out, as the suite has no such metric: mood&lt;b&gt;" in text
    assert "no longer measured" not in render([deployment("d", entries)]).lower()


def test_nights_survive_the_way_into_the_page():
    entries = nights(noisy([1.0] * 40 + [1.1] * 20))
    entries[50:] = [dataclasses.replace(one, engine_version="0.32.0", baseline=1.1) for one in entries[50:]]
    kept = data.of(deployment("d", [*entries[:10], *entries[12:]]))
    (one,) = kept["series"]
    values = [value * one["scale"] for value in one["value"]]
    assert values == pytest.approx([entry.value for entry in (*entries[:10], *entries[12:])], rel=2e-5)
    assert sum(count for _, count in one["baseline"]) == sum(count for _, count in one["night"]) == 58
    assert one["release"] == [["0.26.0", 48], ["0.32.0", 10]]
    assert [kept["time"][mark][:10] for mark in one["marks"]] == [entries[40].time[:10]]


@given(st.lists(st.one_of(st.none(), st.integers(0, 3))))
def test_run_lengths_are_expanded_to_what_they_were_made_of(values):
    assert [value for value, count in data.runs(values) for _ in range(count)] == values


def test_names_cannot_break_out_and_the_script_is_the_page_s_own():
    entries = nights(noisy([1.0] * 20 + [1.1] * 20), cell=f"vllm/{EVIL}/tp1/batch-1", engine_version=EVIL)
    entries[25:] = [dataclasses.replace(one, link=f'https://ci.example.org/"{EVIL}') for one in entries[25:]]
    text = render([deployment(EVIL, entries)])
    assert EVIL not in text
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert len(scripts) == 1
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in text
    embedded = re.search(r'id="data">(.*?)</script>', text, re.DOTALL)
    assert embedded
    assert json.loads(embedded[1])[0]["name"] == EVIL


def test_a_night_is_a_link_to_its_run_where_the_history_has_its_address():
    entries = nights(noisy([1.0] * 20 + [1.1] * 20))
    assert '<a href="http' not in render([deployment("d", entries)])
    links = ["javascript:alert(1)"] * 10 + [f"https://ci.example.org/{i}" for i in range(30)]
    entries = [dataclasses.replace(one, link=link) for one, link in zip(entries, links, strict=True)]
    assert f'<a href="https://ci.example.org/10">{entries[20].time[:10]}</a>' in render([deployment("d", entries)])
    assert data.of(deployment("d", entries))["link"][:2] == [["", 10], ["https://ci.example.org/0", 1]]


def test_the_command_writes_one_file_and_names_wrong_input(tmp_path, capsys):
    path = tmp_path / "h200x1.jsonl"
    history.append(path, nights(noisy([1.0] * 20 + [1.1] * 20)))
    out = tmp_path / "site"
    assert main([str(path), f"other={path}", "--out", str(out)]) == 0
    assert [one.name for one in out.iterdir()] == ["index.html"]
    text = (out / "index.html").read_text()
    assert "2 changes for the worse stand" in text
    for wrong, message in (
        ([str(path), str(path)], "two are called h200x1; name them: NAME=PATH"),
        ([str(tmp_path / "none.jsonl")], "no nights yet"),
    ):
        assert main([*wrong, "--out", str(out)]) == 2
        assert message in capsys.readouterr().err

"""The search for a capacity on servers that the analytical model plays."""

import dataclasses
import random

import pytest

from fixtures.studies import capacity
from fixtures.studies.capacity import MOST_PROBES, WORLDS, Server, main, search

pytestmark = pytest.mark.cpu

# A short one: its capacity is of some ten requests a second.
WORLD = dataclasses.replace(WORLDS[-1], name="short", slo_ttft=0.5, slo_tpot=0.02, noise=0.0, start=8)


def test_a_search_ends_between_rates_that_kept_the_limits_and_rates_that_did_not():
    server = Server.of(WORLD.model)
    found, probes, seconds = search(server, WORLD, random.Random(1))
    kept = [one.rate for one in probes if one.strain <= 1]
    broken = [one.rate for one in probes if one.strain > 1]
    assert len(probes) <= MOST_PROBES
    assert min(kept) < found.rate < max(broken)
    assert found.low < found.rate < found.high
    assert seconds > capacity.SECONDS * len(probes) * 0.8
    assert search(server, WORLD, random.Random(1))[0] == found, "the same draws, the same search"


def test_a_table_has_a_line_for_each_server(monkeypatch, capsys):
    monkeypatch.setattr(capacity, "WORLDS", (WORLD, dataclasses.replace(WORLD, name="another")))
    monkeypatch.setattr(capacity, "TRUTH_PROBES", 2)
    assert main(["--searches", "2", "--world", "short"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("2 searches each, probes of 7 s, at most 7")
    assert [line.split()[0] for line in lines[3:]] == ["short"]


def test_a_server_that_there_is_not_is_refused(capsys):
    assert main(["--world", "nobody's"]) == 2
    assert "expected a positive number and one of TPOT, dense" in capsys.readouterr().err

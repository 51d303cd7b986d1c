"""The search for a capacity on servers that the analytical model plays."""

import dataclasses
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.analytical import step
from fixtures.analytical.hardware import gpu
from fixtures.analytical.schedule import Stream
from fixtures.client.strain import cutoff, strain
from fixtures.studies import capacity
from fixtures.studies.capacity import (
    WORLDS,
    Server,
    main,
    of_other_patterns,
    outcome,
    reached,
    search,
    truth,
    undisturbed,
)
from fixtures.workloads.search import FAR

pytestmark = pytest.mark.cpu

# A short one, whose capacity is of some 20 requests a second.
WORKLOAD = dataclasses.replace(capacity.shipped(), seconds=3)
WORLD = dataclasses.replace(WORLDS[1], name="short", workload=WORKLOAD, card=0.0, shared_host=False)


def test_a_search_ends_between_rates_that_kept_the_limits_and_rates_that_did_not():
    server = Server.of(WORLD.model)
    found, probes, seconds = search(server, WORLD, random.Random(1))
    kept = [one.rate for one in probes if one.strain <= 1]
    broken = [one.rate for one in probes if one.strain > 1]
    assert len(probes) <= WORKLOAD.probes
    assert min(kept) < found.rate < max(broken)
    assert found.low < found.rate < found.high
    assert seconds > WORKLOAD.seconds * 0.8 * sum(one.strain < math.inf for one in probes)
    assert search(server, WORLD, random.Random(1))[0] == found, "the same draws, the same search"


def test_without_noise_the_share_crosses_where_the_strain_does(monkeypatch):
    monkeypatch.setattr(capacity, "TRUTH_PROBES", 1)
    server = Server.of(WORLD.model)
    found = undisturbed(server, WORKLOAD, 20.0)
    assert truth(server, WORLD, found) == pytest.approx(found, rel=0.05)


def test_a_share_that_is_just_kept_up_to_the_last_rate_crosses_beyond_it(monkeypatch):
    monkeypatch.setattr(capacity, "TRUTH_PROBES", 1)
    late, edge = WORKLOAD.slo_ttft + 1, 1.09 * 100

    def probe(_server, _world, rate, _rng):
        beyond = 1 if rate < edge else 2
        return [Stream(0.0, late if i < beyond else 0.0, 0.0) for i in range(10)]

    monkeypatch.setattr(Server, "probe", probe)
    assert edge / 1.03 < truth(Server.of(WORLD.model), WORLD, 100.0) <= edge


STREAMS = st.lists(st.builds(Stream, st.floats(0, 7), st.floats(0.01, 5), st.floats(0.001, 1)), min_size=1, max_size=40)


@given(STREAMS, st.sampled_from([0.5, 0.9, 1.0]), st.integers(1, 64))
def test_a_cutoff_is_reached_by_no_probe_that_is_not_beyond_it(streams, share, tokens):
    ended = reached(cutoff([tokens] * len(streams), 0.5, 0.1, share, FAR), streams, tokens)
    whole = strain([(one.ttft, one.tpot if tokens > 1 else math.nan) for one in streams], 0.5, 0.1, share)
    assert ended == math.inf or whole > FAR
    # Of first tokens alone all that are beyond are known.
    quick = [dataclasses.replace(one, tpot=0.0) for one in streams]
    ended = reached(cutoff([tokens] * len(quick), 0.5, 0.1, share, FAR), quick, tokens)
    assert (ended < math.inf) == (strain([(one.ttft, 0.0) for one in quick], 0.5, 0.1, share) > FAR)


def test_a_probe_far_above_the_capacity_is_cut_off_long_before_its_last_answer():
    server = Server.of(WORLD.model)
    near, far = (server.play(WORKLOAD, rate) for rate in (20.0, 100.0))
    found, seconds = outcome(WORKLOAD, far)
    assert found == math.inf
    assert seconds < 0.5 * max(one.at + one.ttft for one in far)
    found, seconds = outcome(WORKLOAD, near)
    assert 1 / FAR < found < FAR
    assert seconds > max(one.at + one.ttft for one in near)


def test_a_card_that_is_slower_as_a_whole_keeps_the_limits_at_as_much_lower_a_rate():
    server = Server.of(WORLD.model)
    alike = server.play(WORKLOAD, 8.0)
    longer = dataclasses.replace(WORKLOAD, seconds=1.25 * WORKLOAD.seconds)
    slower = server.play(longer, 8.0 / 1.25, slower=1.25)
    stretched = [tuple(1.25 * value for value in dataclasses.astuple(one)) for one in alike]
    assert [dataclasses.astuple(one) for one in slower] == [pytest.approx(one) for one in stretched]


@pytest.mark.parametrize("model", ["llama-3.1-8b", "mixtral-8x7b"])
def test_a_card_without_rest_multiplies_short_products_as_slowly_as_long_ones(model):
    loaded = Server.of(model).setup
    rested = dataclasses.replace(loaded, gpu=gpu("h200"))
    long, short = (step.prefill(loaded, n, 1024).device / step.prefill(rested, n, 1024).device for n in (16, 2))
    assert long == pytest.approx(1, rel=1e-4)
    assert 1.1 < short < 1 / gpu("h200").sustained_compute.value


def test_other_patterns_have_capacities_of_their_own(monkeypatch):
    monkeypatch.setattr(capacity, "PATTERNS", 3)
    mean, spread = of_other_patterns(Server.of(WORLD.model), WORKLOAD, 20.0)
    assert abs(mean) < 0.5
    assert 0 < spread < 0.5


def test_a_table_has_a_line_for_each_server(monkeypatch, capsys):
    monkeypatch.setattr(capacity, "WORLDS", (WORLD, dataclasses.replace(WORLD, name="another")))
    monkeypatch.setattr(capacity, "TRUTH_PROBES", 2)
    monkeypatch.setattr(capacity, "PATTERNS", 2)
    assert main(["--searches", "2", "--world", "short"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("2 searches each; aimed at: covered in 93%, within 4% to each side, 85 s at most")
    assert [line.split()[0] for line in lines[4:]] == ["short"]


def test_a_server_that_there_is_not_is_refused(capsys):
    assert main(["--world", "nobody's"]) == 2
    assert "expected a positive number, 0 or more, and one of 'dense', 'mixture', " in capsys.readouterr().err


def test_another_draw_of_arrivals_is_another_search(monkeypatch, capsys):
    monkeypatch.setattr(capacity, "WORLDS", (WORLD,))
    monkeypatch.setattr(capacity, "TRUTH_PROBES", 1)
    monkeypatch.setattr(capacity, "PATTERNS", 2)

    def line(*options):
        assert main(["--searches", "1", *options]) == 0
        return capsys.readouterr().out.splitlines()[-1]

    assert line() == line("--pattern", "0")
    assert line() != line("--pattern", "2")

"""Batches that follow each other until their energy is known, on a server and cards whose truth is known."""

import time

import pytest

from fixtures.client.plan import plan
from fixtures.client.target import Target
from fixtures.errors import EngineError
from fixtures.hardware import energy, nvml
from fixtures.hardware.energy import Watch
from fixtures.session.metering import metered
from fixtures.workloads.workload import Workload
from perf_tests.fakes.server_process import mock_server, server_log

pytestmark = pytest.mark.cpu
SIZE, TOKENS = 3, 4
WORKLOAD = Workload("energy", "energy", batch_size=SIZE, input_len=8, output_len=TOKENS)
QUICK = ("--ttft", "0.06", "--gap", "0.01")
WATTS = 100.0


@pytest.fixture(autouse=True)
def _counters(monkeypatch):
    """Cards of 100 W, whose counters move every 2 ms."""
    monkeypatch.setattr(energy, "POLL_SECONDS", 0.001)
    show(monkeypatch, 0.002)


def show(monkeypatch, step):
    monkeypatch.setattr(nvml, "joules", lambda indices: [WATTS * step * (time.perf_counter() // step) for _ in indices])


def requests(label):
    return plan(WORKLOAD, 1000, 64, label)


def metering(url, seconds=5.0, cards=(0, 1)):
    with Watch(cards) as watch:
        return metered(Target(url, "mock", timeout=2), requests, seconds, watch)


def test_what_counts_is_whole_batches_with_another_on_either_side():
    with mock_server(*QUICK) as url:
        found = metering(url)
        log = sorted(server_log(url), key=lambda one: one["received"])
    runs = [log[i : i + SIZE] for i in range(0, len(log), SIZE)]
    assert len(runs) >= 4, "one alone, and at least three that follow each other"
    for before, after in zip(runs, runs[1:], strict=False):
        assert max(one["written"][-1] for one in before) <= min(one["received"] for one in after)
    assert len({one["prompt"] for one in log}) == len(log), "no cache knows them"
    # From the second of those that follow each other to the last, by the server's clock.
    begins = [min(one["received"] for one in run) for run in runs]
    seconds, tokens = begins[-1] - begins[2], SIZE * TOKENS * (len(runs) - 3)
    (power,), (of_token,) = found.values["mean_power"], found.values["energy_per_token"]
    assert power == pytest.approx(2 * WATTS, rel=0.02)
    assert of_token * tokens / power == pytest.approx(seconds, abs=0.05)


def test_it_ends_as_soon_as_the_energy_is_known(monkeypatch):
    counts = []
    for step in (0.002, 0.02):
        show(monkeypatch, step)
        with mock_server(*QUICK) as url:
            assert "energy_per_token" in metering(url, 10.0).values
            counts.append(len(server_log(url)))
    assert counts[0] < counts[1] < SIZE * 10 / 0.1


@pytest.mark.parametrize(
    ("step", "seconds", "cards", "reason"),
    [
        (0.2, 0.8, (0,), "only (limit 2%): raise max_seconds"),
        (0.2, 0.01, (0,), "energy: the second batch was the last that had time: raise max_seconds"),
        (1e9, 0.8, (0,), "energy: a card does not tell it, or its counter stands still"),
        (0.002, 0.8, (), "energy: a card does not tell it, or its counter stands still"),
    ],
    ids=["steps too long", "no time", "stands still", "no cards"],
)
def test_what_is_not_known_in_time_is_absent_and_said(monkeypatch, step, seconds, cards, reason):
    show(monkeypatch, step)
    with mock_server(*QUICK) as url:
        found = metering(url, seconds, cards)
        sent = len(server_log(url))
    assert found.values == {}
    assert found.reason.endswith(reason)
    if "stands still" in reason:
        assert sent == SIZE, "nothing is sent for an energy that nobody counts"


def test_a_client_that_leaves_the_cards_idle_is_told_of(monkeypatch):
    real = energy.Watch.taken

    def slow(watch, begin, end):
        time.sleep(0.02)
        return real(watch, begin, end)

    monkeypatch.setattr(energy.Watch, "taken", slow)
    with mock_server(*QUICK) as url:
        found = metering(url)
    assert found.reason.endswith("of it between batches (limit 2%): free a core for the client")


def test_a_request_that_fails_fails_the_cell():
    with (
        mock_server(*QUICK, "--fault", "http-500", "--after", str(3 * SIZE)) as url,
        pytest.raises(EngineError) as found,
    ):
        metering(url)
    assert "requests failed, most often: HTTP 500" in str(found.value)


def test_one_that_has_no_end_is_the_last(monkeypatch):
    with mock_server(*QUICK, "--fault", "stall", "--after", str(3 * SIZE)) as url:
        with pytest.raises(EngineError, match="no end of the response"):
            metering(url, 60.0)
        assert len(server_log(url)) <= 4 * SIZE

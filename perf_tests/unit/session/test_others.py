"""What programs other than the suite's own took of its cores."""

import subprocess
import sys
import time

import pytest

from fixtures.engines.usage import Usage
from fixtures.hardware import host
from fixtures.session import others
from fixtures.session.others import Reading

pytestmark = pytest.mark.cpu

BURN = "import time\nwhile time.process_time() < 0.3: pass\nprint(flush=True); input()"


@pytest.mark.parametrize(("busy", "share"), [(12.0, 0.25), (11.0, 0.0), (10.5, 0.0), (99.0, 1.0)])
def test_what_was_busy_beyond_the_own_processes_was_others(monkeypatch, busy, share):
    monkeypatch.setattr(host, "cores", lambda: 2)
    before = Reading(10.0, Usage({(1, 1): 1.0}, {}), 100.0)
    after = Reading(busy, Usage({(1, 1): 1.5, (2, 2): 0.5}, {}), 102.0)
    assert after.others(before) == share


def test_a_process_that_was_started_here_is_an_own_one():
    before = others.read()
    with subprocess.Popen([sys.executable, "-c", BURN], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        after = others.read()
        process.communicate(b"\n")
    assert after.own.seconds(before.own) >= 0.3
    assert after.busy - before.busy >= 0.2, "in steps of 10 ms"
    assert after.at <= time.monotonic()


def test_a_kernel_that_keeps_no_account_tells_nothing(monkeypatch):
    monkeypatch.setattr(host, "busy_seconds", lambda: None)
    assert others.read() is None

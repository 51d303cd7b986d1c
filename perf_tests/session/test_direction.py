"""Which way calls run in a whole session: from higher packages to lower ones, but for three that go back up."""

import json

import pytest

from perf_tests.documentation.test_architecture import COMMON, diagram, reached
from perf_tests.fakes.deployments import FAKE
from perf_tests.fakes.suite import Suite

pytestmark = pytest.mark.cpu
# The client's repetitions run inside pytest-benchmark's clock, and a reader of the terminal sees what is going on.
BACK_UP = {
    ("session", "plugin.fixtures:measure.<locals>.rounds"),
    ("session", "plugin.progress:Progress.__call__"),
    ("engines", "plugin.progress:Progress.__call__"),
}


def test_calls_run_down_from_the_first_cell_to_the_report(tmp_path):
    # All calls are listened to: on a busy machine that takes longer than a run may otherwise wait for.
    suite = Suite(
        tmp_path, FAKE.replace("boot_timeout = 5", "boot_timeout = 60").replace("_timeout = 2", "_timeout = 60")
    )
    suite.variables["CALLS"] = str(tmp_path / "calls")
    done = suite.run("-p", "perf_tests.fakes.calls")
    assert done.status == 0, done.text
    arrows, _ = diagram()
    seen, up = set(), set()
    for line in (tmp_path / "calls").read_text().splitlines():
        caller, callee = json.loads(line)
        lower, higher = caller.partition(".")[0].partition(":")[0], callee.partition(".")[0].partition(":")[0]
        if lower == higher or lower in COMMON or higher in COMMON:
            continue
        seen.add((lower, higher))
        if higher not in reached(arrows, lower):
            up.add((lower, callee))
    assert {("plugin", "session"), ("session", "engines"), ("session", "client"), ("session", "report")} <= seen
    assert up <= BACK_UP, "a call from a lower package to a higher one, or to one that it does not import"
    assert ("session", "plugin.fixtures:measure.<locals>.rounds") in up, "the recording sees what goes up"

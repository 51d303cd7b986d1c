"""What the fault tests share: a suite to run, and a baseline that a healthy engine left."""

import shutil

import pytest

from perf_tests.fakes.suite import Suite


@pytest.fixture
def suite(tmp_path):
    """A suite with an engine that is well until a test says otherwise; nothing of its runs may be left."""
    suite = Suite(tmp_path)
    yield suite
    suite.assert_nothing_left()


@pytest.fixture(scope="session")
def healthy(tmp_path_factory):
    """Baselines of an engine without a fault."""
    suite = Suite(tmp_path_factory.mktemp("healthy"))
    for _ in range(3):  # a busy machine makes a cell invalid now and then
        done = suite.run("--update-baselines")
        assert done.status in (0, 1), done.text
        if len(suite.stored()) == 3:
            break
    suite.assert_nothing_left()
    return suite.baselines


@pytest.fixture
def judged(suite, healthy):
    """A suite whose baseline is that of a healthy engine."""
    shutil.copytree(healthy, suite.baselines)
    return suite

"""What all tests share: hypothesis without deadlines, and a process in which they are quick.

Ctrl-C reaches what tests start, also where a script started pytest with ``&``, which has shells ignore it. And where only
serving tests are asked for, the directories of tests that boot no engine are not loaded.
"""

import gc
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures.plugin.hooks import only_serving

# The packages that were imported when all tests had been collected.
IMPORTED = pytest.StashKey[frozenset[str]]()

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


HERE = Path(__file__).parent
# None of their tests is marked ``serving``; a directory of your own is always loaded.
WITHOUT_SERVING = [
    HERE / name for name in ("analytical", "documentation", "fakes", "faults", "session", "tools", "unit")
]


def pytest_ignore_collect(collection_path, config):
    """Leave them out, unless the command line names one, or something in it."""
    if collection_path not in WITHOUT_SERVING or not only_serving(config):
        return None
    named = [config.invocation_params.dir / str(argument).partition("::")[0] for argument in config.args]
    return None if any(collection_path in (path, *path.parents) for path in named) else True


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config):
    """Register the profiles before Hypothesis looks for the one of its option; what needs no property doesn't import it."""
    if config.option.help or only_serving(config):
        # Its plugin imports all of Hypothesis for the summary, which takes as long as everything else together.
        if (plugin := config.pluginmanager.get_plugin("hypothesispytest")) is not None:
            config.pluginmanager.unregister(plugin)
        return
    from hypothesis import Phase, settings

    # No deadline per example: machines are shared, and a unit test asserts no time.
    settings.register_profile("moegauge", deadline=None)
    # For thousands of mutants, of which it is enough to know that a test fails: `tox -e mutation`.
    settings.register_profile(
        "mutation", deadline=None, derandomize=True, database=None, phases=(Phase.explicit, Phase.generate)
    )
    # For an hour in which nobody waits: properties that leave their number of examples open get 20,000 of them.
    settings.register_profile("thorough", deadline=None, max_examples=20_000)
    settings.load_profile("moegauge")


def pytest_collection_finish(session):
    """Keep the names of what collecting imported."""
    session.config.stash[IMPORTED] = frozenset(name.partition(".")[0] for name in sys.modules)


@pytest.fixture(scope="module", autouse=True)
def _quick(request: pytest.FixtureRequest) -> Iterator[None]:
    """Spare tests what only a real run needs: garbage collections of all that is there, and waiting for the disk."""
    if request.node.get_closest_marker("serving") is not None:
        yield
        return
    gc.freeze()  # the client makes a collection before each run, which takes 0.1 s otherwise
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: None)
        yield

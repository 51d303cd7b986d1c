"""What all tests share: hypothesis without deadlines, and a process that collecting has left in order.

Ctrl-C reaches what tests start, also where a script started pytest with ``&``, which has shells ignore it.
"""

import gc
import os
import signal
import sys
from collections.abc import Iterator

import pytest

# The packages that were imported when all tests had been collected.
IMPORTED = pytest.StashKey[frozenset[str]]()

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config: pytest.Config) -> None:
    """Register the profiles of property tests. A run without hypothesis' plugin has none, and needn't import it."""
    if not config.pluginmanager.hasplugin("hypothesispytest"):
        return
    from hypothesis import Phase, settings

    # No deadline per example: machines are shared, and a unit test asserts no time.
    settings.register_profile("moegauge", deadline=None)
    # For thousands of mutants, of which it is enough to know that a test fails: `tox -e mutation`.
    settings.register_profile(
        "mutation", deadline=None, derandomize=True, database=None, phases=(Phase.explicit, Phase.generate)
    )
    settings.load_profile("moegauge")


def pytest_collection_finish(session: pytest.Session) -> None:
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

"""Property tests: no deadline per example, because machines are shared and a unit test asserts no time.

And Ctrl-C reaches what tests start, also where a script started pytest with ``&``, which has shells ignore it.
"""

import signal

import pytest

from fixtures.plugin.hooks import only_serving

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config):
    """Register the profiles before Hypothesis looks for the one of its option; what needs no property doesn't import it."""
    if config.option.help or only_serving(config):
        return
    from hypothesis import Phase, settings

    settings.register_profile("moegauge", deadline=None)
    # For thousands of mutants, of which it is enough to know that a test fails: `tox -e mutation`.
    settings.register_profile(
        "mutation", deadline=None, derandomize=True, database=None, phases=(Phase.explicit, Phase.generate)
    )
    settings.load_profile("moegauge")

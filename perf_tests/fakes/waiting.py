"""Waiting for what another process does."""

import time
from collections.abc import Callable

SECONDS = 60.0


def wait_until(condition: Callable[[], bool], seconds: float = SECONDS) -> None:
    """Wait for something that happens soon; fail when it doesn't."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.02)

"""Property tests: no deadline per example, because machines are shared and a unit test asserts no time."""

from hypothesis import settings

settings.register_profile("moegauge", deadline=None)
settings.load_profile("moegauge")

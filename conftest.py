"""Registers the suite's plugin. Options, markers and hooks are in fixtures/plugin.py."""

pytest_plugins = ["fixtures.plugin"]

"""Registers the suite's plugin. Options, markers and hooks are in fixtures/plugin/hooks.py."""

pytest_plugins = ["fixtures.plugin.hooks"]

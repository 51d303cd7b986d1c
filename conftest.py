"""Registers the suite's plugin: its options, its hooks and the fixtures that serving tests ask for."""

pytest_plugins = ["fixtures.plugin.options", "fixtures.plugin.hooks", "fixtures.plugin.fixtures"]

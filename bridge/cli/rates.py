"""The rates of the config's endpoints, for commands that say what a delivery waits for."""

from __future__ import annotations

from bridge.config.load import ConfigFile


def rates_of(file: ConfigFile) -> dict[str, str]:
    """Return the rates of the endpoints that have one, by name."""
    return {each.name: each.rate.text for each in file.settings.endpoints if each.rate is not None}

"""The providers that are built in, how the config makes them, and how a mail finds its own.

A new company is one file with `build`, one line in PRESETS, and its fixtures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from types import MappingProxyType
from typing import Final

from bridge.config.settings import ProviderSettings
from bridge.errors import ConfigError
from bridge.model import Email, Reason, Unreadable
from bridge.providers import agile, url_networks
from bridge.providers.base import Provider

__all__ = ["PRESETS", "Preset", "Provider", "build", "choose"]

Preset = Callable[[ProviderSettings, str], Provider]

PRESETS: Final[Mapping[str, Preset]] = MappingProxyType({
    "agile": agile.build,
    "url_networks": url_networks.build,
})  # fmt: skip


def build(settings: Sequence[ProviderSettings]) -> tuple[Provider, ...]:
    """Make every provider of the config; raises ConfigError with the setting's dotted path."""
    return tuple(_build(table, f"providers.{index}") for index, table in enumerate(settings))


def _build(settings: ProviderSettings, key: str) -> Provider:
    wanted = settings.preset or settings.name
    preset = PRESETS.get(wanted)
    if preset is not None:
        return preset(settings, key)
    near = get_close_matches(wanted, PRESETS, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(sorted(PRESETS))}"
    raise ConfigError(
        f"{key}.{'preset' if settings.preset else 'name'}",
        f"{wanted!r} is no built-in provider, {hint}"
        + ("" if settings.preset else ' (preset = "…" says the format where the name does not)'),
    )


def choose(providers: Sequence[Provider], email: Email) -> Provider | Unreadable:
    """Find the one provider that a mail claims to come from."""
    if email.sender is None:
        return Unreadable(Reason.NO_SENDER, email.sender_defect or "the mail has no sender")
    matching = [provider for provider in providers if provider.matches(email)]
    if len(matching) == 1:
        return matching[0]
    if matching:
        names = ", ".join(sorted(provider.name for provider in matching))
        return Unreadable(
            Reason.NO_PROVIDER, f"more than one provider has this sender: {names}; tell them apart"
        )
    domain = email.sender.rpartition("@")[2]
    return Unreadable(
        Reason.NO_PROVIDER, f"no provider in the config has this sender (its domain is {domain})"
    )

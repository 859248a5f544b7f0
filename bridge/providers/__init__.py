"""The built-in providers, building them from the config, and matching a mail to its provider.

A new company is one file (`presets/NAME.toml`, or Python with `build`), one line in a registry,
and its fixtures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from functools import partial
from types import MappingProxyType
from typing import Final

from bridge.config.settings import ProviderSettings
from bridge.errors import ConfigError
from bridge.model import Email, Reason, Unreadable
from bridge.providers import agile, plugins, presets, url_networks
from bridge.providers.base import Provider, needs_sender
from bridge.providers.signed import read as read_signed

__all__ = ["PRESETS", "Preset", "Provider", "build", "build_one", "choose", "read_signed"]

Preset = Callable[[ProviderSettings, str], Provider]


def _declared(name: str, settings: ProviderSettings, key: str) -> Provider:
    from bridge.providers import template  # half an MB, which those written in Python don't need

    return template.build(settings, key, presets.settings(name))


_WRITTEN: Final[Mapping[str, Preset]] = {
    "agile": agile.build,
    "url_networks": url_networks.build,
}  # fmt: skip
PRESETS: Final[Mapping[str, Preset]] = MappingProxyType(
    {**_WRITTEN, **{name: partial(_declared, name) for name in presets.DECLARED}}
)


def build(settings: Sequence[ProviderSettings]) -> tuple[Provider, ...]:
    """Build every provider of the config; raises ConfigError with the setting's dotted path."""
    return tuple(build_one(table, f"providers.{index}") for index, table in enumerate(settings))


def build_one(settings: ProviderSettings, key: str) -> Provider:
    """Build one provider; `key` is its path in the config, as in `providers.0`.

    Raises ConfigError.
    """
    if settings.template is not None and settings.preset is None:
        from bridge.providers import template

        try:
            return template.build(settings, key)
        except ConfigError as error:
            if settings.name not in presets.DECLARED:
                raise
            # An operator who only meant to adapt a built-in format needs this hint.
            hint = f'to lay it over the built-in format, write preset = "{settings.name}" above'
            raise ConfigError(error.key, f"{error.problem}; {hint}") from None
    wanted = settings.preset or settings.name
    where = f"{key}.{'preset' if settings.preset else 'name'}"
    preset = PRESETS.get(wanted)
    if preset is None:
        plugin = plugins.find(wanted, where)
        if plugin is None:
            raise ConfigError(where, _unknown(wanted, named=settings.preset is not None))
        preset = plugin.build
    if settings.template is not None and wanted not in presets.DECLARED:
        raise ConfigError(
            f"{key}.template",
            f"{wanted} is written in Python: what can be set are senders, subject, labels, "
            "time_zone and region; without preset, the template says it all",
        )
    return preset(settings, key)


def _unknown(wanted: str, *, named: bool) -> str:
    known = {*PRESETS, *(each.name for each in plugins.installed())}
    near = get_close_matches(wanted, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(sorted(known))}"
    more = ' (preset = "…" says the format, or a [providers.template] declares one)'
    return f"{wanted!r} is no built-in provider, {hint}{'' if named else more}"


def choose(providers: Sequence[Provider], email: Email) -> Provider | Unreadable:
    """Return the one provider that a mail claims to come from."""
    if email.sender_defect is not None:
        return Unreadable(Reason.NO_SENDER, email.sender_defect)
    if email.sender is None:
        providers = [provider for provider in providers if not needs_sender(provider)]
    matching = [provider for provider in providers if provider.matches(email)]
    if len(matching) == 1:
        return matching[0]
    if matching:
        names = ", ".join(sorted(provider.name for provider in matching))
        return Unreadable(
            Reason.NO_PROVIDER, f"more than one provider has such mails: {names}; tell them apart"
        )
    if email.sender is None:
        return Unreadable(
            Reason.NO_SENDER,
            "the From header names no address, and no provider in the config knows this mail by "
            "other marks alone",
        )
    domain = email.sender.rpartition("@")[2]
    return Unreadable(
        Reason.NO_PROVIDER, f"no provider in the config has this sender (its domain is {domain})"
    )

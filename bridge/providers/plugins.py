"""Providers from installed packages: the entry points of the group `smsbridge.providers`.

Only names that are not built in are looked up, so that installing a package never changes how
a company's mails are read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Final

from bridge.config.settings import ProviderSettings
from bridge.errors import ConfigError
from bridge.providers.base import Provider

GROUP: Final = "smsbridge.providers"
_MEMBERS: Final = ("name", "matches", "read_email")


@dataclass(frozen=True, slots=True)
class Plugin:
    """A provider from an installed package."""

    name: str
    package: str  # name and version
    entry: EntryPoint

    def build(self, settings: ProviderSettings, key: str) -> Provider:
        """Build the provider; any error of the package is a ConfigError that names it."""
        try:
            factory: Callable[[ProviderSettings, str], Provider] = self.entry.load()
        except Exception as error:  # noqa: BLE001  importing a package can raise anything
            raise self._error(key, f"cannot be loaded ({type(error).__name__}: {error})") from None
        try:
            provider = factory(settings, key)
        except ConfigError as error:
            raise ConfigError(error.key, f"{self.package} says: {error.problem}") from None
        except Exception as error:
            # Its text may quote the settings, which contain secret recipients.
            raise self._error(key, f"cannot make it ({type(error).__name__})") from error
        missing = [name for name in _MEMBERS if not hasattr(provider, name)]
        if missing:
            raise self._error(key, f"made something without {', '.join(missing)}")
        if provider.name != settings.name:
            raise self._error(key, f"must call it {settings.name!r}, as the config does")
        return provider

    def _error(self, key: str, problem: str) -> ConfigError:
        return ConfigError(key, f"provider {self.name!r} of the package {self.package} {problem}")


def installed() -> tuple[Plugin, ...]:
    """List the providers of installed packages, by name."""
    found = (
        Plugin(entry.name, f"{entry.dist.name} {entry.dist.version}" if entry.dist else "?", entry)
        for entry in entry_points(group=GROUP)
    )
    return tuple(sorted(set(found), key=lambda each: (each.name, each.package)))


def find(name: str, key: str) -> Plugin | None:
    """Return the plugin of this name, if any; ConfigError if two packages have one."""
    named = [each for each in installed() if each.name == name]
    if len(named) > 1:
        packages = " and ".join(each.package for each in named)
        raise ConfigError(key, f"{name!r} is offered by {packages}: uninstall one of them")
    return named[0] if named else None

"""The providers for commands that parse files: the config's, or defaults without a config."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bridge import providers
from bridge.config.load import find_config, load_file
from bridge.config.settings import ProviderSettings, TrustSettings
from bridge.errors import ConfigError
from bridge.providers.base import Provider

TRUST_NOTE: Final = "evidence was not checked: a file has no sender"

# Settings that the presets require. Evidence isn't checked here. Presets whose senders are not
# published (url_networks) need a config.
_DEFAULTS: Final = (
    ProviderSettings(
        name="agile", time_zone="Europe/Rome", region="IT", trust=TrustSettings(anyone=True)
    ),
)
_NOTE: Final = (
    "no providers are configured: parsed as agile's, with zone Europe/Rome and region IT; "
    "other formats need a config"
)


def known_providers(config: Path | None) -> tuple[Sequence[Provider], Sequence[str]]:
    """Return the config's providers, or default ones with a note about them."""
    path = find_config(config)
    if path is not None:
        file = load_file(path)
        if file.settings.providers:
            try:
                return providers.build(file.settings.providers), ()
            except ConfigError as error:
                raise file.locate(error) from None
    return providers.build(_DEFAULTS), (_NOTE,)

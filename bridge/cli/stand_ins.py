"""The providers of the commands that read files without a store, and where there is no config."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bridge import providers
from bridge.config.load import find_config, load_file
from bridge.config.settings import ProviderSettings, TrustSettings
from bridge.errors import ConfigError
from bridge.providers.base import Provider

TRUST_NOTE: Final = "evidence was not asked for: nobody handed this file over"

# What the presets need to know, where there is no config. Evidence is not asked for here. Presets
# whose senders are not published (url_networks) can only be read with a config.
_STAND_INS: Final = (
    ProviderSettings(
        name="agile", time_zone="Europe/Rome", region="IT", trust=TrustSettings(anyone=True)
    ),
)
_NOTE: Final = (
    "no providers are configured: read as agile's, in zone Europe/Rome and region IT; "
    "others need a config"
)


def known_providers(config: Path | None) -> tuple[Sequence[Provider], Sequence[str]]:
    """Return the config's providers, or stand-ins with a note about them."""
    path = find_config(config)
    if path is not None:
        file = load_file(path)
        if file.settings.providers:
            try:
                return providers.build(file.settings.providers), ()
            except ConfigError as error:
                raise file.locate(error) from None
    return providers.build(_STAND_INS), (_NOTE,)

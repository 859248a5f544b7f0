"""The providers for commands that parse files: the config's, or defaults without a config."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from bridge import app, providers
from bridge.config.load import find_config, load_file
from bridge.config.settings import ProviderSettings, TrustSettings
from bridge.errors import ConfigError
from bridge.providers.base import Provider
from bridge.providers.posts import Posts

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


class Known(NamedTuple):
    """The providers whose mails and posts are parsed, and notes for the operator about them."""

    mails: Sequence[Provider]
    posts: Mapping[str, Posts]
    notes: Sequence[str]


def known_providers(config: Path | None) -> Known:
    """Return the config's providers, or default ones with a note about them."""
    path = find_config(config)
    if path is not None:
        file = load_file(path)
        if file.settings.providers:
            try:
                return Known(app.mails_of(file.settings), app.posts_of(file.settings), ())
            except ConfigError as error:
                raise file.locate(error) from None
    return Known(providers.build(_DEFAULTS), {}, (_NOTE,))

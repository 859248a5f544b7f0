"""What a mail became, for the commands that read mails from files; trust is not asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bridge import providers
from bridge.cli.rows import Document, event_data
from bridge.config.load import find_config, load_file
from bridge.config.settings import ProviderSettings, TrustSettings
from bridge.errors import ConfigError
from bridge.ingest import Reading
from bridge.model import Ignored, Unreadable
from bridge.providers.base import Provider

MAX_BYTES: Final = 64 * 1024**2
TRUST_NOTE: Final = "trust was not asked for: a file has no sender"

# What the presets need to know, where no config says it. Trust is not asked for here. Presets
# whose senders are published nowhere (url_networks) can only be read with a config.
_STAND_INS: Final = (
    ProviderSettings(
        name="agile", time_zone="Europe/Rome", region="IT", trust=TrustSettings(anyone=True)
    ),
)
_SAID: Final = (
    "no providers are configured: read as agile's, in zone Europe/Rome and region IT; "
    "others need a config"
)


def known_providers(config: Path | None) -> tuple[Sequence[Provider], Sequence[str]]:
    """Give the config's providers, or stand-ins and a note that says so."""
    path = find_config(config)
    if path is not None:
        file = load_file(path)
        if file.settings.providers:
            try:
                return providers.build(file.settings.providers), ()
            except ConfigError as error:
                raise file.explain(error) from None
    return providers.build(_STAND_INS), (_SAID,)


def outcome_document(result: Reading | Unreadable | Ignored) -> Document:
    """Give {"outcome": "message", "data"} ("more", if several), or why it is none."""
    match result:
        case Reading():
            more = [event_data(each.event.body) for each in result.more]
            data = event_data(result.event.body)
            return {"outcome": "message", "data": data, **({"more": more} if more else {})}
        case Ignored():
            return {"outcome": "ignored", "reason": "not_sms", "detail": result.detail}
        case Unreadable():
            reason = result.reason.value
            return {"outcome": "quarantine", "reason": reason, "detail": result.detail}

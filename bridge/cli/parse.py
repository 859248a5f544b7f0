"""`smsbridge parse`: what a mail would become, without a store."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from bridge import providers
from bridge.cli.messages import as_data
from bridge.cli.options import now, with_config, with_json
from bridge.cli.output import as_document, as_fields, heading
from bridge.cli.root import DONE, FOUND_WRONG
from bridge.cli.rows import Document, event_data
from bridge.config.load import find_config, load_file
from bridge.config.settings import ProviderSettings, TrustSettings
from bridge.errors import ConfigError, NotPossible
from bridge.ingest import Reader, Reading
from bridge.model import Arrival, Ignored, SourceKind, Unreadable
from bridge.providers.base import Provider

_MAX_BYTES: Final = 64 * 1024**2

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


@click.command()
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@with_config
@with_json
def parse(file: Path, config: Path | None, as_json: bool) -> int:
    """Read a mail from a file and show what it would become.

    FILE - is standard input.

    Needs no store and stores nothing. Trust is not asked for: a file has no sender. Without a
    config, agile's mails are read, as Europe/Rome and IT. Exits 0 if it is a message, else 1.
    JSON: {"outcome": "message", "data": the webhook's data}, with "more": […] where the mail holds
    several SMS, or {"outcome": "quarantine" | "ignored", "reason", "detail"}.
    """
    known, notes = _providers(config)
    raw = _read(file)
    arrival = Arrival(SourceKind.SMTP, "file", raw, now())
    result = asyncio.run(Reader(known, None, now).read(arrival))
    if as_json:
        as_document(_document(result))
    else:
        _print(result)
        for note in (*notes, "trust was not asked for: a file has no sender"):
            click.echo(f"note: {note}", err=True)
    return DONE if isinstance(result, Reading) else FOUND_WRONG


def _providers(config: Path | None) -> tuple[Sequence[Provider], Sequence[str]]:
    path = find_config(config)
    if path is not None:
        file = load_file(path)
        if file.settings.providers:
            try:
                return providers.build(file.settings.providers), ()
            except ConfigError as error:
                raise file.explain(error) from None
    return providers.build(_STAND_INS), (_SAID,)


def _read(file: Path) -> bytes:
    try:
        if str(file) == "-":
            raw = sys.stdin.buffer.read(_MAX_BYTES + 1)
        else:
            with file.open("rb") as stream:
                raw = stream.read(_MAX_BYTES + 1)
    except OSError as error:
        why = (error.strerror or "cannot be read").lower()
        raise NotPossible(f"{file}: {why}") from None
    if len(raw) > _MAX_BYTES:
        raise NotPossible(f"{file}: is over 64 MiB: this is no mail with an SMS")
    return raw


def _document(result: Reading | Unreadable | Ignored) -> Document:
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


def _print(result: Reading | Unreadable | Ignored) -> None:
    document = _document(result)
    if isinstance(result, Reading):
        click.echo("outcome: message")
        as_data(document["data"])
        for number, each in enumerate(document.get("more", ()), 2):
            heading(f"message {number} of the same mail")
            as_data(each)
    else:
        as_fields(document.items())

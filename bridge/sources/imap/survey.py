"""Inspects a mailbox before the daemon reads it; nothing in it is changed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from bridge.config.imap import ImapSettings
from bridge.sources.imap.oauth import AccessTokens
from bridge.sources.imap.open import open_client, tls_context
from bridge.sources.imap.start import find_last, find_wanted, first_progress


@dataclass(frozen=True, slots=True)
class Survey:
    """What an inspection of a mailbox found."""

    mails: int
    first_start: int  # of them, taken in by a first start
    idle: bool  # the server pushes new mail; otherwise it is polled
    move: bool  # otherwise mails are copied and deleted
    uidplus: bool  # otherwise a deleted mail can only be marked \Deleted
    missing_folders: tuple[str, ...]  # targets of a move or copy that do not exist


async def survey(settings: ImapSettings, tokens: AccessTokens | None, today: date) -> Survey:
    """Log in as the daemon would, and inspect the mailbox. Raises BridgeError."""
    targets = {folder for *_, folder in settings.targets.values()}
    client = await open_client(settings, tokens, tls_context(settings))
    try:
        mailbox = await client.select(settings.folder, readonly=True)
        last = await find_last(client, mailbox)
        begin = first_progress(settings.start, today, mailbox.uidvalidity, last, again=False)
        return Survey(
            mails=mailbox.exists,
            first_start=len(await find_wanted(client, begin)),
            idle=client.has("IDLE"),
            move=client.has("MOVE"),
            uidplus=client.has("UIDPLUS"),
            missing_folders=tuple(
                [folder for folder in sorted(targets) if not await client.has_folder(folder)]
            ),
        )
    finally:
        await client.logout()

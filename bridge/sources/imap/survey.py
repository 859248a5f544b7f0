"""Inspects a mailbox before the daemon reads it; nothing in it is changed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from bridge.config.imap import ImapSettings
from bridge.sources.imap.oauth import AccessTokens
from bridge.sources.imap.open import open_client, tls_context
from bridge.sources.imap.rights import missing_rights
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
    missing_rights: tuple[str, ...]  # what the settings need and the account may not do


async def survey(settings: ImapSettings, tokens: AccessTokens | None, today: date) -> Survey:
    """Log in as the daemon would, and inspect the mailbox. Raises BridgeError."""
    targets = {folder for *_, folder in settings.targets.values()}
    client = await open_client(settings, tokens, tls_context(settings))
    try:
        mailbox = await client.select(settings.folder, readonly=True)
        last = await find_last(client, mailbox)
        begin = first_progress(settings.start, today, mailbox.uidvalidity, last, again=False)
        first_start = len(await find_wanted(client, begin))
        missing = tuple(
            [folder for folder in sorted(targets) if not await client.has_folder(folder)]
        )
        return Survey(
            mails=mailbox.exists,
            first_start=first_start,
            idle=client.has("IDLE"),
            move=client.has("MOVE"),
            uidplus=client.has("UIDPLUS"),
            missing_folders=missing,
            missing_rights=() if missing else await missing_rights(client, settings),
        )
    finally:
        await client.logout()

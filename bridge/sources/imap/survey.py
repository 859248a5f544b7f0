"""What a mailbox is like, before the daemon reads it; nothing in it is changed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from bridge.config.imap import ImapSettings
from bridge.sources.imap.open import Tokens, open_client, tls_context
from bridge.sources.imap.start import begin_afresh, find_last, find_wanted


@dataclass(frozen=True, slots=True)
class Survey:
    """What a look into a mailbox found."""

    mails: int
    first_start: int  # as many of them a first start would take
    idle: bool  # the server can announce new mail; else it is asked at each `poll`
    move: bool  # else mails are copied and deleted
    uidplus: bool  # else a deleted mail can only be marked
    missing_folders: tuple[str, ...]  # that mails are to be moved or copied to


async def survey(settings: ImapSettings, tokens: Tokens | None, today: date) -> Survey:
    """Get into a mailbox as the daemon would, and look. Raises BridgeError."""
    targets = {folder for *_, folder in settings.targets.values()}
    client = await open_client(settings, tokens, tls_context(settings))
    try:
        mailbox = await client.select(settings.folder, readonly=True)
        last = await find_last(client, mailbox)
        begin = begin_afresh(settings.start, today, mailbox.uidvalidity, last, again=False)
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

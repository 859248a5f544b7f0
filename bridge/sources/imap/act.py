"""Marks, moves, copies or deletes stored mails in the mailbox, as configured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bridge.config.imap import Afterwards, ImapSettings, Step
from bridge.model import ArrivalOutcome
from bridge.sources.imap.client import ImapClient


async def carry_out(action: Afterwards, client: ImapClient, uids: Sequence[int]) -> bool:
    r"""Carry out an action; False if mails to be removed could only be marked `\Deleted`.

    Idempotent, except that a copy would be made twice.
    """
    folder = action.folder or ""
    match action.step:
        case Step.LEAVE:
            return True
        case Step.SEEN:
            await client.store_seen(uids)
        case Step.DELETE:
            return await client.delete(uids)
        case Step.MOVE:
            # Seen first, so that the mail is never unread in that folder.
            await client.store_seen(uids)
            return await client.move(uids, folder)
        case Step.COPY:
            await client.copy(uids, folder)
            await client.store_seen(uids)
    return True


def actions_of(settings: ImapSettings) -> Mapping[ArrivalOutcome, Afterwards]:
    """Return the action for each outcome; a duplicate is treated as the message that it repeats."""
    return {
        ArrivalOutcome.MESSAGE: settings.on_message,
        ArrivalOutcome.DUPLICATE: settings.on_message,
        ArrivalOutcome.QUARANTINE: settings.on_quarantine,
        ArrivalOutcome.DISCARDED: settings.on_quarantine,  # it came once more
        ArrivalOutcome.IGNORED: settings.on_ignored,
    }

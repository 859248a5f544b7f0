"""What becomes of a mail in the mailbox once it is stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bridge.config.imap import Afterwards, ImapSettings, Step
from bridge.model import ArrivalOutcome
from bridge.sources.imap.client import ImapClient


async def do(action: Afterwards, client: ImapClient, uids: Sequence[int]) -> bool:
    r"""Do it; False if the mails could only be marked `\Deleted` where they were to go.

    Done twice it does no harm, except that a copy is made twice.
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
            # Seen first: who looks into that folder should not find it unread.
            await client.store_seen(uids)
            return await client.move(uids, folder)
        case Step.COPY:
            await client.copy(uids, folder)
            await client.store_seen(uids)
    return True


def actions_of(settings: ImapSettings) -> Mapping[ArrivalOutcome, Afterwards]:
    """Give the action for each outcome; a duplicate is a message that came before."""
    return {
        ArrivalOutcome.MESSAGE: settings.on_message,
        ArrivalOutcome.DUPLICATE: settings.on_message,
        ArrivalOutcome.QUARANTINE: settings.on_quarantine,
        ArrivalOutcome.IGNORED: settings.on_ignored,
    }

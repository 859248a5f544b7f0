"""Decides where to start in a folder, and searches for the mails wanted from there on."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Final

from bridge.config.imap import InitialSync
from bridge.sources.imap.client import ImapClient
from bridge.sources.imap.progress import Progress
from bridge.sources.imap.replies import Mailbox
from bridge.sources.imap.windows import portions
from bridge.sources.imap.wire import search_date, uid_set

# After a change of UIDVALIDITY all mail of this time is read again, seen or not: what arrived
# while we were away may have been read by somebody else. As long as deliveries are retried. After
# a longer absence the log says to run reconcile --all: without it, reconcile skips all mail that
# was in the folder when its UIDs changed.
LOOK_BACK: Final = timedelta(days=7)


def first_progress(
    start: InitialSync, today: date, uidvalidity: int, last: int, *, again: bool
) -> Progress:
    """Return which mails up to the UID `last` are wanted; later ones always are.

    `again`: the folder was read before, under other UIDs. Then `start` alone would skip what
    arrived in between, so recent mails are read again; duplicates are recognised by identity.
    """
    recent = f"SINCE {_imap_date(today - LOOK_BACK)}"
    match start:
        case "all":
            return Progress(uidvalidity, base=0, settled=0)
        case "unseen":
            wanted = f"OR UNSEEN {recent}" if again else "UNSEEN"
        case "new" if not again:
            return Progress(uidvalidity, base=last, settled=last)
        case "new":
            wanted = recent
        case day:
            assert isinstance(day, date)
            wanted = f"SINCE {_imap_date(day)}"
    return Progress(uidvalidity, base=last, settled=0, criterion=wanted)


async def find_last(client: ImapClient, mailbox: Mailbox) -> int:
    """Return the highest UID assigned so far in the open folder; 0 if none was."""
    if mailbox.uidnext is not None:
        return mailbox.uidnext - 1
    return max(await client.search("ALL"), default=0)  # the server hides it


async def find_wanted(client: ImapClient, progress: Progress) -> list[int]:
    """Search for the mails that are wanted and not settled; return their UIDs."""
    settled = progress.settled
    found: list[int] = []
    if settled < progress.base:
        found += await client.search(f"UID {settled + 1}:{progress.base} {progress.criterion}")
        # A mail that was wanted once stays wanted although it was marked \Seen since: by somebody
        # else, or by us on its way to another folder.
        for some in portions(progress.unfinished(found)):
            found += await client.search(f"UID {uid_set(some)}")
    above = max(settled, progress.base)
    # `n:*` always includes the last mail, even if its UID is below n.
    newer = await client.search(f"UID {above + 1}:*")
    return [*found, *(uid for uid in newer if uid > above)]


def _imap_date(day: date) -> str:
    return search_date(day.year, day.month, day.day)

"""Where to begin with a folder, and which of its mails are wanted from there on."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Final, Literal

from bridge.sources.imap.client import ImapClient
from bridge.sources.imap.progress import Progress
from bridge.sources.imap.replies import Mailbox
from bridge.sources.imap.windows import portions
from bridge.sources.imap.wire import search_date, uid_set

# After a change of UIDVALIDITY all mail of this time is read again, seen or not: what came while
# we were away may have been seen by somebody else. As long as deliveries are retried; a bridge
# that was away longer is told by the log to run reconcile --all: without it, reconcile passes over
# all that lay in the folder when its numbers changed.
LOOK_BACK: Final = timedelta(days=7)

Start = Literal["unseen", "all", "new"] | date


def begin_afresh(
    start: Start, today: date, uidvalidity: int, last: int, *, again: bool
) -> Progress:
    """Say what of the mails up to the UID `last` is wanted; what comes later always is.

    `again`: the folder was read before, under other UIDs. Then `start` alone would pass over what
    came in between: which of the mails are known is found out by their identity.
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
    """Give the highest UID that any mail of the open folder had until now; 0: there was none."""
    if mailbox.uidnext is not None:
        return mailbox.uidnext - 1
    return max(await client.search("ALL"), default=0)  # the server hides it


async def find_wanted(client: ImapClient, progress: Progress) -> list[int]:
    """Search for the mails that are there and not settled, seen or not as `progress` says."""
    settled = progress.settled
    found: list[int] = []
    if settled < progress.base:
        found += await client.search(f"UID {settled + 1}:{progress.base} {progress.criterion}")
        # What was wanted once stays wanted, although it was read since: by somebody else, or
        # marked by us on its way to another folder.
        for some in portions(progress.unfinished(found)):
            found += await client.search(f"UID {uid_set(some)}")
    above = max(settled, progress.base)
    # `n:*` has the last mail in it even if that is below n.
    newer = await client.search(f"UID {above + 1}:*")
    return [*found, *(uid for uid in newer if uid > above)]


def _imap_date(day: date) -> str:
    return search_date(day.year, day.month, day.day)

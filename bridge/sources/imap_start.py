"""Where to begin with a folder of which no cursor is known, or whose mails were all renumbered."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Final, Literal

from bridge.sources.imap_progress import Progress
from bridge.sources.imap_wire import search_date

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


def _imap_date(day: date) -> str:
    return search_date(day.year, day.month, day.day)

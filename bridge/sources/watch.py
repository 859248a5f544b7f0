"""Is a mailbox still in sight? The sentence for `/healthz` when it is not."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from bridge.config.imap import ImapSettings

_POLLS: Final = 3  # so many may be missed, for a reconnect, before it is called trouble


def trouble(
    settings: ImapSettings, *, proof: datetime, now: datetime, problem: str | None = None
) -> str | None:
    """Say what is wrong with a mailbox, or None.

    `proof` is when it was last known to be read: a sync that ended, a mail that was committed, or
    at first the start. `problem` is what the source itself knows to be wrong. Silence is trouble
    by itself: nothing that merely stopped can look healthy.
    """
    allowed = timedelta(seconds=_POLLS * settings.poll + 2 * settings.timeout)
    silent = now - proof
    if silent > allowed:
        minutes = silent.total_seconds() / 60
        why = f": {problem}" if problem else ""
        return f"imap.{settings.name}: not read for {minutes:.0f} min{why}"
    return f"imap.{settings.name}: {problem}" if problem else None

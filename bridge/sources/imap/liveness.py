"""Is a mailbox still in sight? One answer is for `/healthz`, one for the watchdog.

An operator wants to know that mail is *read*: whatever keeps it from being read for long is
trouble. A restart helps against one thing only: something of ours that has stopped in silence.
Each wait of ours has an end that is known when it begins, so whoever is past it has stopped.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from bridge.config.imap import ImapSettings

_POLLS: Final = 3  # so many may be missed, for a reconnect, before it is called trouble
# Seconds past its announced end after which a wait is a bug of ours: a commit may take its whole
# deadline (60 s), and a busy machine as long again.
SLACK: Final = 120.0


class Pulse:
    """The last sign of life of something, on a clock that nobody sets."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.beat()

    def beat(self, quiet: float = 0.0) -> None:
        """Give a sign of life, and say for how many seconds there may be none."""
        self._until = self._clock() + quiet

    @property
    def silence(self) -> float:
        """Seconds without a sign, beyond those that were announced."""
        return max(0.0, self._clock() - self._until)


def trouble(settings: ImapSettings, unread: float, problem: str | None = None) -> str | None:
    """Say what is wrong with a mailbox, or None.

    `unread` is for how many seconds it has not been read: since a sync ended, a mail was committed
    or, at first, the start. `problem` is what the source itself knows to be wrong. Silence is
    trouble by itself: nothing that merely stopped can look healthy.
    """
    if unread > _POLLS * settings.poll + 2 * settings.timeout:
        why = f": {problem}" if problem else ""
        return f"imap.{settings.name}: not read for {unread / 60:.0f} min{why}"
    return f"imap.{settings.name}: {problem}" if problem else None


def stuck(mailbox: str, pulse: Pulse) -> str | None:
    """Say that a mailbox's source has stopped in silence, or None.

    A mail server that is away is none: then there is an attempt, its failure, and a pause.
    """
    if pulse.silence <= SLACK:
        return None
    return (
        f"imap.{mailbox}: its source has done nothing for {pulse.silence:.0f} s after its time, "
        "which is a bug in smsbridge: please report it; a restart goes on where it stopped"
    )

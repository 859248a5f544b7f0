"""Detects a source that stopped without an error, for the watchdog.

A restart helps against one thing only: code of ours that hangs. Every wait of ours has an end that
is known when it begins, so a task that is long past the announced end of its wait has stalled. A
mail server that is away doesn't count: then there is an attempt, its failure, and a pause.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

# Seconds past the announced end of a wait after which it is a bug of ours: a commit may take its
# whole deadline (60 s), and a busy machine as long again.
SLACK: Final = 120.0


class Heartbeat:
    """The last sign of life of a task, on a monotonic clock."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self.beat()

    def beat(self, quiet: float = 0.0) -> None:
        """Give a sign of life and announce that the next may take `quiet` seconds."""
        self._until = self._monotonic() + quiet

    @property
    def silence(self) -> float:
        """Seconds without a sign of life beyond those announced."""
        return max(0.0, self._monotonic() - self._until)


def stall(mailbox: str, heartbeat: Heartbeat) -> str | None:
    """Return a sentence for the operator if a mailbox's source has stalled, else None."""
    if heartbeat.silence <= SLACK:
        return None
    return (
        f"imap.{mailbox}: its source has done nothing for {heartbeat.silence:.0f} s after its "
        "time, which is a bug in smsbridge: please report it; a restart goes on where it stopped"
    )

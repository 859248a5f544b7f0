"""Records which peers were turned away for want of room: metric, and a sentence for `/healthz`."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from bridge import metrics
from bridge.net.limits import Limit

_RECENT: Final = 60.0  # seconds
# A peer over its own share is its own problem; these are everybody's.
_SHARED: Final = (Limit.CONNECTIONS, Limit.MEMORY)


class TurnedAway:
    """Counts refusals by limit; `clock` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last = -_RECENT
        self._counts = dict.fromkeys(_SHARED, 0)

    def count(self, limit: Limit) -> None:
        """Count a peer that was turned away because of a limit."""
        metrics.SMTP_TURNED_AWAY.labels(limit).inc()
        if limit not in _SHARED:
            return
        now = self._clock()
        if now - self._last > _RECENT:
            self._counts = dict.fromkeys(_SHARED, 0)
        self._last = now
        self._counts[limit] += 1

    @property
    def problem(self) -> str | None:
        """Describe what is going on, until a minute after the last peer was turned away."""
        if self._clock() - self._last > _RECENT:
            return None
        connections, mails = (self._counts[each] for each in _SHARED)
        return (
            f"smtp: turning peers away for want of room, lately {connections} connections and "
            f"{mails} mails; they try again. The log says who (smtp.no_room)"
        )

"""Limits the log lines that peers can cause at will: one per interval and event."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from bridge.logs import Logger
from bridge.shortage import noted

INTERVAL: Final = 10.0  # seconds


class ThrottledLog:
    """Logs an event at most once per `interval` seconds.

    A line's field `unlogged` is the number of lines suppressed since the previous one; metrics
    count them all.
    """

    def __init__(
        self,
        log: Logger,
        interval: float = INTERVAL,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log = log
        self._interval = interval
        self._now = now
        self._next: dict[str, float] = {}
        self._unlogged: dict[str, int] = {}

    def warning(self, event: str, **fields: object) -> None:
        """Log an event that a peer or an outage caused."""
        if self._due(event):
            self._log.warning(event, **self._with_count(event, fields))

    def bug(self, event: str, error: BaseException, **fields: object) -> None:
        """Log a bug of ours, with its traceback; a shortage, which is none, with its sentence."""
        if (short := noted(error)) is not None:
            self.warning("shortage", detail=short, **fields)
        elif self._due(event):
            self._log.error(event, exc_info=error, **self._with_count(event, fields))

    def _due(self, event: str) -> bool:
        now = self._now()
        if now < self._next.get(event, now):
            self._unlogged[event] = self._unlogged.get(event, 0) + 1
            return False
        self._next[event] = now + self._interval
        return True

    def _with_count(self, event: str, fields: dict[str, object]) -> dict[str, object]:
        unlogged = self._unlogged.pop(event, 0)
        return {**fields, "unlogged": unlogged} if unlogged else fields

"""A circuit breaker for endpoints that keep failing: pure, time is a parameter."""

from __future__ import annotations

from collections import deque
from typing import Final

WINDOW: Final = 20  # the attempts that count
FAILURES: Final = 10  # so many of them open it
INTERVAL: Final = 1.0  # seconds between the starts of attempts while it is open
MAX_INTERVAL: Final = 30.0  # after relapses


class Breaker:
    """Opens when half of the last 20 attempts failed, and closes step by step.

    While it is open, one attempt at a time is made, with a real delivery, one a second. The first
    success lets 1 attempt at a time begin, then 2, 4, 8 …, until `concurrency` is reached or
    nothing is due. A step of which half fails opens it again, with twice the interval: an endpoint
    that flaps is spared, too. Times are seconds of a monotonic clock.
    """

    def __init__(self, concurrency: int, *, failing: bool = False) -> None:
        self._concurrency = concurrency
        self._open = failing
        self._window: deque[bool] = deque(maxlen=WINDOW)  # True: failed
        self._limit: int | None = None  # of this step of the slow start; None if there is none
        self._done = 0  # attempts of this step
        self._failures = 0  # of this step; without one, in the window
        self._interval = INTERVAL
        self._next_probe = 0.0

    @property
    def open(self) -> bool:
        """Whether attempts are limited to probes."""
        return self._open

    @property
    def limited(self) -> bool:
        """Whether fewer attempts may begin than there are free slots."""
        return self._open or self._limit is not None

    def allows(self, free: int, busy: int, now: float) -> int:
        """Return how many attempts may begin now, given the free and the busy slots."""
        if self._open:
            return 1 if free > 0 and not busy and now >= self._next_probe else 0
        if self._limit is not None:
            return max(0, min(free, self._limit - busy))
        return max(0, free)

    def wait(self, busy: int, now: float) -> float | None:
        """Return the seconds until `allows` can change by time alone; None if it can't.

        Call it only with free slots and after `allows` returned 0, or a caller may loop on 0 s.
        """
        return max(0.0, self._next_probe - now) if self._open and not busy else None

    def began(self, now: float) -> None:
        """Record that an attempt begins."""
        self._next_probe = now + self._interval

    def nothing_due(self) -> None:
        """End the slow start: there is no backlog to spare the endpoint from."""
        if self._limit is not None:
            self._close()

    def trip(self) -> None:
        """Open it, whatever the window says."""
        self._open = True

    def succeeded(self) -> bool:
        """Record a success; True if the endpoint was failing until now."""
        if self._open:
            self._open = False
            self._begin_step(1)
            return True
        self._count(failed=False)
        return False

    def failed(self) -> bool:
        """Record a failure; True if the endpoint is failing from now on."""
        if self._open:
            return False
        self._count(failed=True)
        return self._open

    def _count(self, *, failed: bool) -> None:
        self._done += 1
        self._failures += failed
        if self._limit is None:
            self._failures -= len(self._window) == WINDOW and self._window[0]
            self._window.append(failed)
            self._open = self._failures >= FAILURES
        elif 2 * self._failures >= self._limit:
            self._open = True
            self._interval = min(2 * self._interval, MAX_INTERVAL)
        elif self._done >= self._limit:
            self._begin_step(2 * self._limit)

    def _begin_step(self, limit: int) -> None:
        if limit >= self._concurrency:
            self._close()
        else:
            self._limit, self._done, self._failures = limit, 0, 0

    def _close(self) -> None:
        self._limit, self._done, self._failures = None, 0, 0
        self._interval = INTERVAL
        self._window.clear()

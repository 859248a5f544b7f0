"""A circuit breaker for endpoints that keep failing: pure, time is a parameter."""

from __future__ import annotations

from typing import Final

THRESHOLD: Final = 10  # consecutive failures that open it
INTERVAL: Final = 1.0  # seconds between the starts of attempts while it is open


class Breaker:
    """Counts consecutive failures; while open, it allows one probe at a time, one a second.

    The first success closes it and allows full speed at once. It isn't persisted: after a restart,
    ten attempts find out again. Times are seconds of a monotonic clock.
    """

    def __init__(self, threshold: int = THRESHOLD, interval: float = INTERVAL) -> None:
        self._threshold = threshold
        self._interval = interval
        self._failures = 0
        self._next_probe = 0.0

    @property
    def open(self) -> bool:
        """Whether attempts are limited to probes."""
        return self._failures >= self._threshold

    def allows(self, free: int, busy: int, now: float) -> int:
        """Return how many attempts may begin now, given the free and the busy slots."""
        if not self.open:
            return free
        return 1 if free and not busy and now >= self._next_probe else 0

    def wait(self, busy: int, now: float) -> float | None:
        """Return the seconds until `allows` can change by time alone; None if it can't.

        Call it only with free slots and after `allows` returned 0, or a caller may loop on 0 s.
        """
        return max(0.0, self._next_probe - now) if self.open and not busy else None

    def began(self, now: float) -> None:
        """Record that an attempt begins."""
        self._next_probe = now + self._interval

    def succeeded(self) -> bool:
        """Record a success; True if it closed the breaker."""
        was_open, self._failures = self.open, 0
        return was_open

    def failed(self) -> bool:
        """Record a failure; True if it opened the breaker."""
        self._failures += 1
        return self._failures == self._threshold

"""Spares an endpoint that fails again and again, and our own effort: pure, time is given."""

from __future__ import annotations

from typing import Final

THRESHOLD: Final = 10  # failures in a row that open it
INTERVAL: Final = 1.0  # seconds between the starts of attempts while it is open


class Breaker:
    """Counts failures in a row; while open it allows one attempt at a time, one a second.

    The first success closes it, and full speed is allowed at once. It is not kept over a restart:
    ten attempts tell again.
    """

    def __init__(self, threshold: int = THRESHOLD, interval: float = INTERVAL) -> None:
        self._threshold = threshold
        self._interval = interval
        self._failures = 0
        self._next_probe = 0.0

    @property
    def open(self) -> bool:
        """Whether the endpoint is spared now."""
        return self._failures >= self._threshold

    def allows(self, free: int, busy: int, now: float) -> int:
        """Say how many attempts may begin now, with this many slots free and busy."""
        if not self.open:
            return free
        return 1 if free and not busy and now >= self._next_probe else 0

    def wait(self, busy: int, now: float) -> float | None:
        """Give the seconds until `allows` can change by itself; None if time changes nothing.

        Ask only where there are free slots and `allows` has said 0: else it may be 0 seconds for
        ever.
        """
        return max(0.0, self._next_probe - now) if self.open and not busy else None

    def began(self, now: float) -> None:
        """Note that an attempt begins."""
        self._next_probe = now + self._interval

    def succeeded(self) -> bool:
        """Note a success, and say whether it closed the breaker."""
        was_open, self._failures = self.open, 0
        return was_open

    def failed(self) -> bool:
        """Note a failure, and say whether it opened the breaker."""
        self._failures += 1
        return self._failures == self._threshold

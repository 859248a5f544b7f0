"""The rate at which attempts to one endpoint may begin. Pure."""

from __future__ import annotations

import math
from typing import Final

from bridge.config.rate import Rate

# A timer that is late by this much delays no other attempt: what was missed is made up for. So in
# one second there may be 2 % more than the rate says, and in the long run there are not.
_LATE: Final = 0.02
_EARLY: Final = 0.001  # the resolution of the loop's timers
_MANY: Final = 1_000_000  # attempts: more than any endpoint has slots


class Pace:
    """Says when attempts may begin, so that an endpoint gets no more than its rate.

    A bucket of `burst` tokens that fills at the rate, kept as the time at which it is full (GCRA).
    Whose turn it is alternates between fresh deliveries and the backlog while both wait. Without a
    rate everything may begin at once. Times are seconds of a monotonic clock.
    """

    def __init__(self, rate: Rate | None) -> None:
        self.interval = 0.0 if rate is None else rate.interval
        self._tolerance = 0.0 if rate is None else (rate.burst - 1) * rate.interval
        self._full_at = -math.inf
        self._fresh_last = False

    def ready(self, now: float) -> int:
        """Return how many attempts may begin now."""
        if not self.interval:
            return _MANY
        past = now + _EARLY + self._tolerance - self._from(now)
        return max(0, math.floor(past / self.interval) + 1) if past >= 0 else 0

    def wait(self, now: float) -> float:
        """Return the seconds until the next attempt may begin; 0 if it may now."""
        return 0.0 if self.ready(now) else self._full_at - self._tolerance - now

    def wait_behind(self, others: int, now: float) -> float:
        """Return the seconds until an attempt may begin that has so many in front of it."""
        return self.wait(now) + others * self.interval

    def began(self, now: float, *, fresh: bool) -> None:
        """Record that an attempt begins."""
        self._full_at = self._from(now) + self.interval
        self._fresh_last = fresh

    def before_fresh(self, fresh: int, backlog: int) -> int:
        """Return how many begin before one more fresh delivery, given how many wait."""
        return fresh + min(backlog, fresh + self._fresh_last)

    def turn_of_fresh(self, fresh: int, backlog: int) -> bool:
        """Whether the next one to begin is a fresh one, given how many wait of each."""
        return fresh > 0 and not (backlog and self._fresh_last)

    def _from(self, now: float) -> float:
        """Return when the bucket was or is full, but for time that was missed for too long."""
        return self._full_at if self._full_at > now - _LATE else now

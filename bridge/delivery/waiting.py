"""Deliveries that are leased to us and have not begun. Pure."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from typing import Final

from bridge.model import Claim

# A lease outlives an attempt by 30 seconds, so two thirds of that remain for the record.
AHEAD_SECONDS: Final = 10.0


class Waiting:
    """Keeps deliveries that are leased to us until they begin, oldest first.

    They begin within `AHEAD_SECONDS` or not at all, since a lease that ends during an attempt would
    let another bridge send the same delivery. Times are seconds of a monotonic clock.
    """

    def __init__(self) -> None:
        self._waiting: deque[tuple[float, Claim]] = deque()  # with the time of asking for it
        self._unwanted: list[Claim] = []
        self._dismissed_at = -math.inf

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._waiting)

    def add(self, claims: Iterable[Claim], asked_at: float) -> None:
        """Keep claims that were asked for at this time."""
        if asked_at <= self._dismissed_at:
            self._unwanted += claims
        else:
            self._waiting += ((asked_at, claim) for claim in claims)

    def take(self, now: float) -> Claim | None:
        """Return the next one to begin."""
        if self._waiting and now < self._waiting[0][0] + AHEAD_SECONDS:
            return self._waiting.popleft()[1]
        return None

    def dismiss(self, now: float) -> None:
        """Want none of them any more, nor of those that were asked for until now."""
        self._unwanted += (claim for _, claim in self._waiting)
        self._waiting.clear()
        self._dismissed_at = now

    def unwanted(self, now: float) -> list[Claim]:
        """Return those that won't begin, once: they are to be given back."""
        while self._waiting and now >= self._waiting[0][0] + AHEAD_SECONDS:
            self._unwanted.append(self._waiting.popleft()[1])
        unwanted, self._unwanted = self._unwanted, []
        return unwanted

    def wait(self, now: float) -> float | None:
        """Return the seconds until the next one is too old to begin; None if none waits."""
        return max(0.0, self._waiting[0][0] + AHEAD_SECONDS - now) if self._waiting else None

"""The deliveries that a lane claims before it has slots for them. Pure.

A claim is a commit, and while a slow disk syncs it, a fast endpoint ends many calls. Their slots
would stand empty until the next claim. So a lane claims what will begin until then, too.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from typing import Final

from bridge.model import Claim

_MOST_PER_SLOT: Final = 3
# A lease outlives an attempt by 30 seconds, so two thirds of that remain for the record.
AHEAD_SECONDS: Final = 10.0
_LEAST_CALL: Final = 1e-4  # seconds
_WEIGHT: Final = 0.125  # of the newest call and claim in what is expected of the next one


class Ahead:
    """Keeps deliveries that are leased to us until they have a slot, oldest first.

    They begin within `AHEAD_SECONDS` or not at all, since a lease that ends during an attempt would
    let another bridge send the same delivery. Times are seconds of a monotonic clock.
    """

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._waiting: deque[tuple[float, Claim]] = deque()  # with the time of asking for it
        self._unwanted: list[Claim] = []
        self._dismissed_at = -math.inf
        self._call_seconds = math.inf  # expected; nothing is claimed ahead before the first call
        self._claim_seconds = 0.0

    def __len__(self) -> int:
        """Return how many wait for a slot."""
        return len(self._waiting)

    def called(self, seconds: float) -> None:
        """Note how long a call took."""
        before = seconds if math.isinf(self._call_seconds) else self._call_seconds
        self._call_seconds = before + _WEIGHT * (seconds - before)

    def claimed(self, seconds: float) -> None:
        """Note how long a claim took."""
        self._claim_seconds += _WEIGHT * (seconds - self._claim_seconds)

    def room(self) -> int:
        """Return how many to claim beyond the free slots; none while half as many wait.

        That is as many as begin during a claim, since those that wait have begun by its end.
        """
        calls = self._claim_seconds / max(self._call_seconds, _LEAST_CALL)  # of one slot
        wanted = math.ceil(self._slots * min(calls, _MOST_PER_SLOT))
        return 0 if 2 * len(self._waiting) > wanted else wanted

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
        return self._waiting[0][0] + AHEAD_SECONDS - now if self._waiting else None

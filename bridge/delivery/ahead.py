"""The deliveries that a lane claims before it has slots for them. Pure.

A claim is a commit, and while a slow disk syncs it, a fast endpoint ends many calls. Their slots
would stand empty until the next claim. So a lane claims what will begin until then, too.
"""

from __future__ import annotations

import math
from typing import Final

from bridge.delivery.waiting import AHEAD_SECONDS, Waiting

_MOST_PER_SLOT: Final = 3
_SOON: Final = 1.0  # seconds until a delivery must be expected to begin that is given no slot
_LEAST_CALL: Final = 1e-4  # seconds
_WEIGHT: Final = 0.125  # of the newest call and claim in what is expected of the next one


class Ahead(Waiting):
    """Keeps deliveries until they have a slot, and says how many to claim.

    `interval`: the seconds from one attempt to the next that the endpoint's rate wants.
    """

    def __init__(self, slots: int, interval: float = 0.0) -> None:
        super().__init__()
        self._slots = slots
        self._interval = interval
        self._call_seconds = math.inf  # expected; nothing is claimed ahead before the first call
        self._claim_seconds = 0.0

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
        if self._interval:
            wanted = min(wanted, self._at_its_rate())
        return 0 if 2 * len(self) > wanted else wanted

    def has_turn_soon(self, others: int) -> bool:
        """Whether one more would begin soon, behind those that wait and so many others."""
        rounds = (len(self) + others + 1) / self._slots  # of calls
        return rounds <= _MOST_PER_SLOT and rounds * self._call_seconds <= _SOON

    def _at_its_rate(self) -> int:
        """Return how many the rate lets begin during two claims, and one for the backlog's turn.

        Half of them still wait when the next claim is asked for, and begin during that.
        """
        at_most = int(AHEAD_SECONDS / 2 / self._interval)
        return min(2 * math.ceil(self._claim_seconds / self._interval) + 1, at_most)

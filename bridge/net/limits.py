"""Counts what peers may take of us: connections, each and in all, and memory for mails."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final


class Door:
    """Lets connections in up to a number in all and a number for each peer."""

    def __init__(self, most: int, most_per_peer: int) -> None:
        self._most = most
        self._most_per_peer = most_per_peer
        self._inside: Counter[str | None] = Counter()
        self._count = 0

    def enter(self, peer: str | None) -> bool:
        """Count a connection in; False, and not counted, if there is no room for it."""
        if self._count >= self._most or self._inside[peer] >= self._most_per_peer:
            return False
        self._inside[peer] += 1
        self._count += 1
        return True

    def leave(self, peer: str | None) -> None:
        """Count out a connection that was let in."""
        self._count -= 1
        self._inside[peer] -= 1
        if not self._inside[peer]:
            del self._inside[peer]  # peers come and go; the table must not keep them all

    def __len__(self) -> int:
        return self._count


class Budget:
    """The bytes of mails that may be in memory at a time, over all connections."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.used = 0

    @property
    def spent(self) -> bool:
        """Whether nothing is left."""
        return self.used >= self._most

    def share(self) -> Share:
        """Open a share for one mail, empty so far."""
        return Share(self)

    def take(self, count: int) -> bool:
        """Take bytes out; False, and nothing taken, if they are not there."""
        if self.used + count > self._most:
            return False
        self.used += count
        return True

    def give(self, count: int) -> None:
        """Put back what was taken."""
        self.used -= count


class Share:
    """What one mail takes of the budget, given back as a whole."""

    __slots__ = ("_budget", "_taken")

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._taken = 0

    def grow(self, count: int) -> bool:
        """Take more; False if the budget does not have it."""
        if not self._budget.take(count):
            return False
        self._taken += count
        return True

    def close(self) -> None:
        """Give all back; a second time does nothing."""
        self._budget.give(self._taken)
        self._taken = 0


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """The most that clients of one server may use."""

    connections: int = 64
    connections_per_peer: int = 64
    headers: int = 64
    header_bytes: int = 8 * 1024  # of each header, and of the request line
    body_bytes: int = 64 * 1024
    first_seconds: float = 10.0  # for a TLS handshake, and then for the first request's head
    seconds: float = 60.0  # of a connection; a client that wants more connects again
    closing_seconds: float = 5.0  # after that, for requests that have already begun to arrive
    stopping_seconds: float = 2.0  # the same when the server stops


HTTP_LIMITS: Final = HttpLimits()

"""Limits on what peers may use: connections, per peer and in total, memory, HTTP requests."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final


class ConnectionLimiter:
    """Admits connections up to a total and a number per peer."""

    def __init__(self, most: int, most_per_peer: int) -> None:
        self._most = most
        self._most_per_peer = most_per_peer
        self._per_peer: Counter[str | None] = Counter()
        self._count = 0

    def acquire(self, peer: str | None) -> bool:
        """Count a new connection; False, and not counted, if a limit is reached."""
        if self._count >= self._most or self._per_peer[peer] >= self._most_per_peer:
            return False
        self._per_peer[peer] += 1
        self._count += 1
        return True

    def release(self, peer: str | None) -> None:
        """Uncount a closed connection."""
        self._count -= 1
        self._per_peer[peer] -= 1
        if not self._per_peer[peer]:
            del self._per_peer[peer]  # else the table would grow with every peer ever seen

    def __len__(self) -> int:
        return self._count


class Budget:
    """The bytes of mails that may be in memory at once, over all connections."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.used = 0

    @property
    def spent(self) -> bool:
        """Whether nothing is left."""
        return self.used >= self._most

    def share(self) -> Share:
        """Return an empty share for one mail."""
        return Share(self)

    def take(self, count: int) -> bool:
        """Reserve bytes; False, and nothing reserved, if too few are left."""
        if self.used + count > self._most:
            return False
        self.used += count
        return True

    def give(self, count: int) -> None:
        """Return reserved bytes."""
        self.used -= count


class Share:
    """The part of the budget that one mail has reserved; returned as a whole."""

    __slots__ = ("_budget", "_taken")

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._taken = 0

    def grow(self, count: int) -> bool:
        """Reserve more; False if the budget has too little left."""
        if not self._budget.take(count):
            return False
        self._taken += count
        return True

    def close(self) -> None:
        """Return everything; a second call does nothing."""
        self._budget.give(self._taken)
        self._taken = 0


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """The most that the clients of one HTTP server may use."""

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

"""Limits on what peers may use: connections, memory for mails, time, and wrong guesses.

A peer is counted by its network: an IPv4 address, or the /64 that one IPv6 customer has. Pure: the
time is given.
"""

from __future__ import annotations

import math
from collections import Counter, OrderedDict
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Final

from bridge.remembered import remembered

SMALL: Final = 32 * 1024  # bytes; ten times as much as the mail of an SMS
_IPV6_NETWORK: Final = 64  # bits
_KNOWN: Final = 4096  # networks
_AMPLE: Final = 0.5  # up to this fraction in use, patience is whole
_LEAST_PATIENCE: Final = 1 / 8
_NO_VERDICT: Final = 1.0  # seconds in which a new connection counts as fast


class Limit(StrEnum):
    """Which limit a peer reached; also the label of a metric."""

    CONNECTIONS = "connections"
    CONNECTIONS_PER_PEER = "connections_per_peer"
    MEMORY = "memory"
    MEMORY_PER_PEER = "memory_per_peer"
    RATE = "rate"
    EVICTED = "evicted"
    RECIPIENTS = "recipients"


def network_of(peer: str | None) -> str:
    """Return the network that a peer's address is counted by; "" for a Unix socket."""
    return "" if peer is None else _network_of(peer)


@remembered(entries=_KNOWN, longest=64)
def _network_of(peer: str) -> str:
    address = ip_address(peer)
    if isinstance(address, IPv6Address):
        return str(ip_network((address, _IPV6_NETWORK), strict=False))
    return peer


def patience(used: float) -> float:
    """Return the part of a timeout that is left when this fraction of a resource is in use."""
    scarce = (used - _AMPLE) / (1 - _AMPLE)
    return 1.0 if scarce <= 0 else max(_LEAST_PATIENCE, 1.0 - scarce)


class ConnectionLimiter:
    """Counts connections, up to `most` in total and `most_per_peer` per network.

    When all places are taken, a network with few connections gets a place from one with many, and
    a network that is known (it sent mail that was believed) gets one from any that isn't.
    """

    def __init__(self, most: int, most_per_peer: int) -> None:
        self._most = most
        self._most_per_peer = most_per_peer
        self._inside: Counter[str] = Counter()
        self._known: OrderedDict[str, None] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def used(self) -> float:
        """The fraction of places that are taken."""
        return self._count / self._most

    def enter(self, network: str) -> Limit | None:
        """Count a connection; if a limit is reached, return it and count nothing."""
        if self._inside[network] >= self._most_per_peer:
            return Limit.CONNECTIONS_PER_PEER
        if self._count >= self._most:
            return Limit.CONNECTIONS
        self._inside[network] += 1
        self._count += 1
        return None

    def leave(self, network: str) -> None:
        """Stop counting a connection."""
        self._count -= 1
        self._inside[network] -= 1
        if not self._inside[network]:
            del self._inside[network]  # the table must not keep all peers that ever came

    def remember(self, network: str) -> None:
        """Make a network known."""
        self._known[network] = None
        self._known.move_to_end(network)
        if len(self._known) > _KNOWN:
            self._known.popitem(last=False)

    def is_known(self, network: str) -> bool:
        """Return whether a network is known."""
        return network in self._known

    def yielding_to(self, newcomer: str) -> str | None:
        """Return the network that must give up a place for a newcomer; None if none must."""
        fair = self._inside.get(newcomer, 0) + 1  # the other one must not end up with fewer places
        rank = self.is_known(newcomer)
        candidates = [
            (rank > self.is_known(network), count, network)
            for network, count in self._inside.items()
            if network != newcomer
            and (rank > self.is_known(network) or (rank == self.is_known(network) and count > fair))
        ]
        return max(candidates)[2] if candidates else None


class Budget:
    """The bytes of mails that may be in memory at a time: in total, and per network.

    Mails over SMALL leave a quarter free, of the total and of a network's part, so that small mails
    are still accepted while big ones fill the rest.
    """

    def __init__(self, most: int, most_per_peer: int) -> None:
        self._most = most
        self._most_per_peer = most_per_peer
        self._networks: Counter[str] = Counter()
        self.used = 0

    @property
    def used_fraction(self) -> float:
        """The fraction that is in use."""
        return self.used / self._most

    def share(self, network: str) -> Share:
        """Open a share for one mail, empty so far."""
        return Share(self, network)

    def spent(self, network: str) -> Limit | None:
        """Return the limit that leaves no room for even the smallest mail, if there is one."""
        return self._limit(network, 1, 1)

    def take(self, network: str, count: int, size: int) -> Limit | None:
        """Take bytes for a mail that will then have `size`; if a limit is reached, take nothing."""
        limit = self._limit(network, count, size)
        if limit is None:
            self.used += count
            self._networks[network] += count
        return limit

    def give(self, network: str, count: int) -> None:
        """Give back what was taken."""
        self.used -= count
        self._networks[network] -= count
        if not self._networks[network]:
            del self._networks[network]

    def _limit(self, network: str, count: int, size: int) -> Limit | None:
        is_big = size > SMALL
        if self.used + count > self._most - is_big * self._most // 4:
            return Limit.MEMORY
        most = self._most_per_peer - is_big * self._most_per_peer // 4
        return Limit.MEMORY_PER_PEER if self._networks[network] + count > most else None


class Share:
    """What one mail takes of the budget, given back as a whole."""

    __slots__ = ("_budget", "_network", "limit", "taken")

    def __init__(self, budget: Budget, network: str) -> None:
        self._budget = budget
        self._network = network
        self.taken = 0
        self.limit: Limit | None = None  # that the last `grow` reached

    def grow(self, count: int) -> bool:
        """Take more bytes; False, and none taken, if a limit is reached."""
        self.limit = self._budget.take(self._network, count, self.taken + count)
        if self.limit is not None:
            return False
        self.taken += count
        return True

    def close(self) -> None:
        """Give everything back; idempotent."""
        if self.taken:
            self._budget.give(self._network, self.taken)
        self.taken = 0


class Pace:
    """How fast a peer sends, since the start of a window and in the one before."""

    __slots__ = ("_before", "_began", "_count")

    def __init__(self, now: float) -> None:
        self._began = now
        self._count = 0
        self._before: tuple[float, int] = (now, 0)

    def add(self, count: int) -> None:
        """Count received bytes."""
        self._count += count

    def next_window(self, now: float) -> None:
        """Start a window."""
        self._before = (self._began, self._count)
        self._began, self._count = now, 0

    def is_over(self, now: float, seconds: float) -> bool:
        """Return whether the window has lasted this long."""
        return now - self._began >= seconds

    def in_window(self, now: float) -> float:
        """Return the bytes per second of the current window, which must not be empty."""
        return self._count / (now - self._began)

    def recent(self, now: float) -> float:
        """Return the bytes per second of both windows; infinite for a new peer."""
        began, count = self._before
        lasted = now - began
        return math.inf if lasted < _NO_VERDICT else (count + self._count) / lasted


class Guesses:
    """Slows wrong guesses at a secret: a network may make `burst`, then one per `seconds`."""

    def __init__(self, burst: int, seconds: float) -> None:
        self._burst = burst
        self._seconds = seconds
        self._paid_until: OrderedDict[str, float] = OrderedDict()

    def wrong(self, network: str, now: float) -> float:
        """Count a wrong guess; return for how many seconds to delay the answer."""
        paid = max(self._paid_until.get(network, now), now) + self._seconds
        self._paid_until[network] = paid
        self._paid_until.move_to_end(network)
        if len(self._paid_until) > _KNOWN:
            self._paid_until.popitem(last=False)
        return max(0.0, paid - now - self._burst * self._seconds)

    def delay(self, network: str, now: float) -> float:
        """Return for how many seconds a wrong guess would be delayed."""
        owed = self._paid_until.get(network, now) - now
        return max(0.0, owed - (self._burst - 1) * self._seconds)


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """The most that the clients of one HTTP server may use."""

    connections: int = 64
    connections_per_peer: int = 64
    headers: int = 64
    header_bytes: int = 8 * 1024  # of each header
    line_bytes: int = 8 * 1024  # of the request line, with its URL
    body_bytes: int = 64 * 1024
    first_seconds: float = 10.0  # for a TLS handshake, and then for the first request's head
    seconds: float = 60.0  # of a connection; a client that wants more connects again
    closing_seconds: float = 5.0  # after that, for requests that have already begun to arrive
    stopping_seconds: float = 2.0  # the same when the server stops


HTTP_LIMITS: Final = HttpLimits()

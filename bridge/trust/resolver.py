"""Queries TXT records and caches the answers; the only I/O of this package.

Imported only if the config uses evidence that needs it: dnspython takes memory.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import dns.exception
import dns.name
from dns.asyncresolver import Resolver
from dns.resolver import NXDOMAIN, NoAnswer

from bridge import letters, metrics
from bridge.trust.base import UnansweredError

_T = TypeVar("_T")

_UDP: Final = 1232  # bytes of an answer by UDP, else TCP; a 4096-bit key needs 800
_MOST: Final = 4096  # cached names; a mail's sender chooses some of them
_MIN_TTL: Final = 60.0
_MAX_TTL: Final = 3600.0
_AGAIN: Final = 15.0  # then a name that wasn't answered is queried again
_TIMES: Final = 3  # one old failure and a new one don't make an hour of outage
_FORGET: Final = 12 * 3600.0  # mail servers retry within some hours


@dataclass(frozen=True, slots=True)
class _Failing:
    since: float
    last: float
    times: int


class DnsNames:
    """Queries TXT records, from the system's name servers or the given ones; caches answers.

    `patience`: for how many seconds of failure mails are deferred; 0 means never. `timeout` is
    for one look-up including retries, in seconds. Not thread-safe.
    """

    def __init__(
        self,
        patience: float,
        *,
        nameservers: Sequence[str] = (),
        port: int = 53,
        timeout: float = 4.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._patience = patience
        self._nameservers = nameservers
        self._port = port
        self._timeout = timeout
        self._clock = clock
        self._resolver: Resolver | None = None
        self._known: OrderedDict[str, tuple[float, Sequence[bytes]]] = OrderedDict()
        self._failing: OrderedDict[str, _Failing] = OrderedDict()

    async def txt(self, name: str) -> Sequence[bytes]:
        """Return the TXT records of a name, empty if it has none; raises UnansweredError."""
        name = letters.lower(name)
        now = self._clock()
        expires, records = self._known.get(name, (now, ()))
        if now < expires:
            self._known.move_to_end(name)  # names in use stay cached, whatever strangers send
            return records
        failing = self._failing.get(name)
        if failing is not None and now - failing.last < _AGAIN:
            raise self._unanswered(failing)  # a queue of mails must not time out one by one
        try:
            records, ttl = await self._ask(name)
        except (dns.exception.DNSException, OSError):
            metrics.DNS_LOOKUPS.labels("unanswered").inc()
            self._resolver = None  # the system's name servers may have changed
            if failing is None or now - failing.last > _FORGET:
                failing = _Failing(now, now, 0)
            failing = _Failing(failing.since, self._clock(), failing.times + 1)
            _remember(self._failing, name, failing)
            raise self._unanswered(failing) from None
        metrics.DNS_LOOKUPS.labels("answered" if records else "none").inc()
        self._failing.pop(name, None)
        kept = min(max(ttl, _MIN_TTL), _MAX_TTL)
        _remember(self._known, name, (self._clock() + kept, records))
        return records

    def _unanswered(self, failing: _Failing) -> UnansweredError:
        over = failing.last - failing.since >= self._patience and failing.times >= _TIMES
        return UnansweredError(lasting=over or not self._patience)

    async def _ask(self, name: str) -> tuple[Sequence[bytes], float]:
        if self._resolver is None:
            self._resolver = self._made()
        try:
            whole = dns.name.from_text(name)  # fails if a label or the name is too long
        except dns.exception.DNSException:
            return (), _MAX_TTL
        try:
            answer = await self._resolver.resolve(
                whole, "TXT", search=False, lifetime=self._timeout
            )
        except (NXDOMAIN, NoAnswer):
            return (), _MIN_TTL
        records = [b"".join(each.strings) for each in answer]
        return records, float(answer.rrset.ttl if answer.rrset is not None else 0)

    def _made(self) -> Resolver:
        resolver = Resolver(configure=not self._nameservers)
        if self._nameservers:
            resolver.nameservers = list(self._nameservers)
            resolver.port = self._port
        resolver.cache = None
        resolver.use_edns(0, 0, _UDP)
        return resolver


def _remember(kept: OrderedDict[str, _T], name: str, value: _T) -> None:
    kept[name] = value
    kept.move_to_end(name)
    if len(kept) > _MOST:
        kept.popitem(last=False)

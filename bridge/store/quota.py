"""How much of the store strangers may fill: mails that nobody vouches for.

Anybody who reaches the SMTP port may send what becomes quarantine. Without a bound of its own it
would take the disk, and then the believed mail would be deferred as well.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, func, literal_column, select

from bridge import metrics
from bridge.errors import QuarantineFull
from bridge.model import Arrival, Envelope, MailFile, Reason, Unreadable
from bridge.net.limits import network_of
from bridge.store.tables import arrivals

# Why a mail is a stranger's: it was judged before any evidence, or there was none.
_STRANGERS: Final = frozenset(
    {Reason.UNDECODABLE, Reason.NO_SENDER, Reason.NO_PROVIDER, Reason.UNTRUSTED}
)
_ONE_PEER: Final = 4  # a single peer may fill one part of so many
_GOOD_FOR: Final = 30.0  # seconds until other bridges' mails and what was discarded are counted


@dataclass(slots=True)
class _Use:
    mails: int = 0
    size: int = 0

    def add(self, size: int) -> None:
        self.mails += 1
        self.size += size


class Quota:
    """Counts strangers' mails in quarantine, up to `mails` of `size` bytes in all.

    A single peer may fill a quarter. For the one thread that writes.
    The count is taken from the database now and then and kept up in between, so it is exact for
    one bridge, and between several ones late by what they took in half a minute.
    """

    def __init__(self, mails: int, size: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = _Use(mails, size)
        self._clock = clock
        self._counted_at: float | None = None
        self._all = _Use()
        self._peers: dict[str, _Use] = {}

    def require(self, connection: Connection, arrival: Arrival, result: Unreadable) -> None:
        """Count a mail in; raises QuarantineFull if it is a stranger's and there is no room.

        An operator's import is never refused.
        """
        if result.reason not in _STRANGERS or isinstance(arrival.origin, MailFile):
            return
        now = self._clock()
        if self._counted_at is None or now - self._counted_at >= _GOOD_FOR:
            self._count(connection)
            self._counted_at = now
        size = len(arrival.raw)
        if full := self._full(self._all, size, 1):
            metrics.QUARANTINE_REFUSED.labels("all").inc()
            raise QuarantineFull(f"quarantine holds {full} of strangers' mail")
        if isinstance(arrival.origin, Envelope):
            peer = network_of(arrival.origin.peer)
            use = self._peers.setdefault(peer, _Use())
            if full := self._full(use, size, _ONE_PEER):
                metrics.QUARANTINE_REFUSED.labels("peer").inc()
                raise QuarantineFull(f"quarantine holds {full} from this peer")
            use.add(size)
        self._all.add(size)

    def _full(self, use: _Use, size: int, part: int) -> str | None:
        mails, most = self._most.mails // part, self._most.size // part
        if use.mails >= mails:
            return f"{mails} mails"
        return f"{most} bytes" if use.size + size > most else None

    def _count(self, connection: Connection) -> None:
        self._all = _Use()
        self._peers = {}
        # No more rows than matter: a database from before there was a limit may have far more.
        found = (
            select(arrivals.c.peer, func.length(arrivals.c.raw).label("size"))
            .where(
                arrivals.c.outcome == literal_column("'quarantine'"),
                arrivals.c.reason.in_([each.value for each in _STRANGERS]),
                arrivals.c.source != literal_column("'file'"),
            )
            .order_by(arrivals.c.id.desc())
            .limit(self._most.mails)
            .subquery()
        )
        query = select(found.c.peer, func.count(), func.sum(found.c.size)).group_by(found.c.peer)
        for peer, mails, size in connection.execute(query):
            self._all.mails += mails
            self._all.size += int(size)
            if peer is not None:
                use = self._peers.setdefault(network_of(peer), _Use())
                use.mails += mails
                use.size += int(size)

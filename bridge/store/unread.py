"""Mails that became no message, known again by their bytes.

They have no identity. A mailbox whose UIDVALIDITY changes is read again from its beginning, and
an import is run again: without this, each time would fill the quarantine with the same mails.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final, Self

from sqlalchemy import Connection, bindparam, select, update

from bridge.model import Arrival, ArrivalOutcome, MailboxPlace, SourceKind
from bridge.store.tables import arrivals

_READ_AGAIN: Final = frozenset({SourceKind.IMAP, SourceKind.FILE})
_STORED: Final = (
    select(arrivals.c.digest, arrivals.c.outcome, arrivals.c.id)
    .where(arrivals.c.digest.in_(bindparam("digests", expanding=True)))
    .order_by(arrivals.c.id.desc())
)
_PLACE: Final = ("mailbox", "folder", "uidvalidity", "uid")
_MOVED: Final = (
    update(arrivals)
    .where(arrivals.c.id == bindparam("arrival"))
    .values({name: bindparam(f"new_{name}") for name in _PLACE})
)


def digest_of(arrival: Arrival) -> bytes | None:
    """Hash the raw bytes, if the same mail can be read once more from where it came."""
    if arrival.source not in _READ_AGAIN:
        return None
    return hashlib.sha256(arrival.raw).digest()


def place_columns(place: MailboxPlace | None) -> dict[str, object]:
    """Give a place as columns of its arrival."""
    return {name: None if place is None else getattr(place, name) for name in _PLACE}


class Unread:
    """The arrivals that a batch may repeat, those of the batch itself included."""

    def __init__(self, found: Iterable[tuple[bytes, str, int]] = ()) -> None:
        self._known = {(bytes(digest), outcome): arrival for digest, outcome, arrival in found}
        self._moved: list[dict[str, object]] = []

    @classmethod
    def load(cls, connection: Connection, digests: Iterable[bytes | None]) -> Self:
        """Find them in one statement; none if nothing of the batch may be a repeat."""
        wanted = [digest for digest in digests if digest is not None]
        if not wanted:
            return cls()
        rows = connection.execute(_STORED, {"digests": wanted})
        return cls((row.digest, row.outcome, row.id) for row in rows)

    def add(self, digest: bytes, outcome: ArrivalOutcome, arrival: int) -> None:
        """Remember one that this batch brings."""
        self._known[digest, outcome.value] = arrival

    def find(
        self, digest: bytes | None, outcome: ArrivalOutcome, place: MailboxPlace | None
    ) -> int | None:
        """Return the arrival that is repeated, and note where it lies now; None if it is new."""
        if digest is None:
            return None
        arrival = self._known.get((digest, outcome.value))
        if arrival is not None and place is not None:
            named = {f"new_{name}": value for name, value in place_columns(place).items()}
            self._moved.append({"arrival": arrival, **named})
        return arrival

    def write_changes(self, connection: Connection) -> None:
        """Write the places that have changed."""
        if self._moved:
            connection.execute(_MOVED, self._moved)

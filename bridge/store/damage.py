"""What was found damaged: noted in the database until an operator accepts it.

Two kinds. An event that is not what was stored is held, and never sent. The numbers of arrivals
that were acknowledged and are missing are never given again, so that they stay to be named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, RowMapping, Select, func, insert, select, update
from sqlalchemy.exc import DBAPIError

from bridge.errors import NotFound, NotPossible
from bridge.model import DeliveryState
from bridge.store.stream_tables import damage
from bridge.store.tables import arrivals, deliveries, messages

EVENT: Final = "event"
MISSING: Final = "missing"
ALTERED: Final = "its event was altered on the disk: `smsbridge damage list`"
# A value that is not of its column's type any more; its text may quote the value.
UNREADABLE: Final = (DBAPIError, TypeError, ValueError, OverflowError)


@dataclass(frozen=True, slots=True)
class Damage:
    """One find: the event, or the first and last number of the arrivals."""

    id: int
    kind: str
    event_id: str | None
    first: int | None
    last: int | None
    found_at: datetime
    accepted_at: datetime | None
    because: str | None

    def __str__(self) -> str:
        """Say what it is, for the operator."""
        if self.kind == EVENT:
            return (
                f"the event {self.event_id} is not what was stored: it is held and never sent; "
                "restore a backup, or ask for the message once more"
            )
        return (
            f"the mails {self.first:,} to {self.last:,} were acknowledged and are missing: the end "
            "of the database or of its log was lost; take them from the mailbox or the provider "
            "once more, or from a copy of the files"
        )


def list_damage(connection: Connection, *, accepted: bool = False) -> list[Damage]:
    """List what was found, oldest first; `accepted`: what an operator has accepted, too."""
    query = select(damage).order_by(damage.c.id)
    if not accepted:
        query = query.where(damage.c.accepted_at.is_(None))
    return [Damage(**row) for row in connection.execute(query).mappings()]


def accept(connection: Connection, damage_id: int, because: str, now: datetime) -> None:
    """Accept a damage, with a reason; raises NotFound, or NotPossible if it was before."""
    found = {each.id: each for each in list_damage(connection, accepted=True)}.get(damage_id)
    if found is None:
        raise NotFound(f"there is no damage {damage_id}")
    if found.accepted_at is not None:
        raise NotPossible(f"damage {damage_id} was accepted before")
    connection.execute(
        update(damage).where(damage.c.id == damage_id).values(accepted_at=now, because=because)
    )


def find_missing(connection: Connection, acknowledged: int | None) -> tuple[int, int] | None:
    """Return the first and last number of what was acknowledged and is neither there nor noted."""
    newest = connection.execute(select(func.coalesce(func.max(arrivals.c.id), 0))).scalar_one()
    noted = connection.execute(select(func.coalesce(func.max(damage.c.last), 0))).scalar_one()
    known = max(newest, noted)
    return None if acknowledged is None or acknowledged <= known else (known + 1, acknowledged)


def note_missing(connection: Connection, acknowledged: int | None, now: datetime) -> str | None:
    """Note what is missing of what was acknowledged; return the sentence, or None."""
    missing = find_missing(connection, acknowledged)
    if missing is None:
        return None
    first, last = missing
    connection.execute(insert(damage).values(kind=MISSING, first=first, last=last, found_at=now))
    return str(list_damage(connection)[-1])


def hold_altered(connection: Connection, ids: Sequence[int], now: datetime) -> None:
    """Hold deliveries whose events are not what was stored, and note those events."""
    which = deliveries.c.id.in_(ids)
    event_ids = set(connection.execute(select(deliveries.c.event_id).where(which)).scalars())
    known = {each.event_id for each in list_damage(connection, accepted=True)}
    if new := sorted(event_ids - known):
        rows = [{"kind": EVENT, "event_id": each, "found_at": now} for each in new]
        connection.execute(insert(damage), rows)
    connection.execute(
        update(deliveries)
        .where(which)
        .values(state=DeliveryState.HELD, reason=ALTERED, leased_by=None, changed_at=now)
    )


def readable(
    connection: Connection, query: Select[Any], values: Mapping[str, object]
) -> Sequence[RowMapping]:
    """Return the one row of a query, or nothing if its values can't be read."""
    try:
        return connection.execute(query, values).mappings().all()
    except UNREADABLE as error:
        if connection.dialect.name != "sqlite" or getattr(error, "connection_invalidated", False):
            raise
        return ()


# A message with what its checksum covers of the arrival that brought it.
MESSAGES: Final = select(
    messages,
    arrivals.c.source,
    arrivals.c.trust_by,
    arrivals.c.trust_detail,
    arrivals.c.checksum.label("arrival_checksum"),
).join(arrivals, (arrivals.c.message_id == messages.c.id) & (arrivals.c.outcome == "message"))

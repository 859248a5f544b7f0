"""Reads the deliveries that are due, with their events; what was altered on the disk is held."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple

from sqlalchemy import Connection, and_, bindparam, case, exists, func, literal_column, select

from bridge.store import checksums
from bridge.store.damage import UNREADABLE, hold_altered, readable
from bridge.store.endpoints import PENDING, wake_all
from bridge.store.statements import Statement
from bridge.store.tables import attempts, deliveries, events

# Whether an earlier request may have arrived. Attempts are counted before they are made, so one
# without a row, because we died, may have; so may another delivery of the same event (a replay).
_other = deliveries.alias("other")
_UNSENT: Final = (
    select(func.count())
    .where(attempts.c.delivery_id == deliveries.c.id, ~attempts.c.sent)
    .scalar_subquery()
)
_ANOTHER: Final = exists().where(
    _other.c.event_id == deliveries.c.event_id,
    _other.c.endpoint == deliveries.c.endpoint,
    _other.c.replay != deliveries.c.replay,
    _other.c.attempts > 0,
)
_SENT_BEFORE: Final = case(
    (and_(deliveries.c.attempts > 0, deliveries.c.attempts > _UNSENT), literal_column("1")),
    (and_(deliveries.c.replay > 0, _ANOTHER), literal_column("1")),
    else_=literal_column("0"),
)

_ROWS: Final = (
    select(
        deliveries.c.id,
        deliveries.c.attempts,
        deliveries.c.step,
        deliveries.c.lived_from,
        deliveries.c.conversation,
        deliveries.c.due_at,
        deliveries.c.leased_by,
        deliveries.c.sequence,
        events.c.id.label("event_id"),
        events.c.format,
        events.c.type,
        events.c.body,
        events.c.created_at,
        events.c.message_id,
        events.c.checksum,
        _SENT_BEFORE.label("sent_before"),
    )
    .join(events, events.c.id == deliveries.c.event_id)
    .order_by(deliveries.c.due_at, deliveries.c.id)
)
_DUE: Final = (
    _ROWS.where(
        deliveries.c.endpoint == bindparam("wanted"),
        PENDING,
        deliveries.c.due_at <= bindparam("now", type_=deliveries.c.due_at.type),
        deliveries.c.due_at >= bindparam("since", type_=deliveries.c.due_at.type),
    )
    .limit(bindparam("most"))
    # Another bridge's rows are passed by, not waited for; SQLite has one writer and leaves it out.
    .with_for_update(of=deliveries, skip_locked=True)
)
_READ_DUE: Final = Statement(_DUE)


class Due(NamedTuple):
    """A delivery that is due, with its event; the columns that `_ROWS` selects."""

    id: int
    attempts: int
    step: int
    lived_from: datetime
    conversation: int | None
    due_at: datetime
    leased_by: str | None  # whose lease has ended
    sequence: int | None
    event_id: str
    format: str
    type: str
    body: bytes
    created_at: datetime
    message_id: str | None
    checksum: int | None
    sent_before: bool

    @property
    def altered(self) -> bool:
        """Whether its event is not what was stored: then it must not be signed."""
        if not (type(self.attempts) is type(self.step) is int and type(self.body) is bytes):
            return True
        return checksums.of_event({**self._asdict(), "id": self.event_id}) != self.checksum


def read_due(
    connection: Connection,
    endpoint: str,
    limit: int,
    now: datetime,
    since: datetime,
    chosen: Sequence[int] | None,
) -> list[Due]:
    """Read what became due since then, or the chosen ones; what was altered is held instead."""
    values = {"wanted": endpoint, "now": now, "since": since, "most": limit}
    try:
        if chosen is None:
            found = _READ_DUE.select(connection, **values)
        else:
            found = connection.execute(_ROWS.where(deliveries.c.id.in_(chosen))).all()
    except UNREADABLE:
        if connection.dialect.name != "sqlite":
            raise
        if chosen is None:
            which = _DUE.with_only_columns(deliveries.c.id)
            chosen = connection.execute(which, values).scalars().all()
        one = _ROWS.where(deliveries.c.id == bindparam("one"))
        found = [
            tuple(row.values())
            for each in chosen
            for row in readable(connection, one, {"one": each})
        ]
    due = [Due(*row) for row in found]
    whole = [row for row in due if not row.altered]
    known = {row.id for row in due} if chosen is None else chosen
    if altered := set(known) - {row.id for row in whole}:
        hold_altered(connection, sorted(altered), now)
        wake_all(connection, endpoint, now)
    return whole

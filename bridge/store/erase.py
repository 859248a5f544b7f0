"""Erasing a person: everything that the store has of one phone number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, Connection, func, or_, select, update

from bridge.model import ArrivalOutcome, DeliveryState
from bridge.store import discard
from bridge.store.conversations import wake_next
from bridge.store.discard import QuarantineFilter
from bridge.store.emptying import (
    RAW_DUE,
    UNDELIVERED,
    empty_arrivals,
    empty_messages,
    undelivered,
)
from bridge.store.endpoints import UNLEASED
from bridge.store.tables import arrivals, attempts, deliveries, events, messages

_ERASED: Final = "erased on request before it was delivered"


@dataclass(frozen=True, slots=True)
class RawBytes:
    """The raw bytes of a row that may hold the number: of an arrival, or an attempt's answer."""

    id: int
    quarantined: bool
    raw: bytes = field(repr=False)


def find_messages(connection: Connection, number: str) -> list[str]:
    """Return the ids of the messages from or to a number, in E.164."""
    return list(connection.execute(select(messages.c.id).where(_of(number))).scalars())


def count_undelivered(connection: Connection, number: str) -> int:
    """Count those of a number's messages with a pending, held or dead delivery."""
    waiting = select(func.count()).where(_of(number), undelivered(messages.c.id))
    return int(connection.execute(waiting).scalar_one())


def count_mentions(connection: Connection, number: str, digits: str) -> int:
    """Count the messages from and to others whose text contains the number's digits."""
    others = select(func.count()).where(~_of(number), messages.c.body.contains(digits))
    return int(connection.execute(others).scalar_one())


def read_raw(connection: Connection, after: int, most: int) -> list[RawBytes]:
    """Return arrivals with raw bytes by id, from the first one after `after`."""
    query = (
        select(arrivals.c.id, arrivals.c.outcome, arrivals.c.raw)
        .where(arrivals.c.id > after, func.length(arrivals.c.raw) > 0)
        .order_by(arrivals.c.id)
        .limit(most)
    )
    return [
        RawBytes(row.id, row.outcome == ArrivalOutcome.QUARANTINE, row.raw)
        for row in connection.execute(query)
    ]


def count_waiting(connection: Connection, ids: Sequence[int]) -> int:
    """Count the arrivals among these whose message an endpoint has yet to get."""
    waiting = select(func.count()).where(arrivals.c.id.in_(ids), ~RAW_DUE)
    return int(connection.execute(waiting).scalar_one())


def count_left(connection: Connection, ids: Sequence[int]) -> int:
    """Count the arrivals among these that have their raw bytes."""
    left = select(func.count()).where(arrivals.c.id.in_(ids), func.length(arrivals.c.raw) > 0)
    return int(connection.execute(left).scalar_one())


def read_answers(connection: Connection, after: int, most: int) -> list[RawBytes]:
    """Return attempts with an answer by id, from the first one after `after`."""
    query = (
        select(attempts.c.id, attempts.c.answer)
        .where(attempts.c.id > after, func.length(attempts.c.answer) > 0)
        .order_by(attempts.c.id)
        .limit(most)
    )
    return [RawBytes(row.id, False, row.answer) for row in connection.execute(query)]


def erase_messages(
    connection: Connection, ids: Sequence[str], now: datetime, *, even_undelivered: bool
) -> int:
    """Erase messages with all that belongs to them; return how many.

    Undelivered ones stay, unless `even_undelivered`: then their deliveries end as filtered. Those
    with an attempt in flight stay in any case. Needs a write transaction.
    """
    if even_undelivered:
        own = select(events.c.id).where(events.c.message_id.in_(ids))
        ended = (
            deliveries.c.event_id.in_(own),
            deliveries.c.state.in_(UNDELIVERED),
            or_(UNLEASED, deliveries.c.due_at <= now),
        )
        conversations = select(deliveries.c.endpoint, deliveries.c.conversation).where(*ended)
        left = [(row.endpoint, row.conversation) for row in connection.execute(conversations)]
        connection.execute(
            update(deliveries)
            .where(*ended)
            .values(
                state=DeliveryState.FILTERED, reason=_ERASED, leased_by=None, conversation=None,
                changed_at=now,
            )
        )  # fmt: skip
        wake_next(connection, left, now)
    return empty_messages(connection, ids, now, whole=True)


def erase_arrivals(connection: Connection, ids: Sequence[int], because: str, now: datetime) -> int:
    """Erase raw arrivals that hold the number; quarantined ones are discarded with a reason.

    Those of messages that an endpoint has yet to get stay: they are the evidence.
    """
    discard.discard(connection, QuarantineFilter(ids), because, now, len(ids))
    return empty_arrivals(connection, ids, now)


def erase_answers(connection: Connection, ids: Sequence[int]) -> int:
    """Erase what endpoints answered; the attempts stay."""
    emptied = connection.execute(
        update(attempts).where(attempts.c.id.in_(ids)).values(detail="", answer=b"")
    )
    return emptied.rowcount


def _of(number: str) -> ColumnElement[bool]:
    return or_(
        messages.c.sender == number,
        messages.c.recipient == number,
        messages.c.raw_sender == number,
        messages.c.raw_recipient == number,
    )

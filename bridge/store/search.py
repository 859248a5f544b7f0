"""What operators search messages by, and what lists show besides the rows themselves."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, Connection, exists, func, or_, select

from bridge.errors import NotFound, NotPossible
from bridge.model import DeliveryState, SourceKind
from bridge.store.outbox import in_parts
from bridge.store.tables import arrivals, attempts, deliveries, events, messages

_SMTP_ID: Final = re.compile(r"[0-9a-f]{16}")
_NO_NUMBER: Final = 19  # digits: they may be more than 64 bits
_RECEIVED_BYTES: Final = 1000
_NEWEST: Final = 10_000
# What a message's state is if its deliveries' differ: the first of these.
_PRECEDENCE: Final = (
    DeliveryState.PENDING,
    DeliveryState.HELD,
    DeliveryState.DEAD,
    DeliveryState.DELIVERED,
    DeliveryState.FILTERED,
)


@dataclass(frozen=True, slots=True)
class MessageFilter:
    """Which messages: those that match all that is given; empty, all of them.

    `number` is the sender or the recipient, or the end of one; `text` is part of the text, in any
    case. `since` and `until` are times of arrival, `state` and `endpoint` those of one delivery.
    """

    provider: str | None = None
    number: str | None = field(default=None, repr=False)
    text: str | None = field(default=None, repr=False)
    state: DeliveryState | None = None
    endpoint: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    unwanted: bool = False  # only those that no endpoint wanted

    def conditions(self) -> Iterator[ColumnElement[bool]]:
        """Yield the conditions on messages joined with the arrivals that brought them."""
        if self.provider is not None:
            yield messages.c.provider == self.provider
        if self.number is not None:
            columns = (messages.c.sender, messages.c.recipient)
            yield or_(*(each.endswith(self.number, autoescape=True) for each in columns))
        if self.text is not None:
            yield messages.c.body.icontains(self.text, autoescape=True)
        if self.since is not None:
            yield arrivals.c.received_at >= self.since
        if self.until is not None:
            yield arrivals.c.received_at < self.until
        if self.state is not None or self.endpoint is not None:
            yield self._delivery()
        if self.unwanted:
            yield ~_WANTED

    def _delivery(self) -> ColumnElement[bool]:
        conditions = [events.c.message_id == messages.c.id, deliveries.c.event_id == events.c.id]
        if self.state is not None:
            conditions.append(deliveries.c.state == self.state)
        if self.endpoint is not None:
            conditions.append(deliveries.c.endpoint == self.endpoint)
        return exists().where(*conditions)


ALL: Final = MessageFilter()
_WANTED: Final = exists().where(
    events.c.message_id == messages.c.id,
    deliveries.c.event_id == events.c.id,
    deliveries.c.state != DeliveryState.FILTERED,
)


def find_message(connection: Connection, wanted: str) -> str:
    """Return the id of the message that an operator names.

    `wanted` is the id, the beginning of one, or an arrival that brought the message or repeats it:
    its number, or the id of its 250 ("Stored as …"). Raises NotFound; NotPossible if several ids
    begin like that.
    """
    if _SMTP_ID.fullmatch(wanted):
        return _message_of_arrival(connection, find_arrival(connection, wanted))
    if wanted.isascii() and wanted.isdigit() and len(wanted) < _NO_NUMBER:
        return _message_of_arrival(connection, int(wanted))
    whole = select(messages.c.id).where(messages.c.id == wanted)
    if connection.execute(whole).first() is not None:
        return wanted  # by its beginning, each id would be looked at
    query = select(messages.c.id).where(messages.c.id.startswith(wanted, autoescape=True))
    found = connection.execute(query.order_by(messages.c.id).limit(2)).scalars().all()
    if not wanted or not found:
        raise NotFound(f"there is no message {wanted}")
    if len(found) > 1:
        raise NotPossible(f"several messages begin with {wanted}: write more of the id")
    return str(found[0])


def find_arrival(connection: Connection, smtp_id: str) -> int:
    """Return the arrival that a 250 named, among the newest 10,000; or raise NotFound.

    The id stands in our Received header, the first of the raw mail.
    """
    start = func.substr(arrivals.c.raw, 1, _RECEIVED_BYTES)
    query = (
        select(arrivals.c.id, start)
        .where(arrivals.c.source == SourceKind.SMTP)
        .order_by(arrivals.c.id.desc())
        .limit(_NEWEST)
    )
    wanted = f" id {smtp_id}".encode()
    for arrival_id, raw in connection.execute(query):
        if raw and wanted in raw:  # SQLite makes NULL of what was emptied
            return int(arrival_id)
    raise NotFound(f"there is no mail {smtp_id} among the newest {_NEWEST} that came by SMTP")


def _message_of_arrival(connection: Connection, arrival_id: int) -> str:
    query = select(arrivals.c.message_id, arrivals.c.outcome).where(arrivals.c.id == arrival_id)
    found = connection.execute(query).first()
    if found is None:
        raise NotFound(f"there is no arrival {arrival_id}")
    if found.message_id is None:
        raise NotFound(
            f"arrival {arrival_id} became no message ({found.outcome}): "
            f"`smsbridge quarantine show {arrival_id}` shows it"
        )
    return str(found.message_id)


def states_of(connection: Connection, message_ids: Sequence[str]) -> Mapping[str, DeliveryState]:
    """Return one state for each message that has deliveries.

    pending if one is, else held, dead, delivered, filtered.
    """
    found: dict[str, DeliveryState] = {}
    for some in in_parts(message_ids):
        query = (
            select(events.c.message_id, deliveries.c.state)
            .join(deliveries, deliveries.c.event_id == events.c.id)
            .where(events.c.message_id.in_(some))
        )
        for message_id, state in connection.execute(query):
            known = [DeliveryState(state), *([found[message_id]] if message_id in found else [])]
            found[message_id] = min(known, key=_PRECEDENCE.index)
    return found


def last_errors(connection: Connection, delivery_ids: Sequence[int]) -> Mapping[int, str]:
    """Return why the last attempt of each delivery failed, for those whose last attempt did."""
    found: dict[int, str] = {}
    last = attempts.alias()
    newest = (
        select(func.max(last.c.number))
        .where(last.c.delivery_id == attempts.c.delivery_id)
        .scalar_subquery()
    )
    for some in in_parts(delivery_ids):
        query = select(
            attempts.c.delivery_id, attempts.c.status, attempts.c.error, attempts.c.detail
        ).where(
            attempts.c.delivery_id.in_(some),
            attempts.c.number == newest,
            attempts.c.result != "delivered",
        )
        for row in connection.execute(query):
            found[row.delivery_id] = row.detail or (
                row.error if row.status is None else f"answered {row.status}"
            )
    return found

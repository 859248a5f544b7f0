"""What an operator may look at: frozen rows, newest first, never more than asked for."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, Connection, RowMapping, Select, func, literal_column, select

from bridge.errors import NotFound
from bridge.model import (
    Arrival,
    ArrivalOutcome,
    DeliveryState,
    Event,
    MailboxPlace,
    SourceKind,
)
from bridge.store.endpoints import DEAD, HELD, PENDING
from bridge.store.tables import arrivals, attempts, deliveries, events, messages

DEFAULT_LIMIT: Final = 50


@dataclass(frozen=True, slots=True)
class MessageRow:
    """A message in a list; `body` is the SMS's text, whole."""

    id: str
    arrival_id: int  # that brought it
    provider: str
    sender: str
    recipient: str
    body: str = field(repr=False)
    received_at: datetime
    bridged_at: datetime
    provider_message_id: str | None


@dataclass(frozen=True, slots=True)
class ArrivalRow:
    """An arrival without its raw bytes."""

    id: int
    source: SourceKind
    source_name: str
    received_at: datetime
    outcome: ArrivalOutcome
    message_id: str | None
    provider: str | None
    reason: str | None
    detail: str | None
    trust_by: str | None
    trust_detail: str | None
    reparsed_at: datetime | None
    peer: str | None
    envelope_from: str | None
    recipients: tuple[str, ...]
    place: MailboxPlace | None
    size: int


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """A delivery in a list; `due_at` is its next try, or its lease's end while it is leased."""

    id: int
    message_id: str
    endpoint: str
    state: DeliveryState
    reason: str | None
    attempts: int
    step: int
    schedule_from: datetime
    due_at: datetime
    leased_by: str | None
    created_at: datetime
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class AttemptRow:
    """One HTTP call that was made; `result` is delivered, retry, held or dead."""

    number: int
    started_at: datetime
    duration: float
    result: str
    lease_lost: bool
    status: int | None
    error: str | None
    detail: str
    answer: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class MessageDetail:
    """A message with everything that belongs to it."""

    message: MessageRow
    event: Event
    arrivals: tuple[ArrivalRow, ...]
    deliveries: tuple[DeliveryRow, ...]


@dataclass(frozen=True, slots=True)
class ArrivalDetail:
    """An arrival with its raw bytes."""

    row: ArrivalRow
    raw: bytes = field(repr=False)

    @property
    def arrival(self) -> Arrival:
        """Return it as it came in, to be parsed again."""
        return Arrival(
            source=self.row.source,
            source_name=self.row.source_name,
            raw=self.raw,
            received_at=self.row.received_at,
            peer=self.row.peer,
            envelope_from=self.row.envelope_from,
            recipients=self.row.recipients,
            mailbox=self.row.place,
        )


@dataclass(frozen=True, slots=True)
class DeliveryDetail:
    """A delivery with its event and its attempts."""

    delivery: DeliveryRow
    event: Event
    attempts: tuple[AttemptRow, ...]


_MESSAGE: Final = (
    select(
        messages.c.id,
        arrivals.c.id.label("arrival_id"),
        messages.c.provider,
        messages.c.sender,
        messages.c.recipient,
        messages.c.received_at,
        messages.c.bridged_at,
        messages.c.provider_message_id,
        events.c.body,
        events.c.type,
    )
    .join(events, events.c.id == messages.c.id)
    .join(arrivals, arrivals.c.message_id == messages.c.id)
    .where(arrivals.c.outcome == ArrivalOutcome.MESSAGE)
)
_ARRIVAL: Final = select(
    *(column for column in arrivals.c if column.name not in {"raw", "digest"}),
    func.length(arrivals.c.raw).label("size"),
)
_DELIVERY: Final = select(
    deliveries.c.id,
    deliveries.c.event_id.label("message_id"),
    *(column for column in deliveries.c if column.name not in {"id", "event_id"}),
)
_PLACE: Final = ("mailbox", "folder", "uidvalidity", "uid")
_NOT_SHOWN: Final = {"raw", *_PLACE}
_STATES: Final = {
    DeliveryState.PENDING: PENDING,
    DeliveryState.HELD: HELD,
    DeliveryState.DEAD: DEAD,
}


def list_messages(
    connection: Connection,
    *,
    limit: int = DEFAULT_LIMIT,
    before: int | None = None,
    provider: str | None = None,
) -> list[MessageRow]:
    """List messages, the last to arrive first; `before` is the `arrival_id` to go on from."""
    query = _MESSAGE.order_by(arrivals.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(arrivals.c.id < before)
    if provider is not None:
        query = query.where(messages.c.provider == provider)
    return [_message(row) for row in connection.execute(query).mappings()]


def show_message(connection: Connection, message_id: str) -> MessageDetail:
    """Return one message, or raise NotFound."""
    row = connection.execute(_MESSAGE.where(messages.c.id == message_id)).mappings().first()
    if row is None:
        raise NotFound(f"there is no message {message_id}")
    brought = _ARRIVAL.where(arrivals.c.message_id == message_id).order_by(arrivals.c.id)
    follows = _DELIVERY.where(deliveries.c.event_id == message_id).order_by(deliveries.c.id)
    return MessageDetail(
        message=_message(row),
        event=Event(row["id"], row["type"], row["body"]),
        arrivals=tuple(_arrival(each) for each in connection.execute(brought).mappings()),
        deliveries=tuple(_delivery(each) for each in connection.execute(follows).mappings()),
    )


def list_deliveries(
    connection: Connection,
    *,
    limit: int = DEFAULT_LIMIT,
    before: int | None = None,
    endpoint: str | None = None,
    state: DeliveryState | None = None,
) -> list[DeliveryRow]:
    """List deliveries, newest first; `before` is the id to go on from."""
    query = _DELIVERY.order_by(deliveries.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(deliveries.c.id < before)
    if endpoint is not None:
        query = query.where(deliveries.c.endpoint == endpoint)
    if state is not None:
        query = query.where(_STATES.get(state, deliveries.c.state == state))
    return [_delivery(row) for row in connection.execute(query).mappings()]


def show_delivery(connection: Connection, delivery_id: int) -> DeliveryDetail:
    """Return one delivery with all its attempts, or raise NotFound."""
    found = connection.execute(_DELIVERY.where(deliveries.c.id == delivery_id)).mappings().first()
    if found is None:
        raise NotFound(f"there is no delivery {delivery_id}")
    delivery = _delivery(found)
    event = connection.execute(select(events).where(events.c.id == delivery.message_id)).one()
    columns = (column for column in attempts.c if column.name not in {"id", "delivery_id"})
    made = select(*columns).where(attempts.c.delivery_id == delivery_id)
    return DeliveryDetail(
        delivery=delivery,
        event=Event(event.id, event.type, event.body),
        attempts=tuple(
            AttemptRow(**row)
            for row in connection.execute(made.order_by(attempts.c.number)).mappings()
        ),
    )


def list_quarantine(
    connection: Connection,
    *,
    limit: int = DEFAULT_LIMIT,
    before: int | None = None,
    reason: str | None = None,
) -> list[ArrivalRow]:
    """List the arrivals in quarantine, newest first; `before` is the id to go on from."""
    query = _quarantined(_ARRIVAL).limit(limit)
    if before is not None:
        query = query.where(arrivals.c.id < before)
    if reason is not None:
        query = query.where(arrivals.c.reason == reason)
    return [_arrival(row) for row in connection.execute(query).mappings()]


def show_arrival(connection: Connection, arrival_id: int) -> ArrivalDetail:
    """Return one arrival, whatever it became, with its raw bytes; or raise NotFound."""
    query = _ARRIVAL.add_columns(arrivals.c.raw).where(arrivals.c.id == arrival_id)
    row = connection.execute(query).mappings().first()
    if row is None:
        raise NotFound(f"there is no arrival {arrival_id}")
    return ArrivalDetail(_arrival(row), row["raw"])


def _quarantined(query: Select[*tuple[object, ...]]) -> Select[*tuple[object, ...]]:
    quarantine: ColumnElement[bool] = arrivals.c.outcome == literal_column("'quarantine'")
    return query.where(quarantine).order_by(arrivals.c.id.desc())


def _message(row: RowMapping) -> MessageRow:
    # The text is read from what is sent: it is kept once, and no column can spoil it.
    body = str(json.loads(row["body"])["data"]["body"])
    return MessageRow(**{name: row[name] for name in row if name != "type"} | {"body": body})


def _arrival(row: RowMapping) -> ArrivalRow:
    known = {
        "source": SourceKind(row["source"]),
        "outcome": ArrivalOutcome(row["outcome"]),
        "place": None if row["mailbox"] is None else MailboxPlace(*(row[each] for each in _PLACE)),
    }
    return ArrivalRow(**{name: row[name] for name in row if name not in _NOT_SHOWN} | known)


def _delivery(row: RowMapping) -> DeliveryRow:
    return DeliveryRow(**dict(row) | {"state": DeliveryState(row["state"])})

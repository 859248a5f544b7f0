"""What operators look at: frozen rows, newest first, bounded by a limit."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    Select,
    SelectBase,
    func,
    literal_column,
    select,
)

from bridge.errors import NotFound, NotPossible
from bridge.model import Arrival, ArrivalOutcome, DeliveryState, Event, Message, Origin
from bridge.store import rows, search
from bridge.store.conversations import in_front
from bridge.store.endpoints import DEAD, DELIVERED, HELD, PENDING, WAITING_OR_HELD
from bridge.store.search import MessageFilter
from bridge.store.tables import arrivals, attempts, deliveries, events, messages

DEFAULT_LIMIT: Final = 50


@dataclass(frozen=True, slots=True)
class MessageRow:
    """A message in a list, and the arrival that brought it.

    `purged_at` is when its text was removed. `state` sums up its deliveries; None: it has none.
    """

    message: Message
    arrival_id: int
    arrived_at: datetime
    purged_at: datetime | None
    state: DeliveryState | None


@dataclass(frozen=True, slots=True)
class ArrivalRow:
    """An arrival without its raw bytes, which are `size` long; none since `purged_at`."""

    id: int
    origin: Origin
    source: str
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
    size: int
    purged_at: datetime | None
    discarded_because: str | None


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """A delivery in a list; `due_at` is its next try, or its lease's end while it is leased.

    `behind` is the delivery of its conversation that it waits for, None if it waits for none.
    `last_error` is why its last attempt failed, None if it has made none or succeeded.
    """

    id: int
    message_id: str | None  # None for a digest
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
    replay: int  # the replay that ordered it; 0: none
    sequence: int | None  # its number in the endpoint's stream
    behind: int | None
    last_error: str | None


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
    sent: bool
    failover: bool
    answer: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class MessageDetail:
    """A message with everything that belongs to it."""

    row: MessageRow
    arrivals: tuple[ArrivalRow, ...]
    deliveries: tuple[DeliveryRow, ...]


@dataclass(frozen=True, slots=True)
class ArrivalDetail:
    """An arrival with its raw bytes; none once they were purged."""

    row: ArrivalRow
    raw: bytes = field(repr=False)

    @property
    def arrival(self) -> Arrival:
        """Return it as it came in, to be read again."""
        row = self.row
        return Arrival(row.origin, row.source_name, self.raw, row.received_at)


@dataclass(frozen=True, slots=True)
class DeliveryDetail:
    """A delivery with its event and its attempts."""

    delivery: DeliveryRow
    event: Event
    attempts: tuple[AttemptRow, ...]


_MESSAGE: Final = (
    select(
        *(column for column in messages.c if not column.name.endswith("_key")),
        arrivals.c.id.label("arrival_id"),
        arrivals.c.received_at.label("arrived_at"),
        arrivals.c.source,
        arrivals.c.trust_by,
        arrivals.c.trust_detail,
    )
    .join(arrivals, arrivals.c.message_id == messages.c.id)
    .where(arrivals.c.outcome == ArrivalOutcome.MESSAGE)
)
ARRIVAL: Final = select(
    *(column for column in arrivals.c if column.name not in {"raw", "digest"}),
    func.length(arrivals.c.raw).label("size"),
)
_DELIVERY: Final = select(
    events.c.message_id,
    *(
        column
        for column in deliveries.c
        if column.name not in {"event_id", "lived_from", "not_before", "conversation"}
    ),
    in_front().label("behind"),
).join(events, events.c.id == deliveries.c.event_id)
QUARANTINED: Final = arrivals.c.outcome == literal_column("'quarantine'")
_OF_ARRIVAL: Final = {name for name in ArrivalRow.__slots__ if name not in {"origin", "outcome"}}
STATES: Final = {
    # The second says nothing new, but lets an index be used that is in the order of the ids.
    DeliveryState.PENDING: PENDING & WAITING_OR_HELD,
    DeliveryState.HELD: HELD,
    DeliveryState.DEAD: DEAD,
    DeliveryState.DELIVERED: DELIVERED,
}


def list_messages(
    connection: Connection,
    *,
    limit: int = DEFAULT_LIMIT,
    before: int | None = None,
    which: MessageFilter = search.ALL,
) -> list[MessageRow]:
    """List messages, the last to arrive first; `before` is the `arrival_id` to go on from."""
    query = _MESSAGE.where(*which.conditions()).order_by(arrivals.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(arrivals.c.id < before)
    return _messages(connection, query)


def walk_messages(
    connection: Connection,
    conditions: Iterable[ColumnElement[bool]],
    *,
    after: int,
    last: int,
    limit: int | None,
) -> list[MessageRow]:
    """Return messages brought by the arrivals after `after` up to `last`, oldest first."""
    query = _MESSAGE.where(*conditions, arrivals.c.id > after, arrivals.c.id <= last)
    return _messages(connection, query.order_by(arrivals.c.id).limit(limit))


def show_message(connection: Connection, message_id: str) -> MessageDetail:
    """Return one message, or raise NotFound."""
    found = _messages(connection, _MESSAGE.where(messages.c.id == message_id))
    if not found:
        raise NotFound(f"there is no message {message_id}")
    brought = ARRIVAL.where(arrivals.c.message_id == message_id).order_by(arrivals.c.id)
    follows = _DELIVERY.where(events.c.message_id == message_id).order_by(deliveries.c.id)
    return MessageDetail(
        row=found[0],
        arrivals=tuple(arrival_row(each) for each in connection.execute(brought).mappings()),
        deliveries=tuple(_deliveries(connection, follows)),
    )


def list_deliveries(
    connection: Connection,
    *,
    limit: int | None = DEFAULT_LIMIT,
    before: int | None = None,
    among: SelectBase | None = None,
    endpoint: str | None = None,
    state: DeliveryState | None = None,
) -> list[DeliveryRow]:
    """List deliveries, newest first; `before` is the id to go on from, `among` selects ids."""
    query = _DELIVERY.order_by(deliveries.c.id.desc()).limit(limit)
    if among is not None:
        query = query.where(deliveries.c.id.in_(among))
    if before is not None:
        query = query.where(deliveries.c.id < before)
    if endpoint is not None:
        query = query.where(deliveries.c.endpoint == endpoint)
    if state is not None:
        query = query.where(STATES.get(state, deliveries.c.state == state))
    return _deliveries(connection, query)


def show_delivery(connection: Connection, delivery_id: int) -> DeliveryDetail:
    """Return one delivery with all its attempts, or raise NotFound."""
    found = _deliveries(connection, _DELIVERY.where(deliveries.c.id == delivery_id))
    if not found:
        raise NotFound(f"there is no delivery {delivery_id}")
    sent = (
        select(events.c.id, events.c.format, events.c.type, events.c.body)
        .join(deliveries, deliveries.c.event_id == events.c.id)
        .where(deliveries.c.id == delivery_id)
    )
    event = connection.execute(sent).one()
    columns = (column for column in attempts.c if column.name not in {"id", "delivery_id"})
    made = select(*columns).where(attempts.c.delivery_id == delivery_id).order_by("number")
    return DeliveryDetail(
        delivery=found[0],
        event=Event(event.id, event.format, event.type, event.body),
        attempts=tuple(AttemptRow(**row) for row in connection.execute(made).mappings()),
    )


def list_quarantine(
    connection: Connection,
    *,
    limit: int = DEFAULT_LIMIT,
    before: int | None = None,
    after: int | None = None,
    reason: str | None = None,
) -> list[ArrivalRow]:
    """List the arrivals in quarantine, newest first; `before` is the id to go on from.

    With `after`, those with higher ids, oldest first.
    """
    # By the id as it is, SQLite would go through all arrivals to find those in quarantine.
    newest = arrivals.c.id + 0 if reason is None else arrivals.c.id
    order = newest.desc() if after is None else arrivals.c.id.asc()
    some = select(arrivals.c.id).where(QUARANTINED).order_by(order).limit(limit)
    if after is not None:
        some = some.where(arrivals.c.id > after)
    if before is not None:
        some = some.where(arrivals.c.id < before)
    if reason is not None:
        some = some.where(arrivals.c.reason == reason)
    query = ARRIVAL.where(arrivals.c.id.in_(some)).order_by(order)
    return [arrival_row(row) for row in connection.execute(query).mappings()]


def show_arrival(connection: Connection, arrival_id: int) -> ArrivalDetail:
    """Return one arrival, whatever it became, with its raw bytes; or raise NotFound."""
    query = ARRIVAL.add_columns(arrivals.c.raw).where(arrivals.c.id == arrival_id)
    row = connection.execute(query).mappings().first()
    if row is None:
        raise NotFound(f"there is no arrival {arrival_id}")
    return ArrivalDetail(arrival_row(row), row["raw"])


def quarantined_ids(connection: Connection) -> list[int]:
    """Return the ids of all in quarantine that have their raw bytes, oldest first."""
    found = select(arrivals.c.id).where(QUARANTINED, arrivals.c.purged_at.is_(None))
    return list(connection.execute(found.order_by(arrivals.c.id)).scalars())


def require_raw(connection: Connection, arrival_id: int) -> None:
    """Raise NotFound if there is no such arrival, NotPossible if its raw bytes were purged."""
    wanted = select(arrivals.c.purged_at).where(arrivals.c.id == arrival_id)
    if (found := connection.execute(wanted).first()) is None:
        raise NotFound(f"there is no arrival {arrival_id}")
    if found.purged_at is not None:
        at = found.purged_at.isoformat(timespec="seconds")
        raise NotPossible(f"arrival {arrival_id} has no raw mail any more: it was purged at {at}")


def require_delivery(connection: Connection, delivery_id: int) -> None:
    """Raise NotFound if there is no such delivery."""
    wanted = select(deliveries.c.id).where(deliveries.c.id == delivery_id)
    if connection.execute(wanted).first() is None:
        raise NotFound(f"there is no delivery {delivery_id}")


def _messages(connection: Connection, query: Select[Any]) -> list[MessageRow]:
    found = connection.execute(query).mappings().all()
    states = search.states_of(connection, [row["id"] for row in found])
    return [
        MessageRow(
            message=rows.as_message(row),
            arrival_id=row["arrival_id"],
            arrived_at=row["arrived_at"],
            purged_at=row["purged_at"],
            state=states.get(row["id"]),
        )
        for row in found
    ]


def arrival_row(row: RowMapping) -> ArrivalRow:
    """Return an arrival from its row."""
    known: dict[str, Any] = {name: row[name] for name in _OF_ARRIVAL}
    return ArrivalRow(origin=rows.origin(row), outcome=ArrivalOutcome(row["outcome"]), **known)


def _deliveries(connection: Connection, query: Select[Any]) -> list[DeliveryRow]:
    found = connection.execute(query).mappings().all()
    errors = search.last_errors(connection, [row["id"] for row in found])
    return [
        DeliveryRow(
            **dict(row)
            | {"state": DeliveryState(row["state"]), "last_error": errors.get(row["id"])}
        )
        for row in found
    ]

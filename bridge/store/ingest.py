"""Writes arrivals and all that follows from them: message, event, deliveries. One transaction."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Final

from sqlalchemy import Connection, Table, bindparam, func, insert, select, update

from bridge.errors import BridgeError, NotFound, NotPossible
from bridge.model import (
    Arrival,
    ArrivalOutcome,
    Claim,
    Cursor,
    DeliveryState,
    Event,
    Identity,
    Ignored,
    PlannedDelivery,
    Reason,
    Receipt,
    SmsMessage,
    Trust,
    Unreadable,
)
from bridge.store import mailboxes, postgres, tables
from bridge.store.endpoints import held_endpoints
from bridge.store.known import Known, KnownMessages
from bridge.store.lease import Lease
from bridge.store.unread import Unread, digest_of, place_columns

Row = dict[str, object]

_REPARSABLE: Final = {ArrivalOutcome.QUARANTINE.value, ArrivalOutcome.IGNORED.value}
_REPARSED_COLUMNS: Final = (
    "outcome", "message_id", "provider", "reason", "detail", "trust_by", "trust_detail",
    "reparsed_at",
)  # fmt: skip
_REPARSED: Final = (
    update(tables.arrivals)
    .where(tables.arrivals.c.id == bindparam("arrival"))
    .values({column: bindparam(column) for column in _REPARSED_COLUMNS})
)


@dataclass(frozen=True, slots=True)
class Parsed:
    """An arrival that became a message, and what is to be written with it if it is new."""

    message: SmsMessage
    identity: Identity
    event: Event
    trust: Trust
    deliveries: tuple[PlannedDelivery, ...]


@dataclass(frozen=True, slots=True)
class Ingest:
    """What one arrival became; `arrival_id` names the stored arrival that was parsed again.

    `more` are the other messages of a mail that holds several.
    """

    arrival: Arrival
    result: Parsed | Unreadable | Ignored
    arrival_id: int | None = None
    more: tuple[Parsed, ...] = ()

    @property
    def parsed(self) -> tuple[Parsed, ...]:
        """All its messages."""
        return (self.result, *self.more) if isinstance(self.result, Parsed) else ()


def ingest_many(
    connection: Connection, items: Sequence[Ingest], lease: Lease
) -> list[Receipt | BridgeError]:
    """Write the arrivals within the given write transaction; return their receipts in order.

    A mailbox's cursor moves to the highest UID that one of its arrivals says is settled, and no
    further: mails are committed in any order, one may be refused while its neighbours are stored,
    and nobody looks below a cursor again. Only who reads the mailbox knows what is settled.

    An arrival that repeats a known message, or one earlier in `items`, is written as a duplicate
    and makes no delivery. Deliveries to a held endpoint are written held. `claimed` ones are
    written as leased by `lease.owner`, attempt 1, and are in the receipt. A reparse of an arrival
    that is not there (NotFound) or is a message already (NotPossible) yields the error as its
    item's result and writes nothing; the others are not touched by that. What became no message
    and was read before with the same bytes is not written again (`Receipt.repeated`).

    An arrival with several messages is written once for each of them, raw bytes and all, so that
    every message has the one arrival that brought it; its receipt names the first that is new.
    """
    postgres.lock_ingest(connection)
    postgres.lock_holds(connection, change=False)
    batch = _Batch(connection, items, lease)
    receipts = [batch.take(item) for item in items]
    batch.write()
    return receipts


class _Batch:
    """Decides item by item, then writes table by table."""

    def __init__(self, connection: Connection, items: Sequence[Ingest], lease: Lease) -> None:
        self._connection = connection
        self._lease = lease
        parsed = [each for item in items for each in item.parsed]
        self._known = (
            KnownMessages.load(connection, (each.identity for each in parsed))
            if parsed
            else KnownMessages()
        )
        self._held = held_endpoints(connection) if parsed else {}
        self._stored = _stored_outcomes(connection, items)
        self._unread = Unread.load(connection, [_unread(item) for item in items])
        new = sum((item.arrival_id is None) + len(item.more) for item in items)
        planned = sum(len(each.deliveries) for each in parsed)
        self._arrival_keys, self._delivery_keys = _keys(connection, new, planned)
        self._settled = _settled(items)
        self._messages: list[tuple[Parsed, Known]] = []
        self._arrivals: list[Row] = []
        self._reparsed: list[Row] = []
        self._deliveries: list[Row] = []

    def take(self, item: Ingest) -> Receipt | BridgeError:
        """Decide what the item becomes and note its rows."""
        if item.arrival_id is not None:
            refused = self._refuse_reparse(item.arrival_id)
            if refused is not None:
                return refused
        receipt = self._take(item)
        for parsed in item.more:
            receipt = _both(receipt, self._take(Ingest(item.arrival, parsed)))
        return receipt

    def _take(self, item: Ingest) -> Receipt:
        claims: tuple[Claim, ...] = ()
        message_id = None
        match item.result:
            case Parsed() as parsed:
                found = self._known.find(parsed.identity)
                if found is not None:
                    outcome, message_id = ArrivalOutcome.DUPLICATE, found.id
                else:
                    outcome, message_id = ArrivalOutcome.MESSAGE, parsed.identity.message_id
                    claims = self._new_message(parsed)
            case Unreadable():
                outcome = ArrivalOutcome.QUARANTINE
            case Ignored():
                outcome = ArrivalOutcome.IGNORED
        digest = _unread(item)
        first = self._unread.find(digest, outcome, item.arrival.mailbox)
        if first is not None:
            return Receipt(first, outcome, repeated=True)
        arrival_id = self._note_arrival(item, outcome, message_id, digest)
        return Receipt(arrival_id, outcome, message_id, claims)

    def write(self) -> None:
        """Write what was noted: a handful of statements, however many items there are."""
        self._known.write_changes(self._connection)
        self._insert(tables.messages, self._message_rows())
        self._insert(tables.events, self._event_rows())
        self._insert(tables.arrivals, self._arrivals)
        self._insert(tables.deliveries, self._deliveries)
        self._unread.write_changes(self._connection)
        for (mailbox, folder, uidvalidity), uid in self._settled.items():
            mailboxes.advance(self._connection, mailbox, folder, Cursor(uidvalidity, uid))
        if self._reparsed:
            self._connection.execute(_REPARSED, self._reparsed)

    def _insert(self, table: Table, rows: Sequence[Row]) -> None:
        if rows:
            self._connection.execute(_INSERTS[table.name], rows)

    def _refuse_reparse(self, arrival_id: int) -> BridgeError | None:
        outcome = self._stored.get(arrival_id)
        if outcome is None:
            return NotFound(f"there is no arrival {arrival_id}")
        if outcome not in _REPARSABLE:
            return NotPossible(
                f"arrival {arrival_id} is a {outcome}; only quarantined or ignored arrivals can "
                "be parsed again"
            )
        return None

    def _note_arrival(
        self, item: Ingest, outcome: ArrivalOutcome, message_id: str | None, digest: bytes | None
    ) -> int:
        result = item.result
        parsed = result if isinstance(result, Parsed) else None
        row: Row = {
            "outcome": outcome,
            "message_id": message_id,
            "provider": parsed.message.provider if parsed else _provider(result),
            "reason": _reason(result),
            "detail": None if isinstance(result, Parsed) else result.detail,
            "trust_by": parsed.trust.by if parsed else None,
            "trust_detail": parsed.trust.detail if parsed else None,
        }
        if item.arrival_id is not None:
            row |= {"arrival": item.arrival_id, "reparsed_at": self._lease.now}
            self._reparsed.append(row)
            self._stored[item.arrival_id] = outcome.value
            return item.arrival_id
        arrival = item.arrival
        arrival_id = next(self._arrival_keys)
        row |= {
            "id": arrival_id,
            "source": arrival.source,
            "source_name": arrival.source_name,
            "received_at": arrival.received_at,
            "peer": arrival.peer,
            "envelope_from": arrival.envelope_from,
            "recipients": arrival.recipients,
            **place_columns(arrival.mailbox),
            "digest": digest,
            "raw": arrival.raw,
        }
        self._arrivals.append(row)
        if digest is not None:
            self._unread.add(digest, outcome, arrival_id)
        return arrival_id

    def _new_message(self, parsed: Parsed) -> tuple[Claim, ...]:
        # A later item of this batch may still add a key to it, so the row is made at the end.
        self._messages.append((parsed, self._known.add(parsed.identity)))
        claims = (self._note_delivery(parsed.event, plan) for plan in parsed.deliveries)
        return tuple(claim for claim in claims if claim is not None)

    def _note_delivery(self, event: Event, plan: PlannedDelivery) -> Claim | None:
        now = self._lease.now
        state, reason = plan.state, plan.reason
        if state is DeliveryState.PENDING and plan.endpoint in self._held:
            state, reason = DeliveryState.HELD, self._held[plan.endpoint]
        claimed = plan.claimed and state is DeliveryState.PENDING
        delivery_id = next(self._delivery_keys)
        self._deliveries.append(
            {
                "id": delivery_id,
                "event_id": event.id,
                "endpoint": plan.endpoint,
                "state": state,
                "reason": reason,
                "attempts": int(claimed),
                "step": 0,
                "schedule_from": now,
                "due_at": self._lease.until if claimed else now,
                "leased_by": self._lease.owner if claimed else None,
                "created_at": now,
                "changed_at": now,
            }
        )
        if not claimed:
            return None
        return Claim(delivery_id, plan.endpoint, event, 1, 0, now, self._lease.token(1))

    def _message_rows(self) -> list[Row]:
        return [
            {
                "id": known.id,
                "provider": parsed.message.provider,
                "sender": parsed.message.sender,
                "recipient": parsed.message.recipient,
                "received_at": parsed.message.received_at,
                "bridged_at": self._lease.now,
                "provider_message_id": parsed.message.provider_message_id,
                "content_key": known.content,
                "email_key": known.email,
                "provider_key": known.provider,
            }
            for parsed, known in self._messages
        ]

    def _event_rows(self) -> list[Row]:
        return [
            {
                "id": parsed.event.id,
                "type": parsed.event.type,
                "planned": len(parsed.deliveries),
                "created_at": self._lease.now,
                "body": parsed.event.body,
            }
            for parsed, _ in self._messages
        ]


_INSERTS: Final = {
    table.name: insert(table)
    for table in (tables.messages, tables.events, tables.arrivals, tables.deliveries)
}


def _both(receipt: Receipt, other: Receipt) -> Receipt:
    """Make one receipt of two of the same arrival: the first, unless only the other is new."""
    new = ArrivalOutcome.MESSAGE
    told = other if other.outcome is new and receipt.outcome is not new else receipt
    return replace(told, claims=(*receipt.claims, *other.claims))


def _keys(
    connection: Connection, arrivals: int, deliveries: int
) -> tuple[Iterator[int], Iterator[int]]:
    """Draw new keys of both tables, so that every row is known before any is written.

    On SQLite nobody else writes while we hold the write lock, and nothing is ever deleted.
    """
    if postgres.is_postgres(connection):
        return (
            iter(postgres.next_keys(connection, "arrivals", arrivals)),
            iter(postgres.next_keys(connection, "deliveries", deliveries)),
        )
    last_arrival, last_delivery = connection.execute(_LAST_KEYS).one()
    return count(last_arrival + 1), count(last_delivery + 1)


_LAST_KEYS: Final = select(
    *(
        select(func.coalesce(func.max(table.c.id), 0)).scalar_subquery()
        for table in (tables.arrivals, tables.deliveries)
    )
)


def _stored_outcomes(connection: Connection, items: Sequence[Ingest]) -> dict[int, str]:
    """Look up the arrivals that are parsed again."""
    wanted = [item.arrival_id for item in items if item.arrival_id is not None]
    if not wanted:
        return {}
    columns = tables.arrivals.c
    query = select(columns.id, columns.outcome).where(columns.id.in_(wanted))
    return {row.id: row.outcome for row in connection.execute(query)}


def _settled(items: Sequence[Ingest]) -> dict[tuple[str, str, int], int]:
    """Find how far each folder is settled; in the order in which its UIDVALIDITIES came."""
    found: dict[tuple[str, str, int], int] = {}
    for item in items:
        place = item.arrival.mailbox
        # What is parsed again was read long ago.
        if place is not None and place.settled is not None and item.arrival_id is None:
            folder = (place.mailbox, place.folder, place.uidvalidity)
            found[folder] = max(place.settled, found.get(folder, place.settled))
    return found


def _unread(item: Ingest) -> bytes | None:
    """Give the digest of a mail that became no message, if it may be read once more."""
    if item.arrival_id is not None or isinstance(item.result, Parsed):
        return None
    return digest_of(item.arrival)


def _provider(result: Parsed | Unreadable | Ignored) -> str | None:
    return None if isinstance(result, Parsed) else result.provider


def _reason(result: Parsed | Unreadable | Ignored) -> Reason | None:
    match result:
        case Unreadable():
            return result.reason
        case Ignored():
            return Reason.NOT_SMS
        case _:
            return None

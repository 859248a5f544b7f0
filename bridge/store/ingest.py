"""Writes arrivals and all that follows: messages, events, deliveries. One transaction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, Table, bindparam, insert, select, update

from bridge.errors import BridgeError, NotFound, NotPossible, QuarantineFull
from bridge.model import (
    Arrival,
    ArrivalOutcome,
    Claim,
    Cursor,
    DeliveryState,
    Event,
    Identity,
    Ignored,
    MailboxPlace,
    Message,
    PlannedDelivery,
    Receipt,
    Unreadable,
)
from bridge.store import mailboxes, postgres, rows, tables
from bridge.store.conversations import Turns
from bridge.store.dedupe import (
    Known,
    KnownBytes,
    KnownMessages,
    digest_of,
    is_read_again,
    settle,
)
from bridge.store.endpoints import BEHIND, held_endpoints
from bridge.store.keys import new_keys
from bridge.store.lease import Lease
from bridge.store.quota import Quota
from bridge.store.rows import Row
from bridge.store.sequences import Sequences
from bridge.store.statements import Statement

_REPARSABLE: Final = {ArrivalOutcome.QUARANTINE.value, ArrivalOutcome.IGNORED.value}
_REPARSED_COLUMNS: Final = (*rows.RESULT, "reparsed_at")
_REPARSED: Final = Statement(
    update(tables.arrivals)
    .where(tables.arrivals.c.id == bindparam("arrival"))
    .values({column: bindparam(column) for column in _REPARSED_COLUMNS})
)


@dataclass(frozen=True, slots=True)
class PlannedMessage:
    """A message with what is to be written with it if it is new.

    There is an event for each format that `deliveries` name.
    """

    message: Message
    identity: Identity
    events: tuple[Event, ...]
    deliveries: tuple[PlannedDelivery, ...]


@dataclass(frozen=True, slots=True)
class Ingest:
    """What an arrival is: its messages, at least one, or why it is none.

    `reparse_of` is the id of the stored arrival that was read again.
    """

    arrival: Arrival
    result: tuple[PlannedMessage, ...] | Unreadable | Ignored
    reparse_of: int | None = None

    @property
    def messages(self) -> tuple[PlannedMessage, ...]:
        """Its messages; none if it became none."""
        return self.result if isinstance(self.result, tuple) else ()


def ingest_many(
    connection: Connection,
    items: Sequence[Ingest],
    lease: Lease,
    quota: Quota | None = None,
) -> list[Receipt | BridgeError]:
    """Write the arrivals within the given write transaction; return their receipts in order.

    A mailbox's cursor moves to the highest UID that one of its arrivals says is settled, and no
    further: mails are committed in any order, one may be refused while its neighbours are stored,
    and nobody looks below a cursor again. Only the reader of the mailbox knows what is settled.

    An arrival that repeats a known message, or one earlier in `items`, is written as a duplicate
    and makes no delivery. Deliveries to a held endpoint are written held. `claimed` ones are
    written as leased by `lease.owner`, attempt 1, and are in the receipt. A reparse of an arrival
    that does not exist (NotFound) or is a message already (NotPossible) yields the error as its
    item's result and writes nothing; the other items are not affected. What became no message and
    was stored before with the same bytes is not written again (`Receipt.repeated`). A stranger's
    mail over the `quota` yields QuarantineFull.

    An arrival with several messages is written once for each of them, with its raw bytes, so that
    every message has exactly one arrival that brought it; its receipt names the first new one.
    """
    postgres.lock_ingest(connection)
    postgres.lock_holds(connection, change=False)
    batch = _Batch(connection, items, lease, quota)
    receipts = [batch.take(item) for item in items]
    batch.write()
    return receipts


class _Batch:
    """Decides item by item, then writes table by table."""

    def __init__(
        self,
        connection: Connection,
        items: Sequence[Ingest],
        lease: Lease,
        quota: Quota | None,
    ) -> None:
        self._connection = connection
        self._quota = quota
        self._lease = lease
        planned = [each for item in items for each in item.messages]
        self._known = (
            KnownMessages.load(connection, (each.identity for each in planned))
            if planned
            else KnownMessages()
        )
        self._held = held_endpoints(connection) if planned else {}
        self._turns = Turns(connection, lease.now)
        self._sequences = Sequences(connection)
        self._stored = _stored_outcomes(connection, items)
        self._digests = {id(item): _digest(item) for item in items}
        self._known_bytes = KnownBytes.load(
            connection, (self._digests[id(each)] for each in items if is_read_again(each.arrival))
        )
        new = sum(max(1, len(item.messages)) - (item.reparse_of is not None) for item in items)
        deliveries = sum(len(each.deliveries) for each in planned)
        self._arrival_keys, self._delivery_keys = new_keys(connection, new, deliveries)
        self._settled = _settled(items)
        self._messages: list[tuple[PlannedMessage, Known]] = []
        self._read: list[tuple[Message, str]] = []  # what may have been in quarantine before
        self._arrivals: list[Row] = []
        self._reparsed: list[Row] = []
        self._deliveries: list[Row] = []

    def take(self, item: Ingest) -> Receipt | BridgeError:
        """Decide what the item becomes and note its rows."""
        if item.reparse_of is not None:
            refused = self._refuse_reparse(item.reparse_of)
            if refused is not None:
                return refused
        if not isinstance(item.result, tuple):
            return self._take_unread(item, item.result)
        first, *others = item.messages
        again = item.reparse_of is not None or is_read_again(item.arrival)
        receipt = self._take_message(item.arrival, first, item.reparse_of)
        if again and receipt.message_id is not None:
            self._read.append((first.message, receipt.message_id))
        for each in others:
            receipt = _both(receipt, self._take_message(item.arrival, each, None))
        return receipt

    def _take_message(
        self, arrival: Arrival, planned: PlannedMessage, reparse_of: int | None
    ) -> Receipt:
        claims: tuple[Claim, ...] = ()
        found = self._known.find(planned.identity)
        if found is not None:
            outcome, message_id = ArrivalOutcome.DUPLICATE, found.id
        else:
            outcome, message_id = ArrivalOutcome.MESSAGE, planned.message.id
            claims = self._new_message(planned)
        result = rows.result_of_message(planned.message, outcome, message_id)
        arrival_id = self._note_arrival(arrival, result, reparse_of, None)
        return Receipt(arrival_id, outcome, message_id, claims)

    def _take_unread(self, item: Ingest, result: Unreadable | Ignored) -> Receipt | BridgeError:
        quarantined = isinstance(result, Unreadable)
        outcome = ArrivalOutcome.QUARANTINE if quarantined else ArrivalOutcome.IGNORED
        digest = self._digests[id(item)]
        place = item.arrival.origin if isinstance(item.arrival.origin, MailboxPlace) else None
        first = (
            self._known_bytes.find(digest, outcome, place) if is_read_again(item.arrival) else None
        )
        if first is not None:
            return Receipt(first, outcome, repeated=True)
        if self._quota and isinstance(result, Unreadable) and item.reparse_of is None:
            try:
                self._quota.require(self._connection, item.arrival, result)
            except QuarantineFull as full:
                return full
        row = rows.result_without_message(result, outcome)
        arrival_id = self._note_arrival(item.arrival, row, item.reparse_of, digest)
        if digest is not None:
            self._known_bytes.add(digest, outcome, item.arrival, arrival_id)
        return Receipt(arrival_id, outcome)

    def write(self) -> None:
        """Write what was noted: a handful of statements, however many items there are."""
        now = self._lease.now
        self._known.write_changes(self._connection)
        # A later item of the batch may have added a key to a message, so its row is made last.
        self._insert(tables.messages, [rows.message(p.message, k) for p, k in self._messages])
        self._insert(tables.events, [row for p, _ in self._messages for row in _events(p, now)])
        self._insert(tables.arrivals, self._arrivals)
        self._insert(tables.deliveries, self._deliveries)
        self._sequences.write()
        self._known_bytes.write_changes(self._connection)
        settle(self._connection, self._read, now)
        for (mailbox, folder, uidvalidity), uid in self._settled.items():
            mailboxes.advance(self._connection, mailbox, folder, Cursor(uidvalidity, uid))
        if self._reparsed:
            _REPARSED.change(self._connection, self._reparsed)

    def _insert(self, table: Table, new: Sequence[Row]) -> None:
        if new:
            _INSERTS[table.name].change(self._connection, new)

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
        self, arrival: Arrival, result: Row, reparse_of: int | None, digest: bytes | None
    ) -> int:
        if reparse_of is not None:
            row = {**result, "arrival": reparse_of, "reparsed_at": self._lease.now}
            self._reparsed.append(row)
            self._stored[reparse_of] = str(result["outcome"])
            return reparse_of
        arrival_id = next(self._arrival_keys)
        self._arrivals.append({**rows.arrival(arrival, arrival_id, digest), **result})
        return arrival_id

    def _new_message(self, planned: PlannedMessage) -> tuple[Claim, ...]:
        self._messages.append((planned, self._known.add(planned.identity)))
        events = {event.format: event for event in planned.events}
        claims = (self._note_delivery(events[plan.format], plan) for plan in planned.deliveries)
        return tuple(claim for claim in claims if claim is not None)

    def _note_delivery(self, event: Event, plan: PlannedDelivery) -> Claim | None:
        lease = self._lease
        state, reason = plan.state, plan.reason
        if state is DeliveryState.PENDING and plan.endpoint in self._held:
            state, reason = DeliveryState.HELD, self._held[plan.endpoint]
        pending = state is DeliveryState.PENDING
        behind = pending and self._turns.is_behind(plan)
        claimed = plan.claimed and pending and not behind
        due = BEHIND if behind else lease.now
        filtered = state is DeliveryState.FILTERED
        delivery_id = next(self._delivery_keys)
        sequence = None if filtered else self._sequences.next(plan.endpoint)
        self._deliveries.append(
            {
                "id": delivery_id,
                "event_id": event.id,
                "endpoint": plan.endpoint,
                "state": state,
                "reason": reason,
                "attempts": int(claimed),
                "step": 0,
                "schedule_from": lease.now,
                "lived_from": lease.lived,
                "due_at": lease.until if claimed else due,
                "leased_by": lease.owner if claimed else None,
                "created_at": lease.now,
                "changed_at": lease.now,
                "conversation": None if filtered else plan.conversation,
                "sequence": sequence,
            }
        )
        if not claimed:
            return None
        token = lease.token(1)
        return Claim(
            delivery_id, plan.endpoint, event, 1, 0, 0.0, token, plan.conversation,
            sequence=sequence, created_at=lease.now, lane=plan.lane,
        )  # fmt: skip


# Columns that no insert writes.
_LATER: Final = {"reparsed_at", "purged_at", "discarded_because", "not_before", "replay"}
_INSERTS: Final = {
    table.name: Statement(
        insert(table).values(
            {each.name: bindparam(each.name) for each in table.c if each.name not in _LATER}
        )
    )
    for table in (tables.messages, tables.events, tables.arrivals, tables.deliveries)
}


def _events(planned: PlannedMessage, now: datetime) -> Iterator[Row]:
    wanted = Counter(plan.format for plan in planned.deliveries)
    for event in planned.events:
        yield rows.event(event, planned.message.id, wanted[event.format], now)


def _both(receipt: Receipt, other: Receipt) -> Receipt:
    """Merge two receipts of one arrival: the first counts, unless only the other is new."""
    new = ArrivalOutcome.MESSAGE
    named = other if other.outcome is new and receipt.outcome is not new else receipt
    return replace(named, claims=(*receipt.claims, *other.claims))


def _stored_outcomes(connection: Connection, items: Sequence[Ingest]) -> dict[int, str]:
    """Look up the arrivals that were reparsed."""
    wanted = [item.reparse_of for item in items if item.reparse_of is not None]
    if not wanted:
        return {}
    columns = tables.arrivals.c
    query = select(columns.id, columns.outcome).where(columns.id.in_(wanted))
    return {row.id: row.outcome for row in connection.execute(query)}


def _settled(items: Sequence[Ingest]) -> dict[tuple[str, str, int], int]:
    """Find how far each folder is settled; in the order in which its UIDVALIDITYs came."""
    found: dict[tuple[str, str, int], int] = {}
    for item in items:
        place = item.arrival.origin
        # A reparsed arrival was read from its mailbox long ago.
        if not isinstance(place, MailboxPlace) or item.reparse_of is not None:
            continue
        if place.settled is not None:
            folder = (place.mailbox, place.folder, place.uidvalidity)
            found[folder] = max(place.settled, found.get(folder, place.settled))
    return found


def _digest(item: Ingest) -> bytes | None:
    """Hash a mail that became no message and is new."""
    if item.reparse_of is not None or item.messages:
        return None
    return digest_of(item.arrival)

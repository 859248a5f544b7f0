"""An endpoint's stream as it was stored, for whoever missed a number. Reading changes nothing.

Each number up to the last one is a delivery with its event, or gone, with the reason. A page costs
the same however long the stream is, and its bodies are bounded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

from sqlalchemy import Connection, bindparam, func, select

from bridge.model import DeliveryState, Event
from bridge.store.sequences import last_numbers
from bridge.store.statements import Statement
from bridge.store.stream_tables import deleted_numbers
from bridge.store.tables import deliveries, events
from bridge.store.unaltered import whole_bodies

ERASED: Final = "erased"  # on request, before it was delivered
DAMAGED: Final = "damaged"  # it is not what was stored: it is held, and never sent
PURGED: Final = "purged"  # it was delivered, and retention has removed the text since
DELETED: Final = "deleted"  # the same, with all that was known of it


@dataclass(frozen=True, slots=True)
class Numbered:
    """A delivery of a stream with its event, whatever became of it so far."""

    sequence: int
    event: Event
    state: DeliveryState
    attempts: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Gone:
    """Numbers that have no event any more, both ends included."""

    first: int
    last: int
    reason: str


@dataclass(frozen=True, slots=True)
class Page:
    """What became of the numbers after `after` up to `through`; `last` is the stream's last one."""

    after: int
    through: int
    last: int
    deliveries: tuple[Numbered, ...]
    gone: tuple[Gone, ...]


def read_page(
    connection: Connection, endpoint: str, after: int, most: int, most_bytes: int
) -> Page:
    """Read up to `most` deliveries behind a number, in one read transaction.

    Fewer if their bodies have more than `most_bytes`, but always one.
    """
    last = last_numbers(connection).get(endpoint, 0)
    found = [
        _Row(*row) for row in _ROWS.select(connection, wanted=endpoint, after=after, most=most)
    ]
    chosen = list(_within(found, most_bytes))
    whole = len(found) < most and len(chosen) == len(found)
    through = max(after, last) if whole else chosen[-1].sequence
    bodies = whole_bodies(connection, {row.event_id for row in chosen if row.size})
    numbered, gone = [], list(_deleted(connection, endpoint, after, through))
    for row in chosen:
        if row.state == DeliveryState.FILTERED:
            gone.append(Gone(row.sequence, row.sequence, ERASED))
        elif not row.size:
            gone.append(Gone(row.sequence, row.sequence, PURGED))
        elif row.event_id not in bodies:
            gone.append(Gone(row.sequence, row.sequence, DAMAGED))
        else:
            event = Event(row.event_id, row.format, row.type, bodies[row.event_id])
            state = DeliveryState(row.state)
            numbered.append(Numbered(row.sequence, event, state, row.attempts, row.created_at))
    gone.sort(key=lambda each: each.first)
    return Page(after, through, last, tuple(numbered), tuple(_joined(gone)))


class _Row(NamedTuple):
    """What `_ROWS` selects."""

    sequence: int
    event_id: str
    state: str
    attempts: int
    created_at: datetime
    format: str
    type: str
    size: int  # of the body, in bytes


_ROWS: Final = Statement(
    select(
        deliveries.c.sequence,
        deliveries.c.event_id,
        deliveries.c.state,
        deliveries.c.attempts,
        deliveries.c.created_at,
        events.c.format,
        events.c.type,
        func.length(events.c.body),
    )
    .join(events, events.c.id == deliveries.c.event_id)
    .where(
        deliveries.c.endpoint == bindparam("wanted"),
        deliveries.c.sequence > bindparam("after", type_=deliveries.c.sequence.type),
    )
    .order_by(deliveries.c.sequence)
    .limit(bindparam("most"))
)


def _within(rows: Sequence[_Row], most_bytes: int) -> Iterator[_Row]:
    size = 0
    for row in rows:
        size += row.size
        if size > most_bytes and row is not rows[0]:
            return
        yield row


def _deleted(connection: Connection, endpoint: str, after: int, through: int) -> Iterator[Gone]:
    """Find the deleted numbers of a page: the ranges that begin in it, and the one before."""
    c = deleted_numbers.c
    mine = select(c.first, c.last).where(c.endpoint == endpoint)
    before = mine.where(c.first <= after).order_by(c.first.desc()).limit(1)
    inside = mine.where(c.first > after, c.first <= through).order_by(c.first)
    for query in (before, inside):
        for first, last in connection.execute(query):
            first, last = max(first, after + 1), min(last, through)
            if first <= last:
                yield Gone(first, last, DELETED)


def _joined(gone: Sequence[Gone]) -> Iterator[Gone]:
    """Join what follows each other for the same reason; it comes in order."""
    run: Gone | None = None
    for each in gone:
        if run is not None and (run.last + 1, run.reason) == (each.first, each.reason):
            run = Gone(run.first, each.last, run.reason)
            continue
        if run is not None:
            yield run
        run = each
    if run is not None:
        yield run

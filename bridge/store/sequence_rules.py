"""The rules of the endpoints' numbers: none twice, and none missing without a record.

Each number is judged by the one before it, found by an index. So all are there if each of them
holds, however many they are, and no part of the audit has to count.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import ColumnElement, Connection, Select, and_, exists, func, or_, select

from bridge.model import BRIDGE_DIGEST, DeliveryState
from bridge.store.stream_tables import deleted_numbers, sequences
from bridge.store.tables import deliveries, events

_other: Final = deliveries.alias("other")
_NUMBERED: Final = deliveries.c.sequence.is_not(None)


def number_twice() -> Select[object]:
    """Select deliveries whose number an earlier one has, or which counts as deleted."""
    earlier = exists().where(
        _other.c.endpoint == deliveries.c.endpoint,
        _other.c.sequence == deliveries.c.sequence,
        _other.c.id < deliveries.c.id,
    )
    gone = _is_deleted(deliveries.c.endpoint, deliveries.c.sequence)
    return select(deliveries.c.id).where(_NUMBERED, or_(earlier, gone))


def number_before_missing() -> Select[object]:
    """Select deliveries before whose number one is missing without a record."""
    before = deliveries.c.sequence - 1
    return select(deliveries.c.id).where(
        deliveries.c.sequence > 1, ~_is_known(deliveries.c.endpoint, before)
    )


def number_not_counted() -> Select[object]:
    """Select deliveries whose number is above their endpoint's counter: it would come again."""
    counted = _is_counted(deliveries.c.endpoint, deliveries.c.sequence)
    return select(deliveries.c.id).where(_NUMBERED, ~counted)


def number_not_given() -> Select[object]:
    """Select deliveries without a number, written since there are numbers.

    A receiver would miss nothing if it never came. Filtered ones and digests have none.
    """
    of_digest = exists().where(events.c.id == deliveries.c.event_id, events.c.type == BRIDGE_DIGEST)
    return select(deliveries.c.id).where(
        deliveries.c.id > _first_numbered(),
        ~_NUMBERED,
        deliveries.c.state != DeliveryState.FILTERED,
        ~of_digest,
    )


def wrong_sequences(connection: Connection) -> str:
    """Name the endpoints whose last number is missing, or one before those that were deleted."""
    last = select(sequences.c.endpoint).where(~_is_known(sequences.c.endpoint, sequences.c.last))
    c = deleted_numbers.c
    before = and_(c.first > 1, ~_is_known(c.endpoint, c.first - 1))
    deleted = select(c.endpoint).where(or_(before, ~_is_counted(c.endpoint, c.last)))
    wrong = {each for query in (last, deleted) for each in connection.execute(query).scalars()}
    return ", ".join(sorted(wrong))


def _first_numbered() -> ColumnElement[int]:
    """Return the key of the first delivery with a number: a look in the index per endpoint."""
    first = (
        select(_other.c.id)
        .where(_other.c.endpoint == sequences.c.endpoint, _other.c.sequence.is_not(None))
        .order_by(_other.c.sequence)
        .limit(1)
        .correlate(sequences)
        .scalar_subquery()
    )
    each = select(first.label("id")).select_from(sequences).subquery()
    return select(func.min(each.c.id)).scalar_subquery()


def _is_known(endpoint: ColumnElement[str], number: ColumnElement[int]) -> ColumnElement[bool]:
    """Return whether a delivery has the number, or had it."""
    there = exists().where(_other.c.endpoint == endpoint, _other.c.sequence == number)
    return or_(there, _is_deleted(endpoint, number))


def _is_deleted(endpoint: ColumnElement[str], number: ColumnElement[int]) -> ColumnElement[bool]:
    ranges = deleted_numbers.alias("gone")
    return exists().where(
        ranges.c.endpoint == endpoint, ranges.c.first <= number, ranges.c.last >= number
    )


def _is_counted(endpoint: ColumnElement[str], number: ColumnElement[int]) -> ColumnElement[bool]:
    return exists().where(sequences.c.endpoint == endpoint, sequences.c.last >= number)

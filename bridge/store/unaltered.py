"""Looks whether rows are what was stored, by their checksums."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, RowMapping, Select, Table, select

from bridge.errors import NotPossible
from bridge.store import checksums
from bridge.store.damage import MESSAGES, UNREADABLE, list_damage, readable
from bridge.store.tables import arrivals, events, messages

_AT_ONCE: Final = 20
CHECKED: Final[Mapping[Table, tuple[Select[Any], Callable[[checksums.Row], int]]]] = {
    arrivals: (select(arrivals), checksums.of_arrival),
    messages: (MESSAGES, checksums.of_message),
    events: (select(events), checksums.of_event),
}


@dataclass(slots=True)
class Found:
    """The keys of rows that are not what was stored, and how many are older than checksums."""

    altered: list[str] = field(default_factory=list)
    unchecked: int = 0
    checked: bool = False  # some row had a checksum


def look(
    connection: Connection, table: Table, which: Sequence[ColumnElement[bool]], *, checked: bool
) -> Found:
    """Compare rows with their checksums; one that has none must be purged, or older.

    Arrivals come in order: behind one that was `checked`, none is older. What an operator has
    accepted is left out.
    """
    found = Found(checked=checked)
    query, checksum = CHECKED[table]
    accepted = _accepted(connection) if table is events else set()
    for key, row in _each(connection, query.where(*which), table.c.id):
        if row is None:
            wrong = True
        elif row["checksum"] is not None:
            wrong = _differs(row, checksum)
            found.checked |= table is arrivals
        elif table is events:
            wrong = bool(row["body"])
        else:
            newer = found.checked if table is arrivals else row["arrival_checksum"] is not None
            wrong = newer and row["purged_at"] is None
            found.unchecked += not newer and row["purged_at"] is None
        if wrong and key not in accepted:
            found.altered.append(str(key))
    return found


def whole_bodies(connection: Connection, event_ids: Collection[str]) -> Mapping[str, bytes]:
    """Return the bodies of those of the events that are what was stored."""
    query, checksum = CHECKED[events]
    found = _each(connection, query.where(events.c.id.in_(event_ids)), events.c.id)
    return {
        row["id"]: row["body"]
        for _, row in found
        if row is not None and not _differs(row, checksum)
    }


def altered_messages(connection: Connection, ids: Sequence[str]) -> set[str]:
    """Return those of the messages that are not what was stored."""
    return set(look(connection, messages, [messages.c.id.in_(ids)], checked=False).altered)


def require_unaltered(connection: Connection, arrival_id: int) -> None:
    """Raise NotPossible if an arrival is not what was stored, and must not be read again."""
    if look(connection, arrivals, [arrivals.c.id == arrival_id], checked=False).altered:
        raise NotPossible(
            f"arrival {arrival_id} was altered on the disk and can't be parsed: restore a backup, "
            "or discard it"
        )


def _differs(row: RowMapping, checksum: Callable[[checksums.Row], int]) -> bool:
    try:
        return bool(checksum(row) != row["checksum"])
    except TypeError:  # a text where bytes should be
        return True


def _accepted(connection: Connection) -> set[str | None]:
    found = list_damage(connection, accepted=True)
    return {each.event_id for each in found if each.accepted_at is not None}


def _each(
    connection: Connection, query: Select[Any], key: ColumnElement[Any]
) -> Iterator[tuple[Any, RowMapping | None]]:
    """Yield the rows of a query with their keys; None for one whose values can't be read."""
    last = None
    try:
        # Raw mails may be large: a few at a time.
        found = connection.execute(query.order_by(key), execution_options={"yield_per": _AT_ONCE})
        for row in found.mappings():
            last = row["id"]
            yield last, row
    except UNREADABLE:
        if connection.dialect.name != "sqlite":
            raise
        left = query.with_only_columns(key).order_by(key)
        left = left if last is None else left.where(key > last)
        for each in connection.execute(left).scalars().all():
            one = readable(connection, query.where(key == each), {})
            yield each, next(iter(one), None)

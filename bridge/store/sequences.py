"""Numbers each endpoint's deliveries from 1, so that a receiver sees when one is missing.

A number is written with its delivery, in one transaction with the endpoint's counter, and all who
write deliveries come one after the other (`postgres.lock_ingest`; SQLite has one writer). So none
comes twice and none is left out, whenever the process dies; and whoever reads a number finds all
that come before it. Filtered deliveries have none, nor has what was written before there were any.

Retention may delete a delivery. Its number is then noted here, in ranges.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from sqlalchemy import (
    Connection,
    and_,
    bindparam,
    delete,
    insert,
    or_,
    select,
    update,
)

from bridge.store import postgres
from bridge.store.statements import Statement
from bridge.store.stream_tables import deleted_numbers, sequences


class Sequences:
    """The endpoints' counters as one write transaction sees them, which holds the ingest lock."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._stored: dict[str, int] | None = None  # read when the first number is wanted
        self._last: dict[str, int] = {}

    def next(self, endpoint: str) -> int:
        """Count up, and return the new number; the first one is 1."""
        if self._stored is None:
            postgres.lock_ingest(self._connection)
            self._stored = dict(_LAST.select(self._connection))
        number = self._last.get(endpoint) or self._stored.get(endpoint, 0)
        self._last[endpoint] = number + 1
        return number + 1

    def write(self) -> None:
        """Write the counters that were counted up: once each, however many numbers those are."""
        stored = self._stored or {}
        for known, statement in ((True, _COUNT), (False, _BEGIN)):
            rows = [
                {"name": endpoint, "number": last}
                for endpoint, last in self._last.items()
                if (endpoint in stored) is known
            ]
            if rows:
                statement.change(self._connection, rows)


_LAST: Final = Statement(select(sequences.c.endpoint, sequences.c.last))
_COUNT: Final = Statement(
    update(sequences)
    .where(sequences.c.endpoint == bindparam("name"))
    .values(last=bindparam("number"))
)
_BEGIN: Final = Statement(
    insert(sequences).values(endpoint=bindparam("name"), last=bindparam("number"))
)


def last_numbers(connection: Connection) -> dict[str, int]:
    """Return the last number of every endpoint that has had one."""
    return dict(_LAST.select(connection))


class Range(NamedTuple):
    """Numbers of one endpoint, both ends included."""

    endpoint: str
    first: int
    last: int


def forget_numbers(connection: Connection, numbered: Iterable[tuple[str, int]]) -> None:
    """Note the numbers of deliveries that are about to be deleted. Needs a write transaction.

    `numbered` are their endpoints and numbers, in order.
    """
    for endpoint, first, last in _runs(numbered):
        beside = {"name": endpoint, "before": first - 1, "after": last + 1}
        found = [(first, last), *_NOTED.select(connection, **beside)]
        _JOIN.change(connection, [beside])
        ends = {"start": min(start for start, _ in found), "end": max(end for _, end in found)}
        _NOTE.change(connection, [{"name": endpoint} | ends])


_BESIDE: Final = and_(
    deleted_numbers.c.endpoint == bindparam("name"),
    or_(
        deleted_numbers.c.last == bindparam("before"),
        deleted_numbers.c.first == bindparam("after"),
    ),
)
_NOTED: Final = Statement(select(deleted_numbers.c.first, deleted_numbers.c.last).where(_BESIDE))
_JOIN: Final = Statement(delete(deleted_numbers).where(_BESIDE))
_NOTE: Final = Statement(
    insert(deleted_numbers).values(
        endpoint=bindparam("name"), first=bindparam("start"), last=bindparam("end")
    )
)


def _runs(numbered: Iterable[tuple[str, int]]) -> Iterator[Range]:
    """Join the numbers that follow each other; they come in order."""
    run: Range | None = None
    for endpoint, number in numbered:
        if run is not None and (run.endpoint, run.last + 1) == (endpoint, number):
            run = run._replace(last=number)
            continue
        if run is not None:
            yield run
        run = Range(endpoint, number, number)
    if run is not None:
        yield run

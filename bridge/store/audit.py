"""Proves the ledger: nothing is missing, nothing is there twice, and all of it adds up.

Part by part, each in one snapshot of its own. However much there is, no snapshot is held for long:
that would keep the database from reusing its space, and a busy daemon waiting.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Column, ColumnElement, Connection, Table, func, select

from bridge.model import SMS_RECEIVED, ArrivalOutcome, DeliveryState
from bridge.store import postgres
from bridge.store.checks import Check
from bridge.store.counting import count_open
from bridge.store.damage import find_missing, list_damage
from bridge.store.endpoints import PENDING
from bridge.store.forget import deleted_totals
from bridge.store.indexes import INDEXED, last_row, not_in_index
from bridge.store.rules import RULES, Rule
from bridge.store.sequence_rules import wrong_sequences
from bridge.store.tables import arrivals, attempts, deliveries, events, messages, replays
from bridge.store.tallies import read_counts
from bridge.store.unaltered import CHECKED, look

ROWS: Final = 2000  # of one part
_EXAMPLES: Final = 5
_TABLES: Final = (arrivals, messages, events, deliveries, attempts, replays)
_COUNTED: Final = tuple(table.name for table in _TABLES if table is not replays)
_KINDS: Final[Mapping[str, tuple[Column[str], tuple[str, ...]]]] = {
    arrivals.name: (arrivals.c.outcome, tuple(ArrivalOutcome)),
    deliveries.name: (deliveries.c.state, tuple(DeliveryState)),
}
_BODIES: Final = "every event's body names its own id"
_SUMS: Final = "the ledger adds up"
_KEPT: Final = "the counts of what is open are right"
_UNALTERED: Final = "every arrival, message and event is what was stored"
_INDEXED: Final = "every row is in the indexes as it is in its table"
NOTED: Final = "nothing is altered or missing that nobody has accepted"
_NUMBERED: Final = "every endpoint's numbers are there up to its last one"


@dataclass(frozen=True, slots=True)
class AuditReport:
    """Every check, what there is in all, and what an operator may want to know besides."""

    checks: tuple[Check, ...]
    totals: Mapping[str, int]
    notes: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Return whether every check holds."""
        return all(check.ok for check in self.checks)


@dataclass(slots=True)
class Broken:
    """How many rows break a rule, and the first of them."""

    count: int = 0
    some: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        more = ", …" if self.count > len(self.some) else ""
        return f"{self.count}: {', '.join(self.some)}{more}"


@dataclass(slots=True)
class Audit:
    """An audit as far as it has come; kept as JSON, it goes on later from there.

    Each row is judged once, as it is at that moment. One that is written behind `after` is the next
    audit's.
    """

    table: int = 0  # which of `_TABLES`; behind the last, only the counts are left
    after: int | str | None = None  # the last key of that table that was judged
    done: bool = False
    broken: dict[str, Broken] = field(default_factory=dict)
    totals: dict[str, int] = field(default_factory=dict)
    brought: int = 0  # messages, by the arrivals that brought them
    ended_leases: int = 0
    wrong_counts: str = ""
    wrong_sequences: str = ""
    deleted: dict[str, int] = field(default_factory=dict)
    acknowledged: int | None = None  # the highest number of an arrival, known from elsewhere
    missing: str = ""
    unchecked: int = 0  # rows that are older than checksums
    checked: bool = False  # some arrival had one
    compared: int = 0  # which of `INDEXED` is compared with its indexes
    row: int = 0  # the last one of it that was

    def go_on(self, connection: Connection, now: datetime, rows: int = ROWS) -> int:
        """Judge up to so many rows within the given read transaction; return how many it had.

        A lease that has ended is a note, no failure: the delivery is due again by that.
        """
        postgres.take_time(connection)
        if self.table == len(_TABLES) and self.compared < len(INDEXED):
            return self._compare(connection, rows)
        if self.table == len(_TABLES):
            self.missing = _damaged(connection, self.acknowledged)
            self.wrong_counts = _wrong_counts(connection)
            self.wrong_sequences = wrong_sequences(connection)
            self.deleted = deleted_totals(connection)
            self.done = True
            return 0
        table = _TABLES[self.table]
        key: ColumnElement[Any] = table.c.id
        ahead = select(key).order_by(key).offset(rows - 1).limit(1)
        if self.after is not None:
            ahead = ahead.where(key > self.after)
        last = connection.execute(ahead).scalar()
        judged = self._judge(connection, table, _Part(self.after, last), now)
        self.after = last
        if last is None:
            self.table += 1
        return judged

    def report(self) -> AuditReport:
        """Return what was found."""
        names = [*dict.fromkeys(rule.name for rule in RULES), _BODIES, _UNALTERED, _INDEXED]
        found = [
            Check(name, name not in self.broken, str(self.broken.get(name, ""))) for name in names
        ]
        wrong = self._wrong_sums()
        found.append(Check(_SUMS, not wrong, wrong))
        found.append(Check(_KEPT, not self.wrong_counts, self.wrong_counts))
        found.append(Check(_NUMBERED, not self.wrong_sequences, self.wrong_sequences))
        found.append(Check(NOTED, not self.missing, self.missing))
        return AuditReport(tuple(found), self._totals() | self.deleted, tuple(self._notes()))

    def _judge(self, connection: Connection, table: Table, part: _Part, now: datetime) -> int:
        rows = self._count(connection, table, part)
        for rule in RULES:
            if rule.table is table:
                self._ask(connection, rule, part)
        if table in CHECKED:
            self._check(connection, table, part)
        if table is arrivals:
            # One that names no message is in no part of the messages.
            unnamed = arrivals.c.message_id.is_(None)
            self._count_brought(connection, unnamed, *part.of(arrivals.c.id))
        elif table is messages:
            named = arrivals.c.message_id.is_not(None)
            self._count_brought(connection, named, *part.of(arrivals.c.message_id))
        elif table is events:
            self._read_bodies(connection, part)
        elif table is deliveries:
            ended = select(func.count()).where(
                PENDING,
                deliveries.c.leased_by.is_not(None),
                deliveries.c.due_at < now,
                *part.of(deliveries.c.id),
            )
            self.ended_leases += connection.execute(ended).scalar_one()
        return rows

    def _check(self, connection: Connection, table: Table, part: _Part) -> None:
        found = look(connection, table, part.of(table.c.id), checked=self.checked)
        self.checked |= found.checked
        self.unchecked += found.unchecked
        for key in found.altered:
            self._found(_UNALTERED, 1, [f"{table.name} {key}"])

    def _compare(self, connection: Connection, rows: int) -> int:
        """Compare the next part of a table with its indexes."""
        table = INDEXED[self.compared]
        last = None
        if connection.dialect.name == "sqlite":
            last = last_row(connection, table, self.row, rows)
        if last is None:
            self.compared, self.row = self.compared + 1, 0
            return 0
        for each in not_in_index(connection, table, self.row, last):
            self._found(_INDEXED, 1, [each])
        self.row = last
        return 0

    def _count(self, connection: Connection, table: Table, part: _Part) -> int:
        count = 0
        if table.name in _KINDS:
            kind, known = _KINDS[table.name]
            counted = select(kind, func.count()).where(*part.of(table.c.id)).group_by(kind)
            for value, rows in connection.execute(counted):
                count += rows
                if value in known:
                    self._add(f"{table.name}.{value}", rows)
        else:
            whole = select(func.count()).select_from(table).where(*part.of(table.c.id))
            count = connection.execute(whole).scalar_one()
        self._add(table.name, count)
        return count

    def _add(self, name: str, count: int) -> None:
        self.totals[name] = self.totals.get(name, 0) + count

    def _ask(self, connection: Connection, rule: Rule, part: _Part) -> None:
        breaks = rule.breaks.where(*part.of(rule.table.c.id))
        count = connection.execute(select(func.count()).select_from(breaks.subquery())).scalar_one()
        if count:
            first = breaks.order_by(rule.table.c.id).limit(_EXAMPLES)
            some = connection.execute(first).scalars().all()
            self._found(rule.name, count, [str(each) for each in some])

    def _found(self, name: str, count: int, some: list[str]) -> None:
        broken = self.broken.setdefault(name, Broken())
        broken.count += count
        broken.some = [*broken.some, *some][:_EXAMPLES]

    def _count_brought(self, connection: Connection, *which: ColumnElement[bool]) -> None:
        brought = select(func.count()).where(arrivals.c.outcome == ArrivalOutcome.MESSAGE, *which)
        self.brought += connection.execute(brought).scalar_one()

    def _read_bodies(self, connection: Connection, part: _Part) -> None:
        """Read what is sent: an event that names another message would break receivers' dedupe.

        Only of the canonical format, which names its message; not of messages that were purged.
        """
        query = (
            select(events.c.id, events.c.message_id, events.c.body)
            .join(messages, messages.c.id == events.c.message_id)
            .where(
                events.c.format == SMS_RECEIVED,
                messages.c.purged_at.is_(None),
                *part.of(events.c.id),
            )
        )
        for event_id, message_id, body in connection.execute(query.order_by(events.c.id)):
            if _id_of(body) != message_id:
                self._found(_BODIES, 1, [event_id])

    def _totals(self) -> dict[str, int]:
        kinds = [f"{name}.{kind}" for name, (_, known) in _KINDS.items() for kind in known]
        return {name: self.totals.get(name, 0) for name in (*_COUNTED, *kinds)}

    def _wrong_sums(self) -> str:
        """Add up: arrivals by outcome, deliveries by state, messages and what brought them."""
        totals = self._totals()
        sides = {
            name: sum(totals[f"{name}.{kind}"] for kind in known)
            for name, (_, known) in _KINDS.items()
        }
        sides[messages.name] = self.brought
        return "; ".join(
            f"{name}: {totals[name]}, but {added} by kind"
            for name, added in sides.items()
            if totals[name] != added
        )

    def _notes(self) -> Iterator[str]:
        if self.ended_leases:
            yield (
                f"{self.ended_leases} leases have ended without a record; those deliveries are "
                "tried again"
            )
        if self.unchecked:
            yield f"{self.unchecked} rows are older than checksums: nobody can tell of those"


@dataclass(frozen=True, slots=True)
class _Part:
    """The keys behind `after` up to `last`; None: without an end there."""

    after: int | str | None
    last: int | str | None

    def of(self, key: ColumnElement[Any]) -> list[ColumnElement[bool]]:
        found = [] if self.after is None else [key > self.after]
        return found if self.last is None else [*found, key <= self.last]


def audit(connection: Connection, now: datetime, rows: int = ROWS) -> AuditReport:
    """Check the whole ledger within one read transaction; it changes nothing."""
    whole = Audit()
    while not whole.done:
        whole.go_on(connection, now, rows)
    return whole.report()


def rows_to_audit(connection: Connection) -> int:
    """Return how many rows an audit has about to judge, without counting them."""
    newest = [
        connection.execute(select(func.coalesce(func.max(table.c.id), 0))).scalar_one()
        for table in (arrivals, deliveries, attempts)
    ]
    return 3 * int(newest[0]) + int(newest[1]) + int(newest[2])  # messages and events like arrivals


def _damaged(connection: Connection, acknowledged: int | None) -> str:
    noted = [str(each) for each in list_damage(connection)]
    missing = find_missing(connection, acknowledged)
    if missing is not None:
        noted.append("the mails {:,} to {:,} were acknowledged and are missing".format(*missing))
    return "; ".join(noted)


def _id_of(body: bytes) -> object:
    try:
        return json.loads(body)["data"]["id"]
    except (ValueError, KeyError, TypeError):
        return None


def _wrong_counts(connection: Connection) -> str:
    """Compare the counts that the database keeps with the rows."""
    kept, counted = read_counts(connection), count_open(connection)
    return "; ".join(
        f"{state} {name}: {noted}, but there are {found}"
        for state, name in sorted({*kept, *counted})
        if (noted := kept.get((state, name), 0)) != (found := counted.get((state, name), 0))
    )

"""Has the database count what is open, so that reading the counts costs nothing.

Counting a million waiting deliveries takes most of a second. Triggers change these counts in the
transaction that changes the rows, so no operation can forget to, and a crash undoes both or none.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    case,
    delete,
    func,
    insert,
    literal_column,
    select,
    union_all,
)

from bridge.model import ArrivalOutcome
from bridge.store import postgres
from bridge.store.endpoints import BEHIND, IS_PARKED, PENDING, STOPPED
from bridge.store.tables import arrivals, deliveries, tallies
from bridge.store.tallies import PARKED, Counts
from bridge.store.types import microseconds


def count_open(connection: Connection) -> Counts:
    """Count the rows themselves: what `read_counts` must return."""
    found = connection.execute(_counted())
    return {(state, name): int(count) for state, name, count in found}


def install(connection: Connection) -> None:
    """Make the triggers anew and count: after the tables were made or changed.

    SQLite drops a table's triggers with the table, which some changes of a column replace. Needs a
    write transaction.
    """
    on_postgres = postgres.is_postgres(connection)
    for each in _COUNTED:
        for statement in each.on_postgres() if on_postgres else each.on_sqlite():
            connection.exec_driver_sql(statement)
    recount(connection)


def recount(connection: Connection) -> None:
    """Count the rows and keep that. Needs a write transaction, and nobody else in one."""
    connection.execute(delete(tallies))
    connection.execute(insert(tallies).from_select(["state", "name", "count"], _counted()))


def _counted() -> Select[str, str, int]:
    def grouped(
        state: ColumnElement[str], name: ColumnElement[str], which: ColumnElement[bool]
    ) -> Select[str, str, int]:
        count = func.count().label("count")
        chosen = select(state.label("state"), name.label("name"), count)
        return chosen.where(which).group_by(state, name)

    state = deliveries.c.state
    waiting: ColumnElement[str] = case((IS_PARKED, literal_column(f"'{PARKED}'")), else_=state)
    quarantined: ColumnElement[str] = literal_column(f"'{ArrivalOutcome.QUARANTINE}'")
    open_rows = union_all(
        grouped(waiting, deliveries.c.endpoint, PENDING),
        grouped(state, deliveries.c.endpoint, STOPPED),
        select(quarantined.label("state"), arrivals.c.reason.label("name"), func.count())
        .where(arrivals.c.outcome == quarantined, arrivals.c.reason.is_not(None))
        .group_by(arrivals.c.reason),
    ).subquery()
    return select(open_rows.c.state, open_rows.c.name, open_rows.c.count)


@dataclass(frozen=True, slots=True)
class _Counted:
    """Which rows of a table are counted, and by what: a state that its columns say, and a name."""

    table: str
    columns: str  # that `state` is made from
    state: str
    name: str
    states: str

    def is_counted(self, row: str) -> str:
        """Return the condition on a row."""
        return f"{self._state(row)} IN ({self.states}) AND {row}.{self.name} IS NOT NULL"

    def _state(self, row: str) -> str:
        return self.state.format(row=row)

    def on_sqlite(self) -> Iterator[str]:
        """Yield the statements that make the triggers: one call a row, SQLite has no others."""
        added, gone = self._add("NEW", "+ 1"), self._add("OLD", "- 1")
        changed = (
            f" WHEN {self._state('OLD')} IS NOT {self._state('NEW')}"
            f" OR OLD.{self.name} IS NOT NEW.{self.name}"
        )
        for verb, when, body in (
            ("INSERT", "", added),
            (f"UPDATE OF {self.columns}, {self.name}", changed, f"{gone} {added}"),
            ("DELETE", "", gone),
        ):
            name = f"{self.table}_{verb.split()[0].lower()}_tally"
            yield f"DROP TRIGGER IF EXISTS {name}"
            yield f"CREATE TRIGGER {name} AFTER {verb} ON {self.table}{when} BEGIN {body} END"

    def _add(self, row: str, one: str) -> str:
        # To look for the count first would cost as much again: nearly always it is there.
        return (
            f"UPDATE tallies SET count = count {one} WHERE {self.is_counted(row)}"  # noqa: S608
            f" AND state = {self._state(row)} AND name = {row}.{self.name};"
            f" INSERT INTO tallies (state, name, count)"
            f" SELECT {self._state(row)}, {row}.{self.name}, 0 {one}"
            f" WHERE changes() = 0 AND {self.is_counted(row)};"
        )

    def on_postgres(self) -> Iterator[str]:
        """Yield the statements that make the triggers: one call a statement.

        A call for each row would make a change of many rows quadratic, for each leaves a version of
        the count behind until the commit.
        """
        new, old = self._changes("1", "added"), self._changes("-1", "gone")
        for verb, rows, tables in (
            ("insert", new, "NEW TABLE AS added"),
            ("update", f"{new} UNION ALL {old}", "OLD TABLE AS gone NEW TABLE AS added"),
            ("delete", old, "OLD TABLE AS gone"),
        ):
            name = f"{self.table}_{verb}_tally"
            yield f"DROP TRIGGER IF EXISTS {name} ON {self.table}"
            yield _FUNCTION.format(name=name, rows=rows, states=self.states)
            yield (
                f"CREATE TRIGGER {name} AFTER {verb.upper()} ON {self.table}"
                f" REFERENCING {tables} FOR EACH STATEMENT EXECUTE FUNCTION {name}()"
            )

    def _changes(self, one: str, table: str) -> str:
        return f"SELECT {self._state(table)}, {self.name}, {one} FROM {table}"  # noqa: S608


_COUNTED: Final = (
    _Counted(
        "deliveries",
        "state, due_at",
        f"CASE WHEN {{row}}.state = 'pending' AND {{row}}.due_at = {microseconds(BEHIND)}"
        f" THEN '{PARKED}' ELSE {{row}}.state END",
        "endpoint",
        f"'pending', '{PARKED}', 'held', 'dead'",
    ),
    _Counted("arrivals", "outcome", "{row}.outcome", "reason", f"'{ArrivalOutcome.QUARANTINE}'"),
)
# A count may have several rows, to be added up: a transaction passes by what another one holds, so
# that bridges on one database neither wait for each other nor end in a deadlock.
_FUNCTION: Final = """
CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    change record;
    chosen bigint;
BEGIN
    FOR change IN
        SELECT s, n, sum(d) AS d FROM ({rows}) AS rows (s, n, d)
        WHERE s IN ({states}) AND n IS NOT NULL GROUP BY s, n HAVING sum(d) <> 0
    LOOP
        SELECT id INTO chosen FROM tallies WHERE state = change.s AND name = change.n
            LIMIT 1 FOR UPDATE SKIP LOCKED;
        IF FOUND THEN
            UPDATE tallies SET count = count + change.d WHERE id = chosen;
        ELSE
            INSERT INTO tallies (state, name, count) VALUES (change.s, change.n, change.d);
        END IF;
    END LOOP;
    RETURN NULL;
END $$
"""

"""Fills a store with very many messages in bulk: each is a copy of one that the real line wrote."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

import backlog
from sqlalchemy import Connection, Table, text, update

from bridge.config.settings import StoreSettings
from bridge.model import DeliveryState, PlannedDelivery
from bridge.store import Database, Ingest, Lease, ingest_many
from bridge.store.tables import arrivals, deliveries, events, messages, sequences

_ROWS_AT_ONCE: Final = 20_000  # one transaction
ENDPOINT: Final = "crm"


def message(number: int) -> Ingest:
    """Make a message of about 1.2 kB with one delivery."""
    moment = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(milliseconds=number)
    item = backlog.ingest(number, moment)
    plan = (PlannedDelivery(ENDPOINT, DeliveryState.PENDING),)
    return replace(item, result=tuple(replace(each, deliveries=plan) for each in item.messages))


def fill(settings: StoreSettings, count: int) -> None:
    """Make a store with so many messages, all of them waiting and due."""
    with closing(Database.open(settings, migrate=True)) as database:
        now = datetime.now(UTC)
        with database.begin() as connection:
            ingest_many(connection, [message(0)], Lease("filling", now, now))
        _copy(database, (messages, events, arrivals, deliveries), count)


def deliver(settings: StoreSettings) -> None:
    """Make all of a filled store's deliveries delivered, each by one attempt."""
    with closing(Database.open(settings)) as database:
        with database.read() as connection:
            last = connection.execute(text("SELECT max(id) FROM deliveries")).scalar_one()
        for start in range(0, last, _ROWS_AT_ONCE):
            some = {"after": start, "last": start + _ROWS_AT_ONCE}
            with database.begin() as connection:
                connection.execute(text(_ATTEMPTS), some)
                connection.execute(text(_DELIVERED), some)
        _tidy(database)


_ATTEMPTS: Final = """
INSERT INTO attempts
    (delivery_id, number, started_at, duration, result, lease_lost, status, detail, answer)
SELECT id, 1, created_at, 0.01, 'delivered', false, 200, '', '' FROM deliveries
WHERE id > :after AND id <= :last AND state = 'pending' ORDER BY id
"""
_DELIVERED: Final = """
UPDATE deliveries SET state = 'delivered', attempts = 1, leased_by = NULL
WHERE id > :after AND id <= :last AND state = 'pending'
"""


def _copy(database: Database, tables: tuple[Table, ...], count: int) -> None:
    for start in range(2, count + 1, _ROWS_AT_ONCE):
        last = min(start + _ROWS_AT_ONCE - 1, count)
        with database.begin() as connection:
            for table in tables:
                connection.execute(text(_copies(connection, table)), {"start": start, "last": last})
    with database.begin() as connection:
        connection.execute(update(sequences).values(last=count))
        if connection.dialect.name == "postgresql":
            for table in (arrivals, deliveries):
                connection.execute(
                    text(f"SELECT setval(pg_get_serial_sequence('{table.name}', 'id'), :last)"),
                    {"last": count},
                )
    _tidy(database)


def _copies(connection: Connection, table: Table) -> str:
    """Return the statement that copies a table's first row under the numbers of a range."""
    digits = (
        "lpad(CAST(n AS text), 24, '0')"
        if connection.dialect.name == "postgresql"
        else "printf('%024d', n)"
    )
    message_id = f"'msg_' || {digits}"
    changed = {
        (messages.name, "id"): message_id,
        (messages.name, "content_key"): f"'content ' || {digits}",
        (messages.name, "email_key"): f"'email ' || {digits}",
        (events.name, "id"): message_id,
        (events.name, "message_id"): message_id,
        # The audit reads it: a body names its message.
        (events.name, "body"): _body(connection, message_id),
        (arrivals.name, "id"): "n",
        (arrivals.name, "message_id"): message_id,
        (deliveries.name, "id"): "n",
        (deliveries.name, "event_id"): message_id,
        (deliveries.name, "due_at"): "due_at + n",
        (deliveries.name, "sequence"): "n",
    }
    names = [column.name for column in table.c]
    values = [changed.get((table.name, name), f"first.{name}") for name in names]
    first = "min(id) FROM " + table.name
    return (
        f"WITH RECURSIVE numbers (n) AS (SELECT CAST(:start AS integer) UNION ALL"
        f" SELECT n + 1 FROM numbers WHERE n < :last)"
        f" INSERT INTO {table.name} ({', '.join(names)}) SELECT {', '.join(values)}"
        f" FROM numbers CROSS JOIN (SELECT * FROM {table.name} WHERE id = (SELECT {first}"
        f"{_ORIGINAL.get(table.name, '')})) AS first"
    )


# Keys that are texts are not in the order in which they were written.
_ORIGINAL: Final = {
    messages.name: " WHERE id NOT LIKE 'msg_0000%'",
    events.name: " WHERE id NOT LIKE 'msg_0000%'",
}


def _body(connection: Connection, message_id: str) -> str:
    if connection.dialect.name == "postgresql":
        return (
            f"convert_to(replace(convert_from(first.body, 'UTF8'), first.message_id,"
            f" {message_id}), 'UTF8')"
        )
    return f"CAST(replace(CAST(first.body AS text), first.message_id, {message_id}) AS blob)"


def _tidy(database: Database) -> None:
    """Leave a server as its own autovacuum would some minutes later."""
    if database.file is None:
        outside = database._engine.execution_options(isolation_level="AUTOCOMMIT")  # noqa: SLF001
        with outside.connect() as connection:
            connection.execute(text("SET statement_timeout TO 0"))
            connection.execute(text("VACUUM (ANALYZE)"))
            connection.execute(text("RESET statement_timeout"))

"""Fills a store with very many messages in bulk: each is a copy of one that the real line wrote."""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from heapq import heapify, heapreplace
from typing import Final

import backlog
from sqlalchemy import Connection, Table, bindparam, insert, select, text, update

from bridge.config.settings import DeliverySettings, StoreSettings
from bridge.delivery.schedule import JITTER_MAX, JITTER_SHARE, step_wait
from bridge.model import DeliveryState, PlannedDelivery
from bridge.store import Database, Ingest, Lease, checksums, ingest_many
from bridge.store.endpoints import set_failing
from bridge.store.stream_tables import sequences
from bridge.store.tables import arrivals, attempts, deliveries, events, messages

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
            for table in (messages, arrivals):  # as those that are older than checksums
                connection.execute(update(table).values(checksum=None))
        _copy(database, (messages, events, arrivals, deliveries), count)


def deliver(settings: StoreSettings) -> None:
    """Make all of a filled store's deliveries delivered, each by one attempt."""
    with closing(Database.open(settings)) as database:
        with database.read() as connection:
            last = connection.execute(text("SELECT max(id) FROM deliveries")).scalar_one()
        for start in range(0, last, _ROWS_AT_ONCE):
            some = {"after": start, "last": start + _ROWS_AT_ONCE}
            with database.begin() as connection:
                connection.execute(text(_ATTEMPTS), {**some, "nothing": b""})
                connection.execute(text(_DELIVERED), some)
        _tidy(database)


def age(settings: StoreSettings, seconds: int) -> None:
    """Make a filled store's deliveries those of so long an outage, the last message just now.

    Meanwhile the breaker let one try a second begin, with whatever was due longest, and each that
    failed waits as the default schedule says.
    """
    now = datetime.now(UTC)
    began = now - timedelta(seconds=seconds)
    with closing(Database.open(settings)) as database:
        with database.read() as connection:
            last = connection.execute(text("SELECT max(id) FROM deliveries")).scalar_one()
        arrived = [seconds * number / last for number in range(1, last + 1)]
        tries, due = _outage(arrived, seconds)
        rows = [
            {
                "which": number,
                "created": began + timedelta(seconds=arrived[number - 1]),
                "due": began + timedelta(seconds=due[number]),
                "tries": len(tries[number]),
            }
            for number in range(1, last + 1)
        ]
        made = [
            {"delivery_id": each, "number": number, "started_at": began + timedelta(seconds=at)}
            for each, times in tries.items()
            for number, at in enumerate(times, 1)
        ]
        with database.begin() as connection:
            connection.execute(_AGED, rows)
            if made:
                connection.execute(insert(attempts).values(_REFUSED), made)
            set_failing(connection, ENDPOINT, began)
        _tidy(database)


def _outage(
    arrived: Sequence[float], seconds: int
) -> tuple[dict[int, list[float]], dict[int, float]]:
    """Return when each message is tried in an outage, and when it is due at its end."""
    schedule, rng = DeliverySettings(), random.Random(1)
    due = [(at, number) for number, at in enumerate(arrived, 1)]
    heapify(due)
    tries: dict[int, list[float]] = {number: [] for _, number in due}
    for second in range(seconds):
        if due[0][0] <= second:
            _, number = due[0]
            wait = step_wait(len(tries[number]), schedule)
            wait += rng.random() * min(wait * JITTER_SHARE, JITTER_MAX)
            tries[number].append(second)
            heapreplace(due, (second + wait, number))
    return tries, {number: at for at, number in due}


_AGED: Final = (
    update(deliveries)
    .where(deliveries.c.id == bindparam("which"))
    .values(
        attempts=bindparam("tries"),
        step=bindparam("tries"),
        created_at=bindparam("created"),
        schedule_from=bindparam("created"),
        due_at=bindparam("due"),
        leased_by=None,
    )
)
_REFUSED: Final = {
    "duration": 0.001,
    "result": "retry",
    "lease_lost": False,
    "error": "connect",
    "detail": "connection refused",
    "sent": False,
    "answer": b"",
}

_ATTEMPTS: Final = """
INSERT INTO attempts
    (delivery_id, number, started_at, duration, result, lease_lost, status, detail, answer)
SELECT id, 1, created_at, 0.01, 'delivered', false, 200, '', :nothing FROM deliveries
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
            _sum_up(connection, start, last)
    with database.begin() as connection:
        connection.execute(update(sequences).values(last=count))
        if connection.dialect.name == "postgresql":
            for table in (arrivals, deliveries):
                connection.execute(
                    text(f"SELECT setval(pg_get_serial_sequence('{table.name}', 'id'), :last)"),
                    {"last": count},
                )
    _tidy(database)


def _sum_up(connection: Connection, first: int, last: int) -> None:
    """Give the events of a range the checksums that they are claimed by."""
    query = select(events).where(events.c.id.between(f"msg_{first:024}", f"msg_{last:024}"))
    connection.execute(
        update(events).where(events.c.id == bindparam("of")).values(checksum=bindparam("new")),
        [
            {"of": row["id"], "new": checksums.of_event(row)}
            for row in connection.execute(query).mappings()
        ],
    )


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

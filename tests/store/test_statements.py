"""Statements that are compiled once do what SQLAlchemy's own execution does."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import pytest
from sqlalchemy import Connection, bindparam, insert, select, update
from sqlalchemy.exc import DBAPIError

from bridge.config.settings import StoreSettings
from bridge.errors import StoreError
from bridge.store import Database, ingest_many
from bridge.store.lease import Lease
from bridge.store.statements import Statement
from bridge.store.tables import arrivals, endpoints
from tests.store.making import START, identity, many, plan, sms

ROW = {
    "id": 1,
    "source": "smtp",
    "source_name": "127.0.0.1:2525",
    "received_at": START,
    "outcome": "ignored",
    "detail": "lone \udc80 and \0",
    "recipients": ("a@example.com", "\udcff"),
    "uid": 2**40,
    "digest": b"\xff\0",
    "raw": b"",
}
INSERT = Statement(insert(arrivals).values({name: bindparam(name) for name in ROW}))
ALL = select(arrivals).where(arrivals.c.id == bindparam("which"))


@pytest.fixture
def connection(settings: StoreSettings) -> Iterator[Connection]:
    """Begin a write transaction on an empty database."""
    database = Database.open(settings, migrate=True)
    with database.begin() as connection:
        yield connection
    database.close()


def test_values_are_converted_as_by_sqlalchemy(connection: Connection) -> None:
    """Every type of column is written and read as SQLAlchemy writes and reads it."""
    assert INSERT.change(connection, [ROW]) == 1
    connection.execute(insert(arrivals), {**ROW, "id": 2})
    ours, theirs = (connection.execute(ALL, {"which": number}).one() for number in (1, 2))
    assert tuple(ours)[1:] == tuple(theirs)[1:]
    assert Statement(ALL).select(connection, which=1) == [tuple(ours)]


def test_the_rows_that_were_written_are_counted(connection: Connection) -> None:
    """Over all executions: a row that is not there counts nothing."""
    INSERT.change(connection, [{**ROW, "id": number} for number in (1, 2, 3)])
    renamed = Statement(
        update(arrivals).where(arrivals.c.id == bindparam("which")).values(detail=bindparam("new"))
    )
    rows = [{"which": number, "new": "x"} for number in (1, 3, 7)]
    assert renamed.change(connection, rows) == 2


def test_a_value_that_no_column_takes_is_refused_without_quoting_it(
    connection: Connection,
) -> None:
    """A naive time is never guessed at, and what a row holds stays out of errors."""
    with pytest.raises(StoreError, match=r"cannot be written \(TypeError\)$") as caught:
        INSERT.change(connection, [{**ROW, "received_at": datetime(2026, 4, 8)}])  # noqa: DTZ001
    assert "2026" not in str(caught.value)


def test_every_key_is_looked_up_however_many_there_are(connection: Connection) -> None:
    """A batch may hold more keys than one statement looks up."""
    lease = Lease("us", START, START)
    new = many(300)
    ingest_many(connection, new, lease)
    again = [sms(each.messages[0].identity) for each in reversed(new)]
    extra = sms(identity("another", email="M-another"), plan("crm"))
    receipts = ingest_many(connection, [*again, extra], lease)
    assert [each.outcome for each in receipts] == ["duplicate"] * 300 + ["message"]
    assert connection.execute(select(endpoints)).all() == []


def test_the_driver_s_refusal_is_raised_as_sqlalchemy_raises_it(connection: Connection) -> None:
    """So that one place turns it into our own errors, and no row is quoted by it."""
    INSERT.change(connection, [ROW])
    with pytest.raises(DBAPIError) as caught:
        INSERT.change(connection, [ROW])
    assert isinstance(caught.value.orig, connection.dialect.loaded_dbapi.IntegrityError)
    assert not caught.value.connection_invalidated
    assert caught.value.params is None

"""PostgreSQL: the engine, and the locks that keep several bridges on one database exact."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from datetime import datetime
from importlib.util import find_spec
from typing import Final, Protocol

from sqlalchemy import URL, Connection, Engine, create_engine, event, text

from bridge.errors import StoreUnusable

_CONNECT_SECONDS: Final = 5
_STATEMENT_MS: Final = 30_000
_LOCK_MS: Final = 10_000
# Keys of advisory locks, "smsb" in front; always taken in this order, so no deadlock is possible.
_MIGRATE: Final = 0x736D7362_0001
_INGEST: Final = 0x736D7362_0002
_ORDER: Final = 0x736D7362_0004
_HOLDS: Final = 0x736D7362_0003


def is_postgres(connection: Connection) -> bool:
    """Return whether this is PostgreSQL."""
    return connection.dialect.name == "postgresql"


def name(url: URL) -> str:
    """Return the name of the database for sentences, without the password."""
    database = f"the database {url.database}" if url.database else "the database"
    return f"{database} at {url.host or 'localhost'}:{url.port or 5432}"


class _DriverCursor(Protocol):
    def execute(self, sql: str, /) -> object: ...

    def fetchone(self) -> tuple[str]: ...

    def close(self) -> None: ...


class _DriverConnection(Protocol):
    """What is used of the driver's connection when SQLAlchemy doesn't have it."""

    read_only: bool | None

    def cursor(self) -> _DriverCursor: ...

    def commit(self) -> None: ...


def engine(url: URL) -> Engine:
    """Make the engine: synced commits, and no statement or lock that waits for ever."""
    if find_spec("psycopg") is None:
        raise StoreUnusable(
            "[store] url names PostgreSQL, whose driver is not installed: "
            "pip install 'smsbridge[postgres]'"
        )
    made = create_engine(
        url.set(drivername="postgresql+psycopg"),
        connect_args={
            "connect_timeout": _CONNECT_SECONDS,
            "application_name": "smsbridge",
            # A server that vanishes without a word must not hold a commit for the kernel's hours.
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": _LOCK_MS + 5_000,
            # Prepared statements break behind a pooler that hands connections on.
            "prepare_threshold": None,
        },
        hide_parameters=True,
        # Each statement must see what was committed before it: one that waited for a lock would
        # else miss the very message that it waited for. A server may have another default.
        isolation_level="READ COMMITTED",
        pool_size=4,
        pool_timeout=_LOCK_MS / 1000,
    )

    @event.listens_for(made, "connect")
    def _connect(connection: _DriverConnection, _record: object) -> None:
        with closing(connection.cursor()) as cursor:
            cursor.execute("SHOW synchronous_commit")
            # The server may be set stricter than `on`, but a commit that is not on disk is none.
            if cursor.fetchone()[0] in {"off", "local"}:
                cursor.execute("SET synchronous_commit TO on")
            cursor.execute(f"SET statement_timeout TO {_STATEMENT_MS}")
            cursor.execute(f"SET lock_timeout TO {_LOCK_MS}")
            cursor.execute(f"SET idle_in_transaction_session_timeout TO {_STATEMENT_MS}")
        connection.commit()

    @event.listens_for(made, "checkin")
    def _forget(connection: _DriverConnection | None, _record: object) -> None:
        # After a reader, SQLAlchemy leaves the connection at "READ WRITE" and not at what the
        # server says: the next writer would write through `default_transaction_read_only`, which
        # is set before a dump and a switch to another server.
        if connection is not None:
            connection.read_only = None

    return made


def take_time(connection: Connection) -> None:
    """Let this transaction's statements run as long as they need: an audit, a migration."""
    if is_postgres(connection):
        connection.execute(text("SET LOCAL statement_timeout TO 0"))


def read_time(connection: Connection) -> datetime:
    """Return the server's time, as it is now and not at the transaction's start."""
    now: datetime = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
    return now


def leave_unsynced(connection: Connection) -> None:
    """Let this transaction's commit return before it is on disk."""
    if is_postgres(connection):
        connection.execute(text("SET LOCAL synchronous_commit TO off"))


def lock_migration(connection: Connection) -> None:
    """Let one process migrate at a time; SQLite's BEGIN IMMEDIATE does it by itself."""
    if is_postgres(connection):
        connection.execute(text("SET LOCAL lock_timeout TO 0"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATE})


def lock_ingest(connection: Connection) -> None:
    """Let one transaction at a time look for known messages and write new ones."""
    if is_postgres(connection):
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _INGEST})


def lock_order(connection: Connection) -> None:
    """Let one transaction at a time claim, record or write deliveries that have an order."""
    if is_postgres(connection):
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ORDER})


def lock_holds(connection: Connection, *, change: bool) -> None:
    """Keep the endpoints' holds as they are until the commit, or, to change them, to ourselves.

    Else a delivery could be written as pending beside another bridge's hold of its endpoint.
    """
    if is_postgres(connection):
        how = "pg_advisory_xact_lock" if change else "pg_advisory_xact_lock_shared"
        connection.execute(text(f"SELECT {how}(:key)"), {"key": _HOLDS})


def next_keys(connection: Connection, table: str, count: int) -> Iterable[int]:
    """Draw keys of a table's sequence."""
    if not count:
        return ()
    drawn = connection.execute(
        text(
            "SELECT nextval(pg_get_serial_sequence(:table, 'id')) FROM generate_series(1, :count)"
        ),
        {"table": table, "count": count},
    )
    return drawn.scalars().all()


def rewrite(connection: Connection, tables: Iterable[str]) -> None:
    """Rewrite tables so that no dead row is left in their files; outside of a transaction.

    Nobody can read or write a table meanwhile. The server's WAL, its archive and replicas have
    what was removed until they are recycled.
    """
    connection.execute(text("SET statement_timeout TO 0"))
    connection.execute(text(f"VACUUM (FULL) {', '.join(tables)}"))
    connection.execute(text("RESET statement_timeout"))

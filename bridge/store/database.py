"""One database, opened and checked: transactions in, our own errors out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

from sqlalchemy import Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError

from bridge.config.settings import StoreSettings
from bridge.errors import StoreUnusable
from bridge.store import postgres, schema, sqlite
from bridge.store.access_tables import metadata
from bridge.store.faults import translated
from bridge.store.schema import Schema
from bridge.store.sqlite import SqliteFile


class Database:
    """Gives out connections to a checked database; every driver's error leaves as a StoreError.

    May be used by several threads, and beside a running daemon.
    """

    def __init__(
        self, engine: Engine, name: str, file: SqliteFile | None, settings: StoreSettings
    ) -> None:
        self.name = name  # as an operator's sentence calls it, without a password
        self.file = file  # None on PostgreSQL
        self._min_free = settings.min_free
        self._busy_timeout = settings.busy_timeout
        self._engine = engine
        self._kept: Connection | None = None
        self.written = False  # whether arrivals were committed by us
        if file is not None:
            self._writing: Engine = engine.execution_options(**{sqlite.WRITES: True})
            self._reading: Engine = engine
        else:
            self._writing = engine
            # One snapshot for all of a reader's statements, as SQLite gives by itself: an audit
            # beside running bridges would see a sum that never was.
            self._reading = engine.execution_options(
                isolation_level="REPEATABLE READ", postgresql_readonly=True
            )

    @classmethod
    def open(cls, settings: StoreSettings, *, migrate: bool = False, lock: bool = False) -> Self:
        """Open the database, check that it is sound and ours, and that its schema is current.

        `migrate` makes a missing database and brings an older one up; without it (the CLI beside
        a daemon) both raise StoreUnusable with what to do. `lock` makes us the only daemon on an
        SQLite file. Raises StoreUnusable if the database is newer, damaged or not ours,
        StoreUnavailable if it cannot be reached now. After an exception nothing is left open.
        """
        try:
            url = make_url(settings.url)
        except (ArgumentError, ValueError):
            # The parser's own text would quote the URL with its password.
            raise StoreUnusable("[store] url cannot be read as a database URL") from None
        if url.get_backend_name() == "sqlite":
            file = SqliteFile(url)
            file.prepare(create=migrate)
            if lock:
                file.lock()
            try:
                file.check_log(at_rest=lock)
            except BaseException:
                file.unlock()
                raise
            opened = cls(sqlite.engine(file, settings.busy_timeout), file.name, file, settings)
        else:
            opened = cls(postgres.engine(url), postgres.name(url), None, settings)
        try:
            opened._check(migrate=migrate)
        except BaseException:
            opened.close()
            raise
        return opened

    def _check(self, *, migrate: bool) -> None:
        with self.read() as connection:
            found = schema.look(connection, self.name)
            if self.file is not None:
                sqlite.check_damage(connection, self.file, current=found is Schema.CURRENT)
        if found is Schema.CURRENT:
            return
        if not migrate:
            raise StoreUnusable(
                f"{self.name} is {found.value}; `smsbridge run` brings it up when it starts"
            )
        self.require_space()
        with self.begin() as connection:
            schema.bring_up(connection, self.name)

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """Yield a connection in a write transaction: committed and synced at the end, or undone.

        On SQLite it holds the one write lock from the first moment (BEGIN IMMEDIATE).
        """
        if self.file is not None:
            self.file.check_in_place()
        with translated(self.name), self._writing.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def begin_again(self, *, synced: bool = True) -> Iterator[Connection]:
        """Begin as `begin` does, on a connection that is kept from one transaction to the next.

        For one thread that commits all the time: drawing a connection from the pool and giving it
        back costs as much as an insert. After any error the connection is given up. What isn't
        `synced` may be undone by a power cut, until something else is committed.
        """
        if self.file is not None:
            self.file.check_in_place()
        with translated(self.name):
            kept, self._kept = self._kept or self._writing.connect(), None
            if kept.get_execution_options().get(sqlite.SYNCED, True) is not synced:
                kept.execution_options(**{sqlite.SYNCED: synced})
            try:
                with kept.begin():
                    if not synced:
                        postgres.leave_unsynced(kept)
                    yield kept
            except BaseException:
                kept.close()
                raise
            self._kept = kept

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Yield a connection in a read transaction: one snapshot, waiting for no writer."""
        with translated(self.name), self._reading.connect() as connection, connection.begin():
            yield connection

    def rewrite(self) -> None:
        """Rewrite the database's files without what was removed; others wait meanwhile.

        Raises StoreFull and StoreUnavailable.
        """
        with translated(self.name):
            if self.file is not None:
                sqlite.rewrite(self.file, self._busy_timeout)
                return
            outside = self._engine.execution_options(isolation_level="AUTOCOMMIT")
            with outside.connect() as connection:
                postgres.rewrite(connection, [table.name for table in metadata.sorted_tables])

    def free_bytes(self) -> int | None:
        """Return the free space on the disk of an SQLite file; None on PostgreSQL."""
        return None if self.file is None else self.file.free_bytes()

    def require_space(self, least: int = 0) -> None:
        """Raise StoreFull if free space is under the low-water mark, or under `least` bytes."""
        if self.file is not None:
            self.file.require_space(max(self._min_free, least))

    def acknowledged(self) -> int | None:
        """Return the highest number of an arrival that was acknowledged, if somebody else knows."""
        return None if self.file is None else self.file.witness.read()

    def acknowledge(self, newest: int) -> None:
        """Note the highest number of an arrival that was committed, before anybody is told."""
        self.written = True
        if self.file is not None:
            self.file.witness.note(newest)

    def close(self) -> None:
        """Close every connection and give up the lock."""
        if self._kept is not None:
            self._kept.close()
        self._engine.dispose()
        if self.file is not None:
            self.file.unlock()

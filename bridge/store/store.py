"""The store as the rest of the daemon sees it: asynchronous, and what it returns is committed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final, Self, TypeVar

from sqlalchemy import Connection

from bridge import logs
from bridge.config.settings import StoreSettings
from bridge.errors import StoreFull, StoreUnavailable, StoreUnusable
from bridge.model import Attempt, Claim, Reason, Receipt, Unreadable
from bridge.store import outbox, postgres
from bridge.store.database import Database
from bridge.store.endpoints import match_config
from bridge.store.ingest import Ingest, Parsed, ingest_many
from bridge.store.lease import Lease
from bridge.store.record import record_many
from bridge.store.snapshot import Snapshot, take_snapshot
from bridge.store.writer import Work, Writer, where

log = logs.logger("store")

_READERS: Final = 2  # so that a long snapshot does not hold up a lane's next_due
T = TypeVar("T")


class _IngestWork(Work[Receipt]):
    __slots__ = ("item",)

    def __init__(self, item: Ingest) -> None:
        self.item = item

    @property
    def size(self) -> int:
        return len(self.item.arrival.raw) * (1 + len(self.item.more))


class _RecordWork(Work[None]):
    __slots__ = ("attempt",)

    def __init__(self, attempt: Attempt) -> None:
        self.attempt = attempt


class _ClaimWork(Work[list[Claim]]):
    __slots__ = ("endpoint", "limit")

    def __init__(self, endpoint: str, limit: int) -> None:
        self.endpoint = endpoint
        self.limit = limit


class _ProbeWork(Work[None]):
    __slots__ = ()


class Store:
    """The ledger, written by one thread in shared, synced transactions.

    Every method that writes returns after its commit is on disk. All raise StoreUnavailable when
    the store cannot work now: nothing is promised then, and asking again is safe (if a server's
    word was lost after its commit, the arrival is a duplicate and the attempt there already).
    Cancelling a waiter does not stop its commit; what it leased is free again when the lease ends.
    """

    def __init__(
        self,
        database: Database,
        *,
        owner: str,
        lease_seconds: float,
        clock: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._owner = owner
        self._lease = timedelta(seconds=lease_seconds)
        self._clock = clock
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="store-reader")
        self._writer = Writer(self._commit, database.name)
        self._closed = False

    @classmethod
    async def open(
        cls,
        settings: StoreSettings,
        *,
        owner: str,
        lease_seconds: float,
        endpoints: Sequence[str],
        clock: Callable[[], datetime],
    ) -> Self:
        """Open, check and migrate the database, and take up what a dead predecessor left.

        `owner` names this process in its leases and must be unique among the bridges that run on
        one database. On SQLite, of which we are then the only daemon, every lease is freed; on
        PostgreSQL those of `owner`, and others when they end. Pending deliveries of endpoints that
        are not in `endpoints` are held, and released when their endpoint is back.

        Raises StoreUnusable if the database is newer, damaged, not ours, or in use by another
        daemon (SQLite); StoreFull and StoreUnavailable if it cannot be opened now.
        """

        def open_database() -> Database:
            database = Database.open(settings, migrate=True, lock=True)
            try:
                now = clock()
                with database.begin() as connection:
                    dead = owner if database.file is None else None
                    freed = outbox.free_leases(connection, dead, now)
                    match_config(connection, endpoints, now)
            except BaseException:
                database.close()
                raise
            if freed:
                log.info("store.leases_freed", deliveries=freed)
            return database

        database = await asyncio.to_thread(open_database)
        return cls(database, owner=owner, lease_seconds=lease_seconds, clock=clock)

    async def close(self) -> None:
        """Commit what still waits, then close; what is asked of it afterwards is unavailable."""
        self._closed = True
        await self._writer.close()
        await asyncio.to_thread(self._readers.shutdown)
        await asyncio.to_thread(self._database.close)

    async def ingest(self, item: Ingest) -> Receipt:
        """Commit an arrival and all that follows from it, or nothing: then it may be acknowledged.

        One transaction holds the raw bytes, the outcome, and for a new message the message, its
        event and its deliveries; the claimed ones are leased to us and in the receipt. A message
        that is known already becomes a duplicate: its arrival is stored and nothing is sent. If
        the database refuses a message for what is in it, the arrival is stored as quarantine
        (reason `internal`) instead.

        Raises StoreFull under the low-water mark or on a full disk, StoreUnavailable if it cannot
        be committed now; and for a reparse NotFound or NotPossible.
        """
        return await self._writer.submit(_IngestWork(item))

    async def claim(self, endpoint: str, limit: int) -> list[Claim]:
        """Lease up to `limit` due deliveries, those that have been due longest first.

        Each attempt is counted before this returns. No other process is given the same delivery
        until the lease ends. Below the low-water mark this goes on.
        """
        return await self._writer.submit(_ClaimWork(endpoint, limit))

    async def record(self, attempt: Attempt) -> None:
        """Commit an attempt and what its delivery becomes by it.

        If the lease was lost meanwhile, the attempt is written, a delivered one makes its delivery
        delivered, and nothing else changes. Recording an attempt again changes nothing. Below the
        low-water mark this goes on. Raises NotFound if there is no such delivery.
        """
        await self._writer.submit(_RecordWork(attempt))

    async def probe(self) -> None:
        """Prove that the store takes in: one small row, really committed and synced.

        Raises StoreFull and StoreUnavailable exactly where `ingest` would.
        """
        await self._writer.submit(_ProbeWork())

    async def next_due(self, endpoint: str) -> datetime | None:
        """Return when the endpoint's next delivery may be claimed; None if none is pending.

        Reads only, one seek in an index, and waits for no writer. A leased delivery counts with
        its lease's end.
        """
        return await self._read(partial(outbox.next_due, endpoint=endpoint))

    async def snapshot(self) -> Snapshot:
        """Count what is open: for the gauges."""
        return await self._read(take_snapshot)

    async def free_bytes(self) -> int | None:
        """Return the free space on the disk of an SQLite file; None on PostgreSQL."""
        return await self._in_reader(self._database.free_bytes)

    async def _read(self, query: Callable[[Connection], T]) -> T:
        def run() -> T:
            with self._database.read() as connection:
                return query(connection)

        return await self._in_reader(run)

    async def _in_reader(self, run: Callable[[], T]) -> T:
        if self._closed:
            raise StoreUnavailable(f"{self._database.name} is closed")
        try:
            return await asyncio.get_running_loop().run_in_executor(self._readers, run)
        except StoreUnusable as error:
            raise StoreUnavailable(str(error)) from None

    # ---- on the writer's thread

    def _commit(self, works: Sequence[Work[Any]]) -> None:
        """Write a batch in one transaction; what a full disk must not take in is told so."""
        try:
            self._database.require_space()
        except StoreFull as full:
            works = _without_intake(works, full)
            if not works:
                return
        try:
            self._write(works)
        except (StoreUnavailable, StoreUnusable):
            raise
        except Exception as error:
            work = works[0]
            if len(works) > 1 or not isinstance(work, _IngestWork):
                raise
            spare = _as_quarantine(work.item, error)
            if spare is None:
                raise
            log.error("store.message_refused", where=where(error))
            work.item = spare
            self._write(works)

    def _write(self, works: Sequence[Work[Any]]) -> None:
        ingests = [work for work in works if isinstance(work, _IngestWork)]
        records = [work for work in works if isinstance(work, _RecordWork)]
        with self._database.begin_again() as connection:
            now = self._clock()
            lease = Lease(self._owner, now, now + self._lease)
            if ingests:
                postgres.lock_ingest(connection)  # before any other lock
            # First what was done, since it may hold an endpoint; then what is new; then what is
            # to do, which sees both.
            if records:
                made = [work.attempt for work in records]
                for record, recorded in zip(
                    records, record_many(connection, made, now), strict=True
                ):
                    record.result = recorded
            if ingests:
                receipts = ingest_many(connection, [work.item for work in ingests], lease)
                for ingest, receipt in zip(ingests, receipts, strict=True):
                    ingest.result = receipt
            for work in works:
                if isinstance(work, _ClaimWork):
                    work.result = outbox.claim(connection, work.endpoint, work.limit, lease)
            probes = [work for work in works if isinstance(work, _ProbeWork)]
            if probes:
                outbox.beat(connection, self._owner, now)
            for probe in probes:
                probe.result = None


def _without_intake(works: Sequence[Work[Any]], full: StoreFull) -> list[Work[Any]]:
    """Tell those that would take something in that the disk is full; return the others."""
    others: list[Work[Any]] = []
    for work in works:
        if isinstance(work, _IngestWork | _ProbeWork):
            work.result = StoreFull(str(full))
        else:
            others.append(work)
    return others


def _as_quarantine(item: Ingest, error: Exception) -> Ingest | None:
    """Return what is stored in place of a message that the database refuses, if that helps.

    Else its sender would try again for ever, and nobody would see why.
    """
    if not isinstance(item.result, Parsed):
        return None
    detail = (
        f"the database refused the message ({type(error).__name__}); the log says where; please "
        "report it, and reparse this arrival after the fix"
    )
    provider = item.result.message.provider
    return replace(item, result=Unreadable(Reason.INTERNAL, detail, provider), more=())

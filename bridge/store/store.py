"""The store as the rest of the daemon sees it: asynchronous, and what it returns is committed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from types import MappingProxyType
from typing import Final, Self, TypeVar

from sqlalchemy import Connection

from bridge.clock import Clock
from bridge.config.settings import StoreSettings
from bridge.errors import StoreUnavailable, StoreUnusable
from bridge.model import Attempt, Claim, Order, Receipt
from bridge.store import outbox
from bridge.store.beat import behind
from bridge.store.bring_forward import Brought, bring_forward, try_one
from bridge.store.commits import Commits
from bridge.store.database import Database
from bridge.store.endpoints import set_failing, set_failover
from bridge.store.give_back import give_back
from bridge.store.heart import Heart
from bridge.store.ingest import Ingest
from bridge.store.lease import Lease
from bridge.store.mend import Longest
from bridge.store.opening import take_up
from bridge.store.quota import Quota
from bridge.store.work import ChangeWork, ClaimWork, IngestWork, ProbeWork, RecordWork
from bridge.store.writer import Writer
from bridge.workers import started

_READERS: Final = 2  # so that a long snapshot does not hold up a lane's next_due
T = TypeVar("T")


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
        clock: Clock,
        quota: Quota | None = None,
        heart: Heart | None = None,
    ) -> None:
        self._database = database
        self._owner = owner
        self._clock = clock
        self._heart = heart or Heart(owner, clock, Longest())
        lease = timedelta(seconds=lease_seconds)
        self._commits = Commits(database, owner, lease, clock, self._heart, quota)
        self._readers = started(_READERS, "store-reader")
        self._writer = Writer(self._commits.commit, database.name)
        self._closed = False

    @classmethod
    async def open(
        cls,
        settings: StoreSettings,
        *,
        owner: str,
        lease_seconds: float,
        endpoints: Sequence[str],
        orders: Mapping[str, Order] = MappingProxyType({}),
        clock: Clock,
        longest: Longest | None = None,
    ) -> Self:
        """Open, check and migrate the database, and take up what a dead predecessor left.

        `owner` names this process in its leases and must be unique among the bridges that run on
        one database. On SQLite, of which we are then the only daemon, every lease is freed; on
        PostgreSQL those of `owner`, and others when they end. Pending deliveries of endpoints that
        are not in `endpoints` are held, and released when their endpoint is back; `orders` are
        the endpoints' orders within conversations. `clock` is set to the database's time, and kept
        so by each `probe`; no delivery waits for more than `longest`.

        Raises StoreUnusable if the database is newer, damaged, not ours, or in use by another
        daemon (SQLite); StoreFull and StoreUnavailable if it cannot be opened now.
        """
        heart = Heart(owner, clock, longest or Longest())

        def open_database() -> Database:
            database = Database.open(settings, migrate=True, lock=True)
            try:
                take_up(database, heart, timedelta(seconds=lease_seconds), owner, endpoints, orders)
            except BaseException:
                database.close()
                raise
            return database

        database = await asyncio.to_thread(open_database)
        quota = Quota(settings.quarantine_mails, settings.quarantine_size)
        return cls(
            database, owner=owner, lease_seconds=lease_seconds, clock=clock, quota=quota,
            heart=heart,
        )  # fmt: skip

    @classmethod
    async def beside(cls, settings: StoreSettings, *, owner: str, clock: Clock) -> Self:
        """Open the database for a command, beside a daemon that may be running on it.

        It is not made, migrated or locked. What a command writes, it leaves to the daemon to send.
        `clock` is set to the database's time. Raises as `open` does.
        """

        def open_database() -> Database:
            database = Database.open(settings)
            try:
                with database.read() as connection:
                    clock.set_right(behind(connection, clock))
            except BaseException:
                database.close()
                raise
            return database

        database = await asyncio.to_thread(open_database)
        return cls(database, owner=owner, lease_seconds=0.0, clock=clock)

    async def close(self) -> None:
        """Commit what still waits, then close; requests afterwards raise StoreUnavailable."""
        self._closed = True
        await self._writer.close()
        await asyncio.to_thread(self._readers.shutdown)
        await asyncio.to_thread(self._database.close)

    def lease_for(self, seconds: float) -> None:
        """Lease deliveries for at least so long from now on; never for less than until now.

        A lane that a reload replaces still begins attempts by its own timeout.
        """
        self._commits.lease = max(self._commits.lease, timedelta(seconds=seconds))

    def new_lease(self) -> Lease:
        """Return a lease of ours that begins now."""
        return self._commits.new_lease()

    @property
    def lease_seconds(self) -> float:
        """For how long deliveries are leased."""
        return self._commits.lease.total_seconds()

    @property
    def clock_problems(self) -> Mapping[str, str | None]:
        """What is wrong with the clock by the last `probe`, a sentence for each thing."""
        return self._heart.problems

    @property
    def shared(self) -> bool:
        """Whether other bridges may work on the same database; never so on SQLite."""
        return self._database.file is None

    async def ingest(self, item: Ingest) -> Receipt:
        """Commit an arrival and all that follows from it, or nothing: then it may be acknowledged.

        One transaction holds the raw bytes, the outcome, and for a new message the message, its
        event and its deliveries; the claimed ones are leased to us and in the receipt. A message
        that is known already becomes a duplicate: its arrival is stored and nothing is sent. If
        the database refuses a message for what is in it, the arrival is stored as quarantine
        (reason `internal`) instead.

        A mail of a mailbox moves that folder's cursor, in the same transaction, to where its place
        says that it is settled. What became no message and was read before with the very same
        bytes, from a mailbox or a file, is not stored once more: the receipt is the first one's,
        `repeated`.

        Raises StoreFull under the low-water mark or on a full disk, QuarantineFull for a
        stranger's mail while those have filled their part of the store, StoreUnavailable if it
        cannot be committed now; and for a reparse NotFound or NotPossible.
        """
        return await self._writer.submit(IngestWork(item))

    async def claim(
        self, endpoint: str, limit: int, order: Order = Order.NONE, since: datetime | None = None
    ) -> list[Claim]:
        """Lease up to `limit` due deliveries, those that have been due longest first.

        `since`: not those that were due before. With an `order`, at most one of each conversation,
        and none out of turn: a conversation has one delivery in flight at any time, whoever claims.
        Each attempt is counted before this returns. Nobody else is given the same delivery until
        the lease ends.
        """
        return await self._writer.submit(ClaimWork(endpoint, limit, order, since))

    async def give_back(self, claims: Sequence[Claim]) -> None:
        """Undo claims of which no attempt began: each is due when it was, as the same attempt.

        Don't ask again after StoreUnavailable: it may have been done, and the next claim of a
        delivery has the same token. The lease ends by itself.
        """
        await self.change(lambda to: give_back(to, claims, self._owner, self._clock()))

    async def bring_forward(
        self,
        endpoint: str,
        after: int,
        limit: int,
        over_since: datetime | None = None,
        again_since: datetime | None = None,
    ) -> Brought:
        """Make due what failed, by age, of the endpoint's next `limit` open ones behind `after`.

        Not where the endpoint asked to wait, unless before `over_since`, the use of its failover.
        What failed again since `again_since`, when this was done before, goes behind the others.
        """
        return await self.change(
            lambda to: bring_forward(
                to, endpoint, after, limit, self._clock(), over_since, again_since
            )
        )

    async def try_one(self, endpoint: str, over_since: datetime | None = None) -> int:
        """Make one due that waits for a retry, as `bring_forward`; return how many that was."""
        return await self.change(lambda to: try_one(to, endpoint, self._clock(), over_since))

    async def fail_over(self, endpoint: str) -> datetime:
        """Note that an endpoint fails and its failover URL is in use; return since when.

        That ends with the record of an attempt by which it is no longer failing.
        """
        now = self._clock()
        await self.change(partial(set_failover, endpoint=endpoint, since=now))
        return now

    async def recovered(self, endpoint: str) -> None:
        """Note that an endpoint isn't failing, and its own URL is in use."""
        await self.change(partial(set_failing, endpoint=endpoint, since=None))

    async def record(self, attempt: Attempt) -> None:
        """Commit an attempt and what its delivery becomes by it.

        If the lease was lost meanwhile, the attempt is written, a delivered one makes its delivery
        delivered, and nothing else changes. Recording an attempt again changes nothing. Below the
        low-water mark this goes on. Raises NotFound if there is no such delivery.
        """
        await self._writer.submit(RecordWork(attempt))

    async def probe(self) -> None:
        """Prove that the store takes in: one small row, really committed and synced.

        Raises StoreFull and StoreUnavailable exactly where `ingest` would. Below the low-water
        mark the row is committed all the same before StoreFull is raised.
        """
        await self._writer.submit(ProbeWork())

    async def next_due(self, endpoint: str) -> datetime | None:
        """Return when the endpoint's next delivery may be claimed; None if none is pending.

        One seek in an index, which waits for no writer. A leased one counts with its lease's end.
        """
        return await self.read(partial(outbox.next_due, endpoint=endpoint))

    async def free_bytes(self) -> int | None:
        """Return the free space on the disk of an SQLite file; None on PostgreSQL."""
        return await self._in_reader(self._database.free_bytes)

    @property
    def name(self) -> str:
        """Return what an operator's sentence calls the database, without a password."""
        return self._database.name

    async def acknowledged(self) -> int | None:
        """Return the highest number of an arrival that was acknowledged; None on PostgreSQL."""
        return await self._in_reader(self._database.acknowledged)

    async def read(self, query: Callable[[Connection], T]) -> T:
        """Run a query in a read transaction of its own: one snapshot, waiting for no writer."""

        def run() -> T:
            with self._database.read() as connection:
                return query(connection)

        return await self._in_reader(run)

    async def change(self, change: Callable[[Connection], T], *, spare: bool = False) -> T:
        """Commit a change; return what it returns.

        It shares its transaction with whatever else waits, after the arrivals and before the
        claims, and is run again by itself if that transaction fails: it must not do anything but
        write. Below the low-water mark this goes on, since most changes free something.

        A `spare` one waits until nothing else does, in a transaction of its own, which is not
        synced: the next commit's sync includes it, and a power cut before undoes it.
        """
        return await self._writer.submit(ChangeWork(change, spare=spare))

    async def rewrite(self) -> None:
        """Rewrite the database's files, so that nothing that was removed is left in them.

        Nobody can write meanwhile; mail is deferred. Raises StoreFull and StoreUnavailable.
        """
        await asyncio.to_thread(self._database.rewrite)

    async def _in_reader(self, run: Callable[[], T]) -> T:
        if self._closed:
            raise StoreUnavailable(f"{self._database.name} is closed")
        try:
            return await asyncio.get_running_loop().run_in_executor(self._readers, run)
        except StoreUnusable as error:
            raise StoreUnavailable(str(error)) from None

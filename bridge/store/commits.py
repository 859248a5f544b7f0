"""What the writer's thread does with a batch: one transaction, and the heartbeat in its own."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final, TypeVar

from bridge.clock import Clock
from bridge.errors import BridgeError, StoreFull
from bridge.store import outbox, postgres
from bridge.store.database import Database
from bridge.store.heart import Heart
from bridge.store.ingest import ingest_many
from bridge.store.keys import newest_arrival
from bridge.store.lease import UNBEGUN, Lease
from bridge.store.quota import Quota
from bridge.store.record import record_many
from bridge.store.work import ChangeWork, ClaimWork, IngestWork, ProbeWork, RecordWork
from bridge.store.writer import Work

_ROOM_FOR_A_MAIL: Final = 1024**2  # bytes that must be free for the store to count as healthy
T = TypeVar("T")


class Commits:
    """Commits batches in the name of `owner`, whose leases last for `lease`."""

    def __init__(
        self,
        database: Database,
        owner: str,
        lease: timedelta,
        clock: Clock,
        heart: Heart,
        quota: Quota | None,
    ) -> None:
        self.lease = lease
        self._database = database
        self._owner = owner
        self._clock = clock
        self._heart = heart
        self._quota = quota

    def new_lease(self) -> Lease:
        """Return a lease that begins now."""
        now = self._clock()
        return Lease(self._owner, now, now + self.lease, self._clock.lived() or UNBEGUN)

    def commit(self, works: Sequence[Work[Any]]) -> None:
        """Write a batch in one transaction; on a full disk, all of it but the arrivals."""
        full = self._full()
        if full is not None:
            for work in works:
                if isinstance(work, IngestWork):
                    work.result = StoreFull(str(full))
            works = [work for work in works if not isinstance(work, IngestWork)]
        probes = [work for work in works if isinstance(work, ProbeWork)]
        if probes:
            # By itself and first: if it finds that the clock was set, all else goes by the new
            # time, and what that moves is moved once however often the rest is tried.
            with self._database.begin_again() as connection:
                made = self._heart.beat(connection, self.lease)
            self._heart.committed(made)
        if len(works) > len(probes):
            self._write(works)
        # The probe's own row may still fit on a disk where no mail does.
        if probes and (full := full or self._full(_ROOM_FOR_A_MAIL)):
            for work in probes:
                work.result = StoreFull(str(full))

    def _full(self, least: int = 0) -> StoreFull | None:
        try:
            self._database.require_space(least)
        except StoreFull as error:
            return error
        return None

    def _write(self, works: Sequence[Work[Any]]) -> None:
        ingests = [work for work in works if isinstance(work, IngestWork)]
        records = [work for work in works if isinstance(work, RecordWork)]
        changes = [work for work in works if isinstance(work, ChangeWork)]
        newest = 0
        synced = not all(work.spare for work in works)
        with self._database.begin_again(synced=synced) as connection:
            lease = self.new_lease()
            if ingests or changes:
                postgres.lock_ingest(connection)  # before any other lock
            if any(work.ordered for work in works):
                postgres.lock_order(connection)
            # First what was done, since it may hold an endpoint; then what is new; then what is
            # to do, which sees both.
            if records:
                made = [work.attempt for work in records]
                _set(records, record_many(connection, made, lease.now))
            if ingests:
                _set(
                    ingests,
                    ingest_many(connection, [each.item for each in ingests], lease, self._quota),
                )
                shared = self._database.file is None
                newest = 0 if shared else newest_arrival(connection)
            for change in changes:
                change.result = change.change(connection)
            for work in works:
                if isinstance(work, ClaimWork):
                    work.result = outbox.claim(
                        connection, work.endpoint, work.limit, lease, work.order, work.since
                    )
        if newest:
            self._database.acknowledge(newest)


def _set(works: Sequence[Work[T]], results: Sequence[T | BridgeError]) -> None:
    for work, result in zip(works, results, strict=True):
        work.result = result

"""Takes arrivals in from a command, by the line that sources use, beside a running daemon."""

from __future__ import annotations

from collections.abc import Sequence

from bridge.cli.options import now
from bridge.delivery.endpoint import Endpoint
from bridge.errors import BridgeError, StoreError, StoreUnavailable, StoreUnusable
from bridge.ingest import Reader, Reading, to_store
from bridge.model import Arrival, PlannedDelivery, Receipt
from bridge.store import Database, Ingest, Lease, ingest_many
from bridge.store.works import as_quarantine

Taken = tuple[Receipt | BridgeError, str]  # with the reason, for what became no message


class TakingIn:
    """Reads arrivals and commits them in batches; deliveries are left to the daemon.

    Its commits hold up the event loop: a command has nothing else to do.
    """

    def __init__(
        self, store: Database, reader: Reader, endpoints: Sequence[Endpoint], owner: str
    ) -> None:
        self._store = store
        self._reader = reader
        self._endpoints = endpoints
        self._owner = owner

    async def take(self, arrivals: Sequence[Arrival]) -> list[Taken]:
        """Commit these; StoreUnavailable and StoreFull leave here, and nothing was stored then."""
        if not arrivals:
            return []
        read = [await self.read(arrival) for arrival in arrivals]
        receipts = self.commit([item for item, _ in read])
        return [(receipt, detail) for receipt, (_, detail) in zip(receipts, read, strict=True)]

    async def read(self, arrival: Arrival) -> tuple[Ingest, str]:
        """Read one arrival, and plan its deliveries."""
        result = await self._reader.read(arrival)
        planned: list[tuple[PlannedDelivery, ...]] = []
        if isinstance(result, Reading):
            planned = [
                tuple(each.plan(reading.message) for each in self._endpoints)
                for reading in result.all
            ]
        detail = "" if isinstance(result, Reading) else result.detail
        return to_store(arrival, result, planned), detail

    def commit(self, items: Sequence[Ingest]) -> list[Receipt | BridgeError]:
        """Write them in one transaction; a poisoned one is found by writing them one by one."""
        self._store.require_space()
        moment = now()
        # Nothing is leased to us: the daemon takes up what is due.
        lease = Lease(self._owner, moment, moment)
        try:
            with self._store.begin() as connection:
                return ingest_many(connection, items, lease)
        except (StoreUnavailable, StoreUnusable):
            raise
        except StoreError as error:
            if len(items) > 1:
                return [receipt for item in items for receipt in self.commit([item])]
            spare = as_quarantine(items[0], error)
            return [error] if spare is None else self.commit([spare])

"""Makes each endpoint's digests: a dead man's switch, which tells by its absence."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Final, Protocol

from sqlalchemy import Connection

from bridge import logs, metrics
from bridge.delivery.endpoint import Endpoint
from bridge.errors import StoreError
from bridge.formats import digest as format_digest
from bridge.model import BRIDGE_DIGEST, Claim, DeliveryState, Digest, PlannedDelivery
from bridge.store import Store
from bridge.store.digests import Standing, draft, read_standing, write

log = logs.logger("digest")

_TICK: Final = 1.0  # seconds between two looks at the clock
# A digest counts all that is not delivered yet, which may be a million. However short the period,
# the pause is this many times as long as that took.
_REST: Final = 9.0


class Lanes(Protocol):
    """What this needs of the dispatcher: a digest must not queue behind a backlog."""

    def reserve(self, endpoint: str) -> int:
        """Reserve a slot of the endpoint's lane; return which lane that is, 0 if none has one."""

    def release(self, planned: Sequence[PlannedDelivery]) -> None:
        """Release the slot of a delivery that was not written as leased to us."""

    def start(self, claims: Sequence[Claim]) -> None:
        """Start a delivery that was."""


class Digester:
    """Makes a digest at the start of each period, for the endpoints that want some.

    Periods are counted in UTC: with an hour, on the hour. Of those that went by meanwhile, one is
    made.
    """

    def __init__(
        self,
        store: Store,
        lanes: Lanes,
        endpoints: Sequence[Endpoint],
        clock: Callable[[], datetime],
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._lanes = lanes
        self._clock = clock
        self._pause = pause
        self._timer = timer
        self._took = 0.0  # what was counted since the last pause
        self._made: dict[str, datetime] = {}  # until when, so that the store is asked once a period
        self.use(endpoints)

    def use(self, endpoints: Sequence[Endpoint]) -> None:
        """Make digests for these endpoints from now on."""
        self._every = {each.name: each.digest for each in endpoints if each.digest is not None}
        self._made.clear()

    async def run(self) -> None:
        """Make what is due, until cancelled; a store that is away is tried again."""
        while True:
            try:
                await self.step()
            except StoreError as error:
                log.warning("digest.failed", detail=str(error))
            took, self._took = self._took, 0.0
            await self._pause(max(_TICK, _REST * took))

    async def step(self) -> None:
        """Make the digests that are due. Raises StoreError."""
        for name, every in tuple(self._every.items()):
            due_at = _period(self._clock(), every)
            if self._made.get(name) != due_at:
                await self._make(name, every, due_at)

    async def _make(self, name: str, every: float, due_at: datetime) -> None:
        now = self._clock()

        def look(connection: Connection) -> tuple[Standing, Digest | None]:
            standing = read_standing(connection, name, now)
            if not standing.wants(due_at, every, now):
                return standing, None
            return standing, draft(connection, name, standing, due_at, every)

        began = self._timer()
        standing, digest = await self._store.read(look)
        self._took += self._timer() - began
        if digest is None:
            self._made[name] = due_at
            return
        event = format_digest.event(digest, now)
        lane = self._lanes.reserve(name)
        planned = PlannedDelivery(
            name, DeliveryState.PENDING, claimed=lane > 0, format=BRIDGE_DIGEST, lane=lane
        )
        written: Claim | bool = False
        try:
            written = await self._store.change(
                partial(
                    write, digest=digest, event=event, standing=standing,
                    new_lease=self._store.new_lease, planned=planned,
                )
            )  # fmt: skip
        finally:
            if isinstance(written, Claim):
                self._lanes.start([written])
            else:
                self._lanes.release([planned])
        if written:
            self._made[name] = due_at
            metrics.DIGESTS.labels(name).inc()
            log.info("digest.made", endpoint=name, number=digest.number, last=digest.last)


def _period(now: datetime, every: float) -> datetime:
    """Return when the period began that it is now."""
    return datetime.fromtimestamp(now.timestamp() // every * every, UTC)

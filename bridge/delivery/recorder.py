"""Writes what attempts of one endpoint came to, for as long as it takes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial
from typing import Final, TypeVar

from bridge import logs
from bridge.delivery.outbox import Outbox, until_stored
from bridge.errors import NotFound, StoreUnavailable
from bridge.model import Attempt

log = logs.logger("delivery")
T = TypeVar("T")

LOOKED_AT_ONCE: Final = 1000  # deliveries, of which some are brought forward in one transaction


class Recorder:
    """Records attempts, and counts those whose record the store has refused so far."""

    def __init__(self, endpoint: str, outbox: Outbox) -> None:
        self._endpoint = endpoint
        self._outbox = outbox
        self.unrecorded = 0
        self._brought_at: datetime | None = None  # the end of the last time, by the store's clock

    async def record(self, done: Attempt) -> None:
        """Record an attempt, retrying until the store accepts it."""
        try:
            await self._insist(done)
        except NotFound:
            # Our lease had ended, another bridge delivered it, and retention has deleted it since.
            log.warning(
                "delivery.forgotten", delivery=done.claim.delivery_id, endpoint=self._endpoint
            )

    async def bring_forward(self, over_since: datetime | None, progress: Callable[[], None]) -> int:
        """Make due what failed, in several transactions; call `progress` after each.

        Returns how many.
        Waits for a store that is down, since each would else wait for its own time, up to hours.
        """
        total = 0
        after: int | None = 0
        while after is not None:
            brought, after, at = await self._waiting_for_store(
                partial(
                    self._outbox.bring_forward, self._endpoint, after, LOOKED_AT_ONCE, over_since,
                    self._brought_at,
                )
            )  # fmt: skip
            total += brought
            if brought:
                progress()
        self._brought_at = at
        if total:
            log.info("delivery.brought_forward", endpoint=self._endpoint, deliveries=total)
        return total

    async def try_one(self, over_since: datetime | None, progress: Callable[[], None]) -> None:
        """Make one due that waits for a retry, if there is one; then call `progress`."""
        if await self._waiting_for_store(partial(self._outbox.try_one, self._endpoint, over_since)):
            progress()

    async def _waiting_for_store(self, work: Callable[[], Awaitable[T]]) -> T:
        try:
            return await work()
        except StoreUnavailable as error:
            log.warning("delivery.not_brought_forward", endpoint=self._endpoint, detail=str(error))
            return await until_stored(work)

    async def _insist(self, done: Attempt) -> None:
        try:
            await self._outbox.record(done)
        except StoreUnavailable as error:
            log.warning(
                "delivery.unrecorded",
                delivery=done.claim.delivery_id,
                endpoint=self._endpoint,
                detail=str(error),
            )
        else:
            return
        self.unrecorded += 1
        try:
            await until_stored(partial(self._outbox.record, done))
        finally:
            self.unrecorded -= 1

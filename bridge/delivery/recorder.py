"""Writes what attempts of one endpoint came to, for as long as it takes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Final

from bridge import logs
from bridge.delivery.outbox import Outbox, until_stored
from bridge.errors import NotFound, StoreUnavailable
from bridge.model import Attempt

log = logs.logger("delivery")

BROUGHT_AT_ONCE: Final = 1000  # deliveries in one transaction


class Recorder:
    """Records attempts, and counts those whose record the store has refused so far."""

    def __init__(self, endpoint: str, outbox: Outbox) -> None:
        self._endpoint = endpoint
        self._outbox = outbox
        self.unrecorded = 0

    async def record(self, done: Attempt) -> None:
        """Record an attempt, retrying until the store accepts it."""
        try:
            await self._insist(done)
        except NotFound:
            # Our lease had ended, another bridge delivered it, and retention has deleted it since.
            log.warning(
                "delivery.forgotten", delivery=done.claim.delivery_id, endpoint=self._endpoint
            )

    async def bring_forward(
        self, over_since: datetime | None, progress: Callable[[], None], *, one: bool = False
    ) -> None:
        """Make due what waits for a retry, or one of it; call `progress` after each transaction.

        Waits for a store that is down, since each would else wait for its own time, up to hours.
        """
        limit = 1 if one else BROUGHT_AT_ONCE
        some = partial(self._outbox.bring_forward, self._endpoint, limit, over_since)
        total, more = 0, True
        while more:
            try:
                brought = await some()
            except StoreUnavailable as error:
                log.warning(
                    "delivery.not_brought_forward", endpoint=self._endpoint, detail=str(error)
                )
                brought = await until_stored(some)
            total += brought
            more = brought == limit and not one
            if brought:
                progress()
        if total:
            log.info("delivery.brought_forward", endpoint=self._endpoint, deliveries=total)

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

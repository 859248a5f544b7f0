"""The lanes of all endpoints: what ingest plans with, and what the supervisor runs and drains."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

import httpx

from bridge import logs
from bridge.config.settings import DeliverySettings
from bridge.delivery.endpoint import Endpoint
from bridge.delivery.lane import Lane, Outbox
from bridge.model import Claim, DeliveryState, PlannedDelivery, SmsMessage

log = logs.logger("delivery")

_ABORT_SECONDS: Final = 5.0  # how long cancelled attempts may take to close their connections


class Dispatcher:
    """One lane an endpoint; a lane's trouble stays its own.

    `plan` before a message is written, then `start` with the claims that came back and `release`
    with the planned deliveries that none came back for, whatever the reason.
    """

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        settings: DeliverySettings,
        outbox: Outbox,
        open_transport: Callable[[Endpoint], httpx.AsyncBaseTransport],
        *,
        clock: Callable[[], datetime],
        rng: Callable[[], float],
    ) -> None:
        self._lanes = {
            endpoint.name: Lane(endpoint, settings, outbox, open_transport, clock, rng)
            for endpoint in endpoints
        }
        self._draining = asyncio.Event()
        self._ended = asyncio.Event()
        self._ended.set()  # until `run` begins

    def plan(self, message: SmsMessage) -> tuple[PlannedDelivery, ...]:
        """Say which deliveries follow from a message: one for each endpoint, filtered or pending.

        A pending one is `claimed` where its lane has a slot for it now; the slot is then reserved
        until `start` or `release`.
        """
        return tuple(lane.endpoint.plan(message, lane.reserve) for lane in self._lanes.values())

    def release(self, planned: Sequence[PlannedDelivery]) -> None:
        """Take note of planned deliveries that were not written as leased to us.

        Reserved slots are free again. The lanes of those that had no slot look for due rows: they
        may have been written for the clock to find.
        """
        for delivery in planned:
            if delivery.claimed:
                self._lanes[delivery.endpoint].release()
            elif delivery.state is DeliveryState.PENDING:
                self._lanes[delivery.endpoint].kick()

    def start(self, claims: Sequence[Claim]) -> None:
        """Run, at once, the deliveries that were written as leased to us."""
        for claim in claims:
            self._lanes[claim.endpoint].start(claim)

    def kick(self, endpoint: str | None = None) -> None:
        """Look for due rows of one endpoint, or of all, without waiting for the clock."""
        for name, lane in self._lanes.items():
            if endpoint in (None, name):
                lane.kick()

    async def run(self) -> None:
        """Deliver until drained; a bug in a lane is raised from here and ends the daemon."""
        self._ended.clear()
        try:
            async with asyncio.TaskGroup() as lanes:
                for lane in self._lanes.values():
                    lanes.create_task(lane.run())
                await self._draining.wait()
                for lane in self._lanes.values():
                    lane.stop()
        finally:
            self._ended.set()

    async def drain(self, grace_seconds: float) -> None:
        """Claim nothing more, let running attempts end and be recorded, then cancel the rest.

        Returns when `run` has ended. What is cancelled keeps its lease until that expires or the
        next start frees it, and is then sent again with the same id.
        """
        for lane in self._lanes.values():
            lane.stop()
        self._draining.set()
        if await self._ends_within(grace_seconds):
            return
        for lane in self._lanes.values():
            lane.abort()
        log.warning("delivery.cut_off", grace=grace_seconds)
        await self._ends_within(_ABORT_SECONDS)

    async def _ends_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._ended.wait()
        except TimeoutError:
            return False
        return True

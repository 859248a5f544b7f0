"""All endpoints' lanes: ingest plans deliveries with them, the supervisor runs and drains them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import Final

import httpx

from bridge import logs
from bridge.config.settings import DeliverySettings
from bridge.delivery.endpoint import Endpoint
from bridge.delivery.lane import Lane
from bridge.delivery.outbox import Outbox
from bridge.model import Claim, DeliveryState, Message, PlannedDelivery

log = logs.logger("delivery")

_ABORT_SECONDS: Final = 5.0  # for cancelled attempts to close their connections


class Dispatcher:
    """Runs one isolated lane per endpoint.

    The lanes of endpoints in `failing`, which failed when the last run ended, begin with a probe.
    Call `plan` before a message is written; then `start` with the claims that were returned, and
    `release` with the planned deliveries without a claim, for whatever reason.
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
        failing: Collection[str] = (),
    ) -> None:
        self._lanes = {
            endpoint.name: Lane(
                endpoint,
                settings,
                outbox,
                open_transport,
                clock,
                rng,
                failing=endpoint.name in failing,
            )
            for endpoint in endpoints
        }
        self._draining = asyncio.Event()
        self._ended = asyncio.Event()
        self._ended.set()  # until `run` begins

    def plan(self, message: Message) -> tuple[PlannedDelivery, ...]:
        """Plan a message's deliveries: one per endpoint, filtered or pending.

        A pending one is `claimed` if its lane has a free slot, which stays reserved until `start`
        or `release`.
        """
        return tuple(lane.endpoint.plan(message, lane.reserve) for lane in self._lanes.values())

    def release(self, planned: Sequence[PlannedDelivery]) -> None:
        """Free the slots of planned deliveries that were not written as leased to us.

        Lanes of pending deliveries without a slot look for due rows, which may just have been
        written.
        """
        for delivery in planned:
            if delivery.claimed:
                self._lanes[delivery.endpoint].release()
            elif delivery.state is DeliveryState.PENDING:
                self._lanes[delivery.endpoint].kick()

    def start(self, claims: Sequence[Claim]) -> None:
        """Start deliveries that were written as leased to us."""
        for claim in claims:
            self._lanes[claim.endpoint].start(claim)

    def kick(self, endpoint: str | None = None) -> None:
        """Look for due rows of one endpoint, or of all, now instead of at the next poll."""
        for name, lane in self._lanes.items():
            if endpoint in (None, name):
                lane.kick()

    async def run(self) -> None:
        """Deliver until drained; raises a lane's bug, which ends the daemon."""
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
        """Stop claiming, wait for in-flight attempts to be recorded, then cancel the rest.

        Returns when `run` has ended. A cancelled delivery stays leased until the lease expires or
        the next start frees it, and is then sent again with the same id.
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

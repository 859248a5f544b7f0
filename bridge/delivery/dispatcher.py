"""All endpoints' lanes: ingest plans deliveries with them, the supervisor runs and drains them."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from functools import partial
from itertools import count
from types import MappingProxyType
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

    The lanes of endpoints in `failing`, which failed when the last run ended, begin with a probe;
    those in `over` with their failover URL.
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
        over: Mapping[str, datetime] = MappingProxyType({}),
    ) -> None:
        numbers = count(1)

        def lane(endpoint: Endpoint, failing: bool, over_since: datetime | None) -> Lane:
            made = Lane(
                endpoint, settings, outbox, open_transport, clock, rng,
                failing=failing, over_since=over_since,
            )  # fmt: skip
            made.number = next(numbers)
            return made

        self._new_lane = lane
        self._lanes = {
            each.name: lane(each, each.name in failing, over.get(each.name)) for each in endpoints
        }
        self._reserved: Counter[Lane] = Counter()  # slots for deliveries that are being written
        self._retired: defaultdict[str, list[Lane]] = defaultdict(list)  # with reserved slots
        self._alive: set[Lane] = set()
        self._tasks: asyncio.TaskGroup | None = None
        self._draining = asyncio.Event()
        self._ended = asyncio.Event()
        self._ended.set()  # until `run` begins

    def plan(self, message: Message) -> tuple[PlannedDelivery, ...]:
        """Plan a message's deliveries: one per endpoint, filtered or pending.

        A pending one is `claimed` if its lane has a slot that is free, or will be soon; it stays
        reserved until `start` or `release`.
        """
        return tuple(
            replace(lane.endpoint.plan(message, partial(self._reserve, lane)), lane=lane.number)
            for lane in self._lanes.values()
        )

    def reserve(self, endpoint: str) -> int:
        """Reserve a slot for a delivery that is no message's; return whose it is, 0 if none.

        As after `plan`, `start` or `release` must follow, with this number as `lane`.
        """
        lane = self._lanes.get(endpoint)
        return lane.number if lane is not None and self._reserve(lane) else 0

    def release(self, planned: Sequence[PlannedDelivery]) -> None:
        """Free the slots of planned deliveries that were not written as leased to us.

        Lanes of pending deliveries without a slot look for due rows, which may just have been
        written.
        """
        for delivery in planned:
            if delivery.claimed:
                with self._reserving(delivery.endpoint, delivery.lane) as lane:
                    lane.release()
            elif delivery.state is DeliveryState.PENDING and delivery.endpoint in self._lanes:
                self._lanes[delivery.endpoint].kick(fresh=True)

    def start(self, claims: Sequence[Claim]) -> None:
        """Start deliveries that were written as leased to us."""
        for claim in claims:
            with self._reserving(claim.endpoint, claim.lane) as lane:
                lane.start(claim)

    @property
    def over(self) -> Mapping[str, datetime]:
        """The endpoints whose failover URL is in use, and since when."""
        since = {name: lane.over_since for name, lane in self._lanes.items()}
        return {name: each for name, each in since.items() if each is not None}

    def change(
        self,
        endpoints: Sequence[Endpoint],
        failing: Collection[str],
        over: Mapping[str, datetime] = MappingProxyType({}),
    ) -> None:
        """Deliver to these endpoints from now on; those that are the same objects go on.

        The lane of any other one ends when the deliveries that are being written have their slots
        and its attempts in flight are recorded; a new lane is beside it from now on, and knows what
        it knew of the endpoint. `failing` and `over` are for endpoints that had no lane.
        """
        if self._draining.is_set():
            return
        old = self._lanes
        kept = {id(lane.endpoint): lane for lane in old.values()}
        stands = {
            name: lane.hand_over()
            for name, lane in old.items()
            if not any(each is lane.endpoint for each in endpoints)
        }
        self._lanes = {
            each.name: kept.get(id(each))
            or self._new_lane(
                each, *stands.get(each.name, (each.name in failing, over.get(each.name)))
            )
            for each in endpoints
        }
        for name, lane in old.items():
            if self._lanes.get(name) is not lane:
                self._retired[name].append(lane)
                self._retire(name, lane)
        for lane in self._lanes.values():
            self._launch(lane)

    def _reserve(self, lane: Lane) -> bool:
        reserved = lane.reserve()
        self._reserved[lane] += reserved
        return reserved

    @contextmanager
    def _reserving(self, endpoint: str, number: int) -> Iterator[Lane]:
        """Yield the lane whose slot was reserved, which is used up by that.

        A delivery that was planned before a change is leased for as long as the old lane's attempts
        may take, and for no other's.
        """
        retired = (lane for lane in self._retired[endpoint] if lane.number == number)
        lane = next(retired, None) or self._lanes[endpoint]
        self._reserved[lane] -= 1
        yield lane
        if lane in self._retired[endpoint]:
            self._retire(endpoint, lane)

    def _retire(self, endpoint: str, lane: Lane) -> None:
        """Stop a replaced lane, unless a delivery that is being written needs its slot."""
        if not self._reserved[lane]:
            self._retired[endpoint].remove(lane)
            del self._reserved[lane]
            lane.stop()

    def _launch(self, lane: Lane) -> None:
        if self._tasks is not None and lane not in self._alive:
            self._alive.add(lane)
            self._tasks.create_task(self._run_lane(lane))

    async def _run_lane(self, lane: Lane) -> None:
        try:
            await lane.run()
        finally:
            self._alive.discard(lane)

    def kick(self, endpoint: str | None = None) -> None:
        """Look for due rows of one endpoint, or of all, now instead of at the next poll."""
        for name, lane in self._lanes.items():
            if endpoint in (None, name):
                lane.kick()

    async def run(self) -> None:
        """Deliver until drained; raises a lane's bug, which ends the daemon."""
        self._ended.clear()
        try:
            async with asyncio.TaskGroup() as self._tasks:
                for lane in self._lanes.values():
                    self._launch(lane)
                await self._draining.wait()
                for lane in self._alive:
                    lane.stop()
        finally:
            self._tasks = None
            self._ended.set()

    async def drain(self, grace_seconds: float) -> None:
        """Stop claiming, wait for in-flight attempts to be recorded, then cancel the rest.

        Returns when `run` has ended. A cancelled delivery stays leased until the lease expires or
        the next start frees it, and is then sent again with the same id.
        """
        for lane in {*self._lanes.values(), *self._alive}:
            lane.stop()
        self._draining.set()
        if await self._ends_within(grace_seconds):
            return
        for lane in self._alive:
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

"""One endpoint's deliveries, with connections, slots and a breaker of their own.

The database is the queue. A lane keeps only in-flight deliveries in memory, and claims more from
the store when slots are free and rows are due.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, suppress
from datetime import datetime
from typing import Any, TypeVar

import httpx

from bridge import logs
from bridge.config.settings import DeliverySettings
from bridge.delivery.admission import Admission, Begun, soonest
from bridge.delivery.attempt import attempt
from bridge.delivery.claiming import POLL_SECONDS, Claiming
from bridge.delivery.endpoint import Endpoint
from bridge.delivery.outbox import FIRST_BACKOFF, LAST_BACKOFF, Outbox
from bridge.delivery.recorder import Recorder
from bridge.delivery.report import AttemptReport
from bridge.delivery.routes import Way
from bridge.delivery.schedule import decide, delivered
from bridge.delivery.standing import Standing
from bridge.errors import StoreUnavailable
from bridge.model import Attempt, Claim, Hold, RetryAt

log = logs.logger("delivery")
T = TypeVar("T")


class Lane:
    """Runs one endpoint's deliveries.

    Ingest reserves a slot (`reserve`), then uses it (`start`) or frees it (`release`); other slots
    are filled by claiming due rows. `run` lasts until `stop`, and until in-flight attempts have
    ended.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        settings: DeliverySettings,
        outbox: Outbox,
        open_transport: Callable[[Endpoint], httpx.AsyncBaseTransport],
        clock: Callable[[], datetime],
        rng: Callable[[], float],
        *,
        failing: bool = False,
        over_since: datetime | None = None,
    ) -> None:
        self.endpoint = endpoint
        self.number = 0  # given by the dispatcher: which of an endpoint's lanes it is
        own = {} if endpoint.give_up is None else {"give_up": endpoint.give_up}
        self._settings = settings.model_copy(update=own)
        self._outbox = outbox
        self._open_transport = open_transport
        self._clock = clock
        self._rng = rng
        self._report = AttemptReport(endpoint.name)
        self._standing = Standing(
            endpoint, outbox, self._report, failing=failing, over_since=over_since
        )
        self._routes = self._standing.routes
        self._admission = Admission(endpoint.concurrency, endpoint.rate, self._routes)
        self._slots = self._admission.slots
        self._claiming = Claiming(
            endpoint, outbox, self._admission, self._launch, clock, _monotonic
        )
        self._wake = asyncio.Event()
        self._recorder = Recorder(endpoint.name, outbox)
        self._stopping = False
        self._backoff = 0.0  # seconds, of the pump, while the store is down; 0 while it is up
        self._early: list[Claim] = []  # started before `run`
        self._tasks: asyncio.TaskGroup | None = None
        self._running: set[asyncio.Task[Any]] = set()
        self._forward: set[asyncio.Task[object]] = set()  # those that bring forward what waits
        self._again: asyncio.Task[object] | None = None  # the one of them that hasn't begun
        self._alarm: asyncio.TimerHandle | None = None  # when the rate lets the next one begin
        self._places: dict[bool, tuple[Endpoint, httpx.AsyncBaseTransport]] = {}  # by Way.failover

    @property
    def over_since(self) -> datetime | None:
        """Since when the endpoint's failover URL is in use; None while it isn't."""
        return self._standing.over_since

    def hand_over(self) -> tuple[bool, datetime | None]:
        """Return whether the endpoint fails, and `over_since`; say no more how it stands."""
        return self._standing.hand_over()

    # Slots, for ingest. All synchronous, so that nothing happens between check and act.

    def reserve(self) -> bool:
        """Reserve a slot for a delivery about to be written; False if it can't start soon.

        It can't while fresh deliveries have their share of the slots beside a backlog, while an
        attempt can't be recorded because the store is down, nor if it would have to wait for long
        because of the endpoint's rate.
        """
        if self._stopping or self._recorder.unrecorded:
            return False
        return self._admission.reserve(_monotonic(), due=self._claiming.due)

    def release(self) -> None:
        """Free a reserved slot: its delivery was not written, or not as leased to us."""
        self._admission.release()
        self._freed()

    def start(self, claim: Claim) -> None:
        """Run a delivery that was written as leased to us, in its reserved slot."""
        if self._stopping and not self._running:
            self._admission.release()
            self._left(claim)
        elif self._tasks is None:
            self._early.append(claim)
        else:
            self._begin(claim)

    def _begin(self, claim: Claim) -> None:
        begun = self._admission.use(claim, _monotonic())
        if begun is not None:
            self._launch(begun)
        elif self._stopping:
            self._left(claim)
        elif self._admission.wait(_monotonic(), due=False) == 0:
            self._wake.set()  # it is too old to begin, and the pump gives it back
        else:
            self._launch_waiting()

    def _left(self, claim: Claim) -> None:
        # It is stored and leased: the next start frees the lease and sends it.
        log.warning("delivery.left", delivery=claim.delivery_id, endpoint=self.endpoint.name)

    def kick(self, *, fresh: bool = False) -> None:
        """Look for due rows now: one was just written without a reserved slot.

        `fresh`: by ingest, which has asked for one; it doesn't go to the end of a backlog.
        """
        self._claiming.kick(fresh=fresh)
        self._wake.set()

    # Running.

    async def run(self) -> None:
        """Deliver until `stop` and until every in-flight attempt is recorded; raises bugs."""
        async with AsyncExitStack() as stack:
            for failover, place in ((False, self.endpoint), (True, self.endpoint.failover)):
                if place is not None:
                    transport = await stack.enter_async_context(self._open_transport(place))
                    self._places[failover] = place, transport
            self._standing.show()
            try:
                async with asyncio.TaskGroup() as self._tasks:
                    for claim in self._early:
                        self._begin(claim)
                    self._early.clear()
                    self._spawn(self._pump())
                    self._spawn_forward(self._recorder.try_one(self.over_since, self.kick))
            finally:
                self._tasks = None
                if self._alarm is not None:
                    self._alarm.cancel()

    def stop(self) -> None:
        """Stop claiming and reserving."""
        self._stopping = True
        self._admission.dismiss(_monotonic())
        self._wake.set()
        for task in self._forward:
            task.cancel()

    def abort(self) -> None:
        """Cancel in-flight attempts: their leases expire, or the next start frees them."""
        for task in tuple(self._running):
            task.cancel()

    # Claiming.

    async def _pump(self) -> None:
        while not self._stopping:
            self._wake.clear()
            try:
                wait = await self._fill()
            except StoreUnavailable as error:
                await self._back_off(error)
                continue
            if self._backoff:
                self._backoff = 0.0
                log.info("delivery.store_up", endpoint=self.endpoint.name)
            if wait != 0 and not self._stopping:
                began = _monotonic()
                paced = self._alarm is None and self._admission.paced(began, due=self._claiming.due)
                await self._sleep(wait)
                if paced:
                    self._report.paced(_monotonic() - began)
        try:
            await self._claiming.give_back()
        except StoreUnavailable as error:
            log.warning("delivery.not_given_back", endpoint=self.endpoint.name, detail=str(error))

    async def _fill(self) -> float | None:
        """Fill free slots with due deliveries; return the seconds until the next look.

        None means: when woken. 0 is returned only after progress, so there is no busy loop.
        """
        await self._claiming.give_back()
        if await self._standing.fail_over(_monotonic):
            self._spawn_forward(self._recorder.bring_forward(self.over_since, self.kick))
        now = self._launch_waiting()
        if not self._claiming.due:
            return soonest(await self._claiming.until_due(), self._admission.wait(now, due=False))
        # Pending records are written before more is claimed.
        if self._recorder.unrecorded:
            return self._admission.wait(now, due=False)  # a record that ends wakes the pump, too
        wait = await self._claiming.claim(now)
        self._launch_waiting()  # slots that were freed meanwhile
        return wait

    def _launch_waiting(self) -> float:
        """Begin what is ours already, as far as rate and slots let it; return the time."""
        now = _monotonic()
        while not self._recorder.unrecorded and (begun := self._admission.next(now)) is not None:
            self._launch(begun)
        # Not left to the pump, which may be waiting for a claim.
        wait = self._admission.wait_for_rate(now)
        if wait is not None and self._alarm is None:
            paced = wait if self._admission.paced(now, due=False) else 0.0
            self._alarm = asyncio.get_running_loop().call_later(wait, self._rings, paced)
        return now

    def _rings(self, paced: float) -> None:
        self._alarm = None
        self._report.paced(paced)
        if self._tasks is not None:
            self._launch_waiting()

    async def _sleep(self, seconds: float | None) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()

    async def _back_off(self, error: StoreUnavailable) -> None:
        if not self._backoff:
            log.warning("delivery.store_down", endpoint=self.endpoint.name, detail=str(error))
        self._backoff = min(max(FIRST_BACKOFF, self._backoff * 2), LAST_BACKOFF)
        until = _monotonic() + self._backoff
        # Kicks must not shorten the backoff.
        while not self._stopping and (left := until - _monotonic()) > 0:
            self._wake.clear()
            await self._sleep(left)

    # Delivering.

    def _launch(self, begun: Begun) -> None:
        self._spawn(self._deliver(*begun))

    def _spawn(self, work: Coroutine[None, None, T]) -> asyncio.Task[T]:
        assert self._tasks is not None
        task = self._tasks.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    async def _deliver(self, claim: Claim, fresh: bool, way: Way) -> None:
        endpoint, transport = self._places[way.failover]
        try:
            started_at = self._clock()
            outcome = await attempt(transport, endpoint, claim, self._clock)
            now = self._clock()
            ended = delivered(outcome) and self._routes.ends_outage(way)
            failing = self._standing.update(outcome, way, _monotonic())
            decision = decide(
                outcome,
                claim,
                now=now,
                rng=self._rng,
                settings=self._settings,
                way=way,
                over=self._routes.over,
            )
            self._admission.called(outcome.duration)
            if failing or (isinstance(decision, Hold) and decision.whole_endpoint):
                self._admission.dismiss(_monotonic())
            done = Attempt(claim, started_at, outcome, decision, failing, way.failover)
            self._report.write(done, now)
        finally:
            self._slots.give_back(fresh=fresh)
            self._freed()
        self._slots.recording += 1
        try:
            self._launch_waiting()
            await self._recorder.record(done)
        finally:
            self._slots.recording -= 1
            self._freed()
        if claim.conversation is not None:
            self.kick()  # the next one of the conversation may go
        if ended and self._again is None and not self._stopping:
            self._again = self._spawn_forward(self._bring_forward())
        if isinstance(decision, RetryAt) and (decision.at - now).total_seconds() < POLL_SECONDS:
            self._wake.set()  # due before the next poll

    def _spawn_forward(self, bring: Coroutine[None, None, object]) -> asyncio.Task[object]:
        """Let what waits for a retry go, beside all else. A stop leaves it to the next start."""
        self._forward.add(task := self._spawn(bring))
        task.add_done_callback(self._forward.discard)
        return task

    async def _bring_forward(self) -> None:
        """Let it go after an outage, once it may; if there is another one by then, after that."""
        await asyncio.sleep(self._routes.brings_forward(_monotonic()))
        self._again = None
        if not self._routes.open and await self._recorder.bring_forward(self.over_since, self.kick):
            self._routes.brought_forward(_monotonic())

    def _freed(self) -> None:
        if self._claiming.due:
            self._wake.set()


def _monotonic() -> float:
    return asyncio.get_running_loop().time()

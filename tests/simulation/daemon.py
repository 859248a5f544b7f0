"""One life of the daemon: the real reader, intake, lanes, schedule and store, on faulty ground."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import httpx
from sqlalchemy import Connection

from bridge import app, formats
from bridge.clock import Clock
from bridge.config.settings import Settings, StoreSettings
from bridge.delivery.dispatcher import Dispatcher
from bridge.delivery.endpoint import Endpoint
from bridge.errors import StoreUnavailable
from bridge.intake import Intake
from bridge.operations.digest import Digester
from bridge.reader import Reader
from bridge.reload import lease_seconds
from bridge.store import Store, failed_over, failing_endpoints
from bridge.store.writer import Work, Writer
from tests.simulation.faults import Commit, Fate
from tests.simulation.receiver import Wire

T = TypeVar("T")

_AWAY: Final = "the store is away"
_GRACE: Final = 25.0  # seconds
_BEAT: Final = 5.0


class SimulatedWriter(Writer):
    """The store's writer without a thread of its own: each commit has the fate that it is given."""

    def __init__(
        self,
        commit: Callable[..., None],
        name: str,
        fate: Callable[[], Commit],
        kill: Callable[[], None],
    ) -> None:
        super().__init__(commit, name)
        self._fate = fate
        self._kill = kill
        self._dead = False
        self._more = asyncio.Event()
        self._committing = asyncio.get_running_loop().create_task(self._commit_all())

    def _run(self) -> None:
        """Nothing is done on the thread."""

    def _hand_over(self) -> None:
        super()._hand_over()
        self._more.set()

    async def close(self) -> None:
        self._closed = True
        self._hand_over()
        await self._committing

    def die(self) -> None:
        """Commit nothing more, and tell nobody."""
        self._dead = True
        self._committing.cancel()

    async def _commit_all(self) -> None:
        while not (self._closed and self._queue.empty()):
            self._more.clear()
            if self._queue.empty():
                await self._more.wait()
                continue
            self._queue.put(None)  # what waits by now is one batch
            batch, _ = self._next_batch()
            await self._commit_one(batch)

    async def _commit_one(self, batch: list[Work[Any]]) -> None:
        before, sync, fate = self._fate()
        await asyncio.sleep(before)
        if fate is Fate.DEATH_BEFORE:
            self._kill()
        if self._dead:
            return
        if fate is Fate.REFUSED:
            for work in batch:
                work.result = StoreUnavailable(_AWAY)
        else:
            self._settle(batch)
            await asyncio.sleep(sync)
        if fate is Fate.DEATH_AFTER:
            self._kill()
        if self._dead:
            return
        if fate is Fate.WORD_LOST:
            for work in batch:
                work.result = StoreUnavailable(_AWAY)
        self._hand_back(batch)


class SimulatedStore(Store):
    """The real store on a real database, which is away now and then."""

    _read_fails: Callable[[], bool] = bool

    def suffer(
        self,
        fate: Callable[[], Commit],
        read_fails: Callable[[], bool],
        kill: Callable[[], None],
    ) -> None:
        """Let things go wrong from now on."""
        self._readers.shutdown()
        self._read_fails = read_fails
        self._writer: SimulatedWriter = SimulatedWriter(self._commits.commit, self.name, fate, kill)

    async def read(self, query: Callable[[Connection], T]) -> T:
        if self._read_fails():
            raise StoreUnavailable(_AWAY)
        return await super().read(query)

    async def surely(self, query: Callable[[Connection], T]) -> T:
        """Read, for a verdict, also while the store is away for the daemon."""
        return await super().read(query)

    def die(self) -> None:
        """Be gone at once, as a killed process is."""
        self._closed = True
        self._writer.die()
        self._database.close()


class Daemon:
    """What `smsbridge run` builds, without sources, servers and signals."""

    def __init__(
        self,
        store: SimulatedStore,
        dispatcher: Dispatcher,
        intake: Intake,
        digester: Digester,
        alive: list[bool],
    ) -> None:
        self.store = store
        self.intake = intake
        self.died = asyncio.Event()
        self._alive = alive
        self._stopping = False
        self._dispatcher = dispatcher
        create = asyncio.get_running_loop().create_task
        self._tasks = [create(dispatcher.run()), create(digester.run()), create(self._beat())]

    @classmethod
    async def begin(cls, world: Any, settings: Settings, file: Path, name: str) -> Daemon:
        """Start on the database that earlier lives have left."""
        endpoints = app.endpoints_of(settings)
        store = await SimulatedStore.open(
            StoreSettings(url=f"sqlite:///{file}", min_free=0),
            owner=name,
            lease_seconds=lease_seconds(endpoints),
            endpoints=[each.name for each in endpoints],
            orders={each.name: each.order for each in endpoints},
            clock=Clock(world.now, world.seconds, world.seconds),
        )
        failing = await store.read(failing_endpoints)
        over = await store.read(failed_over)
        store.suffer(
            lambda: world.faults.commit(world.seconds()), world.faults.read_fails, world.kill
        )
        policies = {each.name: each.trust for each in settings.providers}
        wanted = formats.wanted(settings.endpoints)
        reader = Reader(app.mails_of(settings), policies, world.now, wanted=wanted)
        alive = [True]

        def wire(endpoint: Endpoint) -> httpx.AsyncBaseTransport:
            return Wire(endpoint, world.receivers[endpoint.name], lambda: alive[0])

        dispatcher = Dispatcher(
            endpoints, settings.delivery, store, wire,
            clock=world.now, rng=world.faults.rng.random, failing=failing, over=over,
        )  # fmt: skip
        intake = Intake(reader, store, dispatcher, clock=world.seconds)
        return cls(
            store, dispatcher, intake, Digester(store, dispatcher, endpoints, world.now), alive
        )

    async def _beat(self) -> None:
        """Beat as the supervisor does, by which the time lived goes on."""
        while True:
            with contextlib.suppress(StoreUnavailable):
                await self.store.probe()
            await asyncio.sleep(_BEAT)

    def die(self) -> None:
        """Be killed: no commit, request or receipt of this life comes after this."""
        self._alive[0] = False
        self.store.die()
        self.died.set()

    async def ends(self) -> None:
        """Wait until it is killed, has stopped, or fell over a bug of its own."""
        death = asyncio.get_running_loop().create_task(self.died.wait())
        await asyncio.wait({death, *self._tasks}, return_when=asyncio.FIRST_COMPLETED)
        if self._stopping:
            await death
        death.cancel()

    async def bury(self) -> None:
        """Remove what is left of a killed daemon's tasks."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def failed(self) -> BaseException | None:
        """Return the bug that ended one of its tasks, if any."""
        done = (task for task in self._tasks if task.done() and not task.cancelled())
        return next((error for task in done if (error := task.exception())), None)

    async def stop(self) -> None:
        """End as SIGTERM ends it."""
        self._stopping = True
        await self._dispatcher.drain(_GRACE)
        for endless in self._tasks[1:]:
            endless.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if not self.died.is_set():
            await self.store.close()
            self.died.set()

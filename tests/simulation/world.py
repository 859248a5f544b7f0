"""A simulated run: senders, the daemon's lives one after the other, receivers, and the verdict."""

from __future__ import annotations

import asyncio
import io
import random
import tempfile
from collections import Counter, defaultdict
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, func, select

from bridge import logs
from bridge.config.settings import LogSettings
from bridge.errors import StoreError
from bridge.model import Arrival, ArrivalOutcome, DeliveryState, Envelope, Receipt
from bridge.operations.endpoints import resume
from bridge.store.endpoints import held_endpoints
from bridge.store.tables import arrivals, deliveries
from tests.simulation.daemon import Daemon
from tests.simulation.faults import Faults
from tests.simulation.loop import SimulatedLoop
from tests.simulation.plan import ENDPOINTS, KEY, STRICT, settings, wanted
from tests.simulation.receiver import Receiver, Violation
from tests.simulation.sms import Sms, conversation
from tests.simulation.verdict import judge_ledger

_BEGAN: Final = datetime(2026, 4, 8, 12, 0, tzinfo=UTC)
_EACH: Final = 8  # SMS of a conversation; all conversations are at the same time
_SENT_AGAIN: Final = 0.05  # of all mails: their sender did not hear our 250
_PAUSE: Final = 8.0  # seconds between two SMS of a conversation, on average
_RESTARTED: Final = 300.0  # seconds between two restarts by an operator, on average
_LOOKED_AT: Final = 15.0  # seconds between two looks of an operator at held endpoints
_SETTLED: Final = 180.0  # seconds after which nothing may wait any more, once all is well
_LONGEST: Final = 6 * 3600.0  # seconds of a run
_MEMORY: Final = Path("/dev/shm")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run came to; `violation` says what was wrong, None if nothing was."""

    seed: int
    messages: int
    lives: int
    requests: int
    seconds: float
    violation: str | None


def simulate(seed: int, count: int) -> Outcome:
    """Run `count` SMS through the daemon, with everything that the seed puts in their way."""
    logs.configure(LogSettings(level="error"), io.StringIO())
    folder = _MEMORY if _MEMORY.is_dir() else None
    with (
        tempfile.TemporaryDirectory(prefix="smsbridge-simulation-", dir=folder) as name,
        asyncio.Runner(loop_factory=SimulatedLoop) as runner,
    ):
        return runner.run(_run(seed, count, Path(name)))


async def _run(seed: int, count: int, folder: Path) -> Outcome:
    simulation = Simulation(seed, count, folder)
    violation = None
    try:
        async with asyncio.timeout(_LONGEST):
            await simulation.run()
    except Violation as error:
        violation = str(error)
    except TimeoutError:
        violation = "the run does not end"
    requests = sum(each.requests for each in simulation.receivers.values())
    return Outcome(seed, count, simulation.lives, requests, simulation.seconds(), violation)


class Simulation:
    """The run of one seed."""

    def __init__(self, seed: int, count: int, folder: Path) -> None:
        self.faults = Faults(random.Random(f"{seed}:faults"))
        self.receivers = {name: Receiver(name, KEY, self) for name in ENDPOINTS}
        self.lives = 0
        self._rng = random.Random(f"{seed}:senders")
        self._file = folder / "bridge.db"
        self._settings = settings()
        self._loop = asyncio.get_running_loop()
        self._daemon: Daemon | None = None
        self._up = asyncio.Event()
        self._violation: asyncio.Future[None] = self._loop.create_future()
        self._conversations = list(self._make(count))
        self._of_content: Mapping[tuple[str, str, str], list[Sms]] = defaultdict(list)
        for sms in (sms for part in self._conversations for sms in part):
            self._of_content[sms.content].append(sms)
        self._by_pair = {part[0].conversation: part for part in self._conversations}
        self._strict: Counter[tuple[str, str]] = Counter()  # how far each conversation came there
        self._acknowledged: list[Sms] = []

    def _make(self, count: int) -> Iterator[list[Sms]]:
        for number, first in enumerate(range(0, count, _EACH)):
            yield list(conversation(self._rng, number, min(_EACH, count - first)))

    # What the receivers and the daemon need of the world.

    def seconds(self) -> float:
        """Return how long the run has lasted."""
        return self._loop.time()

    def timestamp(self) -> float:
        """Return the time of day."""
        return self.now().timestamp()

    def now(self) -> datetime:
        """Return the time of day, as the daemon's clock says it."""
        return _BEGAN + timedelta(seconds=self._loop.time())

    def kill(self) -> None:
        """Kill the daemon; it is started again later."""
        if self._daemon is not None and not self._daemon.died.is_set():
            self._up.clear()
            self._daemon.die()

    def report(self, violation: Violation) -> None:
        """End the run: the daemon would take a receiver's error for one of the network."""
        if not self._violation.done():
            self._violation.set_exception(violation)

    def sent(self) -> list[Sms]:
        """Return every SMS that was acknowledged."""
        return self._acknowledged

    def judge(self, receiver: Receiver, content: tuple[str, str, str], event_id: str) -> None:
        """Judge what a receiver is told of an SMS for the first time; raises Violation."""
        sent = self._of_content.get(content)
        if not sent:
            raise Violation(f"{receiver.name} was told of an SMS that nobody sent")
        if len(receiver.by_content[content]) >= len(sent):
            raise Violation(
                f"{receiver.name} was told twice of one SMS, the second time as {event_id}"
            )
        if not wanted(receiver.name, content):
            raise Violation(f"{receiver.name} was told of an SMS that it does not want")
        if receiver.name == STRICT:
            self._judge_order(receiver, content)

    def _judge_order(self, receiver: Receiver, content: tuple[str, str, str]) -> None:
        part = self._by_pair[content[:2]]
        position = self._strict[content[:2]]
        if part[position].content != content:
            raise Violation(f"{receiver.name} was told of an SMS out of turn")
        self._strict[content[:2]] += 1
        if position:
            before = receiver.by_content[part[position - 1].content]
            if not any(receiver.seen[each].said_yes for each in before):
                raise Violation(
                    f"{receiver.name} was told of an SMS behind one that it has not taken"
                )

    # The run.

    async def run(self) -> None:
        """Run to the end; raises Violation."""
        living = self._loop.create_task(self._live())
        sending = [self._loop.create_task(self._send_all(part)) for part in self._conversations]
        operating = [
            self._loop.create_task(self._resume_held()),
            self._loop.create_task(self._restart_now_and_then()),
        ]
        work = self._loop.create_task(self._to_the_end(sending))
        try:
            whatever_ends = {work, living, self._violation, *operating}
            await asyncio.wait(whatever_ends, return_when=asyncio.FIRST_COMPLETED)
            for each in (self._violation, living, work, *operating):
                if each.done():
                    await each
        finally:
            tasks = [work, living, *sending, *operating]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if self._daemon is not None:
                self.kill()
                await self._daemon.bury()

    async def _live(self) -> None:
        """Start the daemon, and again whenever it died; raises what it died of by itself."""
        while True:
            self.lives += 1
            daemon = await Daemon.begin(self, self._settings, self._file, f"life-{self.lives}")
            self._daemon = daemon
            self._up.set()
            await daemon.ends()
            self._up.clear()
            if (error := daemon.failed()) is not None:
                raise Violation(f"the daemon ended by itself: {error!r}") from error
            await daemon.bury()
            await asyncio.sleep(self.faults.downtime())

    async def _restart_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(self._rng.expovariate(1 / _RESTARTED))
            if self._daemon is not None and self._up.is_set():
                self._up.clear()
                await self._daemon.stop()

    async def _resume_held(self) -> None:
        """Resume what a 410 has held, as an operator does."""
        while True:
            await asyncio.sleep(_LOOKED_AT)
            daemon = await self._running()
            with suppress(StoreError):
                held = await self._while_it_lives(daemon, daemon.store.read(held_endpoints))
                for name in held or ():
                    work = resume(daemon.store, name, list(ENDPOINTS), self.now)
                    await self._while_it_lives(daemon, work)

    async def _to_the_end(self, sending: Sequence[asyncio.Task[None]]) -> None:
        await asyncio.gather(*sending)
        self.faults.heal()
        daemon = await self._running()
        deadline = self.seconds() + _SETTLED
        while (waiting := await daemon.store.read(_waiting)) and self.seconds() < deadline:
            await asyncio.sleep(1.0)
            daemon = await self._running()
        if waiting:
            raise Violation(
                f"{_SETTLED:.0f} s after all was well, deliveries still wait: "
                + ", ".join(
                    f"{count} {state} for {name}" for (name, state), count in waiting.items()
                )
            )
        await daemon.store.read(partial(judge_ledger, self))

    async def _running(self) -> Daemon:
        """Wait until the daemon is up; return it."""
        await self._up.wait()
        assert self._daemon is not None
        return self._daemon

    async def _while_it_lives(self, daemon: Daemon, work: Coroutine[Any, Any, T]) -> T | None:
        """Return what comes of a piece of work; None if the daemon was killed first."""
        task = self._loop.create_task(work)
        death = self._loop.create_task(daemon.died.wait())
        try:
            await asyncio.wait({task, death}, return_when=asyncio.FIRST_COMPLETED)
            return None if daemon.died.is_set() else await task
        finally:
            task.cancel()
            death.cancel()

    # Sending.

    async def _send_all(self, part: Sequence[Sms]) -> None:
        for sms in part:
            await asyncio.sleep(self._rng.expovariate(1 / _PAUSE))
            await self._send(sms)
            self._acknowledged.append(sms)
            if self._rng.random() < _SENT_AGAIN:
                await asyncio.sleep(self._rng.expovariate(1 / _PAUSE))
                await self._send(sms)

    async def _send(self, sms: Sms) -> None:
        """Send until it is acknowledged, as a mail server does."""
        origin = Envelope("192.0.2.1", "smsin@agiletelecom.com", ("sms@bridge.example",))
        wait = 1.0
        while True:
            daemon = await self._running()
            arrival = Arrival(origin, "smtp", sms.raw, self.now())
            with suppress(StoreError):
                receipt = await self._while_it_lives(daemon, daemon.intake.accept(arrival))
                if receipt is not None:
                    await self._judge_receipt(daemon, sms, receipt)
                    return
            await asyncio.sleep(wait)
            wait = min(wait * 2, 20.0)

    async def _judge_receipt(self, daemon: Daemon, sms: Sms, receipt: Receipt) -> None:
        """Look whether what was acknowledged is stored."""
        if receipt.outcome not in {ArrivalOutcome.MESSAGE, ArrivalOutcome.DUPLICATE}:
            raise Violation(f"the mail {sms.key} became {receipt.outcome}")
        stored = await daemon.store.surely(partial(_raw_of, receipt.arrival_id))
        if stored != sms.raw:
            raise Violation(f"the mail {sms.key} is acknowledged and not stored")


def _raw_of(arrival: int, connection: Connection) -> bytes | None:
    return connection.execute(select(arrivals.c.raw).where(arrivals.c.id == arrival)).scalar()


def _waiting(connection: Connection) -> dict[tuple[str, str], int]:
    """Count the deliveries that are not at rest, by endpoint and state."""
    rows = connection.execute(
        select(deliveries.c.endpoint, deliveries.c.state, func.count())
        .where(deliveries.c.state.in_((DeliveryState.PENDING, DeliveryState.HELD)))
        .group_by(deliveries.c.endpoint, deliveries.c.state)
    )
    return {(endpoint, state): count for endpoint, state, count in rows}

"""Of several bridges one reads a mailbox, and another takes over when it is gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import pytest

from bridge.config.settings import StoreSettings
from bridge.errors import StoreUnavailable
from bridge.model import Report
from bridge.sources.imap import liveness
from bridge.sources.imap.lease import LeasedSource
from bridge.store import LEAD_SECONDS, Mailboxes
from tests.patience import PATIENCE
from tests.servers.postgres import PostgresServer
from tests.servers.postgres import postgres as postgres
from tests.store.making import Clock, opened

LEASE = 0.15


class Box:
    """A mailbox's source that tells when it is read."""

    stopped: str | None = None

    def __init__(self) -> None:
        self.turns = 0
        self.reading = asyncio.Event()
        self.idle = asyncio.Event()
        self.idle.set()
        self._stop = asyncio.Event()

    def __call__(self) -> Box:
        self.turns += 1
        return self

    async def run(self) -> None:
        self.idle.clear()
        self.reading.set()
        try:
            await self._stop.wait()
        finally:
            self.reading.clear()
            self.idle.set()

    def stop(self) -> None:
        self._stop.set()

    def report(self) -> Report:
        return Report("connected", stalled=self.stopped)


class Lease:
    """A lease that the test gives, takes, or lets fail."""

    def __init__(self) -> None:
        self.ours = True
        self.failing = False
        self.hanging = False
        self.asked = 0

    async def __call__(self) -> bool:
        self.asked += 1
        if self.hanging:
            await asyncio.Event().wait()
        if self.failing:
            raise StoreUnavailable("the server is away")
        return self.ours


async def within(what: asyncio.Event, seconds: float = PATIENCE) -> None:
    async with asyncio.timeout(seconds):
        await what.wait()


@asynccontextmanager
async def running(source: LeasedSource) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(source.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait({task})


@pytest.mark.unhurried
async def test_a_source_runs_while_the_lease_is_renewed() -> None:
    """The lease is renewed again and again, and the source is the same all the time."""
    lease, box = Lease(), Box()
    source = LeasedSource("inbox", lease, box, LEASE)
    async with running(source):
        await within(box.reading)
        assert source.report().state == "connected"
        seen = lease.asked
        async with asyncio.timeout(PATIENCE):
            while lease.asked < seen + 3:
                await asyncio.sleep(LEASE / 10)
        assert (box.turns, box.reading.is_set()) == (1, True)


def lost(lease: Lease) -> None:
    lease.ours = False


def away(lease: Lease) -> None:
    lease.failing = True


def hanging(lease: Lease) -> None:
    lease.hanging = True


@pytest.mark.parametrize("end", [lost, away, hanging])
@pytest.mark.unhurried
async def test_without_the_lease_the_source_ends_in_time(end: Callable[[Lease], None]) -> None:
    """A lease that is lost, or cannot be renewed, ends the source before another may begin."""
    lease, box = Lease(), Box()
    source = LeasedSource("inbox", lease, box, LEASE)
    async with running(source):
        await within(box.reading)
        end(lease)
        await within(box.idle, LEASE + 1)
        assert source.report().state == "waiting"
        lease.ours, lease.failing, lease.hanging = True, False, False
        await within(box.reading)
        assert box.turns == 2


@pytest.mark.unhurried
async def test_whoever_waits_for_its_turn_has_not_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lease that another bridge has is no silence; a turn that never ends is one."""
    monkeypatch.setattr(liveness, "SLACK", 0.5)
    loop = asyncio.get_running_loop()
    monkeypatch.setattr(
        "bridge.sources.imap.lease.Heartbeat", partial(liveness.Heartbeat, loop.time)
    )
    lease, box = Lease(), Box()
    lease.ours = False
    source = LeasedSource("inbox", lease, box, LEASE)
    async with running(source):
        async with asyncio.timeout(PATIENCE):
            while lease.asked < 15:
                assert source.report().stalled is None
                assert source.report() == Report("waiting")
                await asyncio.sleep(LEASE / 10)
        lease.ours = True
        await within(box.reading)
        assert source.report().stalled is None
        assert source.report() == Report("connected")
        box.stopped = "nothing moves"
        assert source.report().stalled == "nothing moves"
    source = LeasedSource("inbox", lease, box, LEASE)
    assert source.report().stalled is None
    async with asyncio.timeout(PATIENCE):
        while source.report().stalled is None:  # it was never run
            await asyncio.sleep(0.05)


@pytest.mark.unhurried
async def test_a_short_outage_does_not_end_the_source() -> None:
    """A renewal that fails is tried again while the lease lasts."""
    lease, box = Lease(), Box()
    async with running(LeasedSource("inbox", lease, box, 3.0)):
        await within(box.reading)
        lease.failing = True
        async with asyncio.timeout(PATIENCE):
            while lease.asked < 3:
                await asyncio.sleep(0.01)
        lease.failing = False
        seen = lease.asked
        async with asyncio.timeout(PATIENCE):
            while lease.asked == seen:
                await asyncio.sleep(0.01)
        assert (box.turns, box.reading.is_set()) == (1, True)


@pytest.mark.unhurried
async def test_stop_lets_the_source_end_by_itself() -> None:
    """A shutdown stops the source in good order, whether it is its turn or not."""
    for ours in (True, False):
        lease, box = Lease(), Box()
        lease.ours = ours
        source = LeasedSource("inbox", lease, box, LEASE)
        async with running(source) as task:
            await within(source.listening)
            if ours:
                await within(box.reading)
            source.stop()
            await asyncio.wait_for(task, PATIENCE)
            assert box.turns == int(ours)


@pytest.mark.unhurried
async def test_stop_does_not_wait_for_a_lease_that_hangs() -> None:
    """A store that does not answer whose turn it is holds no shutdown up."""
    lease, box = Lease(), Box()
    lease.hanging = True
    source = LeasedSource("inbox", lease, box, 600)
    async with running(source) as task:
        async with asyncio.timeout(PATIENCE):
            while not lease.asked:
                await asyncio.sleep(0)
        source.stop()
        await asyncio.wait_for(task, PATIENCE)
    assert box.turns == 0


@pytest.mark.unhurried
async def test_a_bug_of_the_source_leaves_here() -> None:
    """What the source cannot foresee ends the process, as for every part."""

    class Broken(Box):
        async def run(self) -> None:
            raise KeyError("a bug")

    with pytest.raises(KeyError):
        await asyncio.wait_for(LeasedSource("inbox", Lease(), Broken(), LEASE).run(), PATIENCE)


async def test_two_bridges_read_one_mailbox_in_turn(postgres: PostgresServer) -> None:
    """On a real PostgreSQL one reads; when it dies, the other reads once the lease has ended."""
    settings = StoreSettings(url=postgres.create_database())
    clock = Clock()
    boxes = [Box(), Box()]
    async with (
        opened(settings, owner="one", clock=clock) as one,
        opened(settings, owner="two", clock=clock) as two,
    ):
        ledgers = (Mailboxes(one, "one", clock), Mailboxes(two, "two", clock))
        first, second = (
            LeasedSource("inbox", partial(ledger.lead, "inbox", "INBOX"), box, LEASE)
            for ledger, box in zip(ledgers, boxes, strict=True)
        )
        dying = asyncio.create_task(first.run())
        await within(boxes[0].reading)
        async with running(second):
            await within(second.listening)
            dying.cancel()
            await asyncio.wait({dying})
            await asyncio.sleep(2 * LEASE)  # it asks several times, and the lease lasts
            assert not boxes[1].reading.is_set()
            clock.forward(LEAD_SECONDS)
            await within(boxes[1].reading)

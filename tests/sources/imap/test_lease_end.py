"""A turn is over before the next one begins: two bridges never read one mailbox at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from bridge.errors import StoreUnavailable
from bridge.model import Arrival, Report
from bridge.sources.imap.lease import LeasedSource
from tests.patience import PATIENCE
from tests.servers.scripted_imap import ScriptedImap, Session, scripted_imap
from tests.sources.imap.parts import Ledger, make_source

pytestmark = pytest.mark.unhurried

LEASE = 0.9  # seconds


class Leases:
    """The lease of one mailbox as a store keeps it: whose it is, and until when."""

    def __init__(self) -> None:
        self.owner = ""
        self.ends = 0.0
        self.asked = 0  # by the first bridge
        self.answer_takes = 0.0  # seconds from the grant to the answer
        self.broken = ""  # how the first bridge's way to the store is

    async def lead(self, owner: str) -> bool:
        now = asyncio.get_running_loop().time()
        self.asked += owner == "first"
        if owner == "first" and self.broken == "hanging":
            await asyncio.Event().wait()
        if owner == "first" and self.broken == "away":
            raise StoreUnavailable("the server is away")
        if owner == "first" and self.broken == "lost":
            self.ends = now
            return False
        if self.owner != owner and now < self.ends:
            return False
        self.owner, self.ends = owner, now + LEASE
        await asyncio.sleep(self.answer_takes)
        return True


class Slow:
    """A source that takes a moment to come to its end."""

    def __init__(self, ending: float = 0.05) -> None:
        self.reading = asyncio.Event()
        self._ending = ending
        self.ended_at: float | None = None

    async def run(self) -> None:
        self.reading.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(self._ending)
            self.ended_at = asyncio.get_running_loop().time()

    def stop(self) -> None:
        """Be of no use: it must be cancelled."""

    def report(self) -> Report:
        return Report("connected")


@asynccontextmanager
async def run(*sources: LeasedSource) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(source.run()) for source in sources]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def until(holds: Callable[[], bool], seconds: float = PATIENCE) -> None:
    async with asyncio.timeout(seconds):
        while not holds():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("broken", ["lost", "away", "hanging"])
async def test_a_turn_has_ended_before_the_lease_has(broken: str) -> None:
    """A source that cannot renew is over while nobody else may begin, its own end included."""
    leases, source = Leases(), Slow()
    leased = LeasedSource("inbox", lambda: leases.lead("first"), lambda: source, LEASE)
    async with run(leased):
        await until(source.reading.is_set)
        granted_until = leases.ends
        leases.broken = broken
        await until(lambda: leased.report().state == "waiting")
        # Said as soon as it is cancelled, or once it has ended: both may be.
        await until(lambda: source.ended_at is not None)
        assert source.ended_at is not None
        assert source.ended_at < granted_until


async def test_an_answer_that_comes_late_makes_no_turn_longer() -> None:
    """A lease counts from when it was asked for, not from when its answer came."""
    leases, source = Leases(), Slow()
    leases.answer_takes = LEASE / 2
    leased = LeasedSource("inbox", lambda: leases.lead("first"), lambda: source, LEASE)
    async with run(leased):
        await until(source.reading.is_set)
        granted_until = leases.ends
        leases.broken = "hanging"
        await until(lambda: source.ended_at is not None)
        assert source.ended_at is not None
        assert source.ended_at < granted_until


async def test_no_second_turn_begins_beside_the_end_of_the_first() -> None:
    """Where the lease comes back at once, the next source waits for the end of the last."""
    leases = Leases()
    made: list[Slow] = []
    began_beside: list[float | None] = []

    def make() -> Slow:
        began_beside.extend(each.ended_at for each in made)
        made.append(Slow(LEASE / 2))
        return made[-1]

    async with run(LeasedSource("inbox", lambda: leases.lead("first"), make, LEASE / 6)):
        await until(lambda: len(made) == 1 and made[0].reading.is_set())
        leases.broken = "lost"
        await until(lambda: leases.ends < asyncio.get_running_loop().time())
        leases.broken = ""
        await until(lambda: len(made) == 2)
    assert began_beside != []
    assert None not in began_beside


@pytest.fixture
async def server() -> AsyncIterator[ScriptedImap]:
    async with scripted_imap() as scripted:
        yield scripted


@pytest.mark.parametrize(("busy", "broken"), [("idling", "away"), ("committing", "hanging")])
async def test_the_next_bridge_finds_nobody_in_the_mailbox(
    server: ScriptedImap, busy: str, broken: str
) -> None:
    """A bridge that is cut off from its store has left the mailbox when the other one logs in."""
    leases = Leases()
    entered = asyncio.Event()
    beside: list[int] = []

    async def login(session: Session, tag: str, words: str) -> str:
        beside.append(len(server.sessions) - 1)
        return await session.do_login(words)

    async def stuck(arrival: Arrival) -> None:
        entered.set()
        await asyncio.Event().wait()

    server.instead["LOGIN"] = login
    ledgers = {"first": Ledger(before=stuck), "second": Ledger()}
    first, second = (
        LeasedSource(
            "inbox",
            lambda owner=owner: leases.lead(owner),  # type: ignore[misc]
            lambda owner=owner: make_source(ledgers[owner], server.port),  # type: ignore[misc]
            LEASE,
        )
        for owner in ledgers
    )
    async with run(first):
        await server.until_heard("idling")
        if busy == "committing":
            await server.push(b"sms")
            await entered.wait()
        leases.broken = broken
        async with run(second):
            if busy == "idling":
                server.add(b"sms")
            await ledgers["second"].until_at(1)
            leases.broken, seen = "", leases.asked
            await until(lambda: leases.asked > seen)  # its turn has ended: it waits for the next
    assert beside == [0, 0]
    assert ledgers["first"].raws == []

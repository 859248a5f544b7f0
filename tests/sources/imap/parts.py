"""What tests of the IMAP source share: a ledger that can fail, and a source that runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from bridge import metrics
from bridge.config.imap import ImapSettings
from bridge.errors import StoreUnavailable
from bridge.model import Arrival, ArrivalOutcome, Cursor, Receipt
from bridge.sources.imap.oauth import AccessTokens
from bridge.sources.imap.source import ImapSource
from bridge.sources.imap.status import Alarm
from tests.patience import PATIENCE
from tests.servers.scripted_imap import SECRET, USER, ScriptedImap
from tests.sources.peer import pinned_time

NAME = "inbox"


@dataclass
class Ledger:
    """Keeps what it accepts and moves the cursor as the store does; `before` may raise or wait."""

    before: Callable[[Arrival], Awaitable[None]] | None = None
    arrivals: list[Arrival] = field(default_factory=list)
    cursors: dict[tuple[str, str], Cursor] = field(default_factory=dict)
    horizons: dict[tuple[str, str], int | None] = field(default_factory=dict)
    refusals: int = 0  # of a cursor: as often the store is away
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def accept(self, arrival: Arrival) -> Receipt:
        if self.before is not None:
            await self.before(arrival)
        outcome = ArrivalOutcome.MESSAGE
        if b"voicemail" in arrival.raw:
            outcome = ArrivalOutcome.IGNORED
        elif b"odd" in arrival.raw:
            outcome = ArrivalOutcome.QUARANTINE
        elif arrival.raw in self.raws:
            outcome = ArrivalOutcome.DUPLICATE
        self.arrivals.append(arrival)
        place = arrival.origin
        assert place is not None
        if place.settled is not None:
            self._move(place.mailbox, place.folder, Cursor(place.uidvalidity, place.settled))
        await self._tell()
        return Receipt(len(self.arrivals), outcome)

    async def cursor(self, mailbox: str, folder: str) -> Cursor | None:
        return self.cursors.get((mailbox, folder))

    async def horizon(self, mailbox: str, folder: str) -> int | None:
        return self.horizons.get((mailbox, folder))

    async def advance(
        self, mailbox: str, folder: str, cursor: Cursor, *, horizon: int | None = None
    ) -> None:
        if self.refusals:
            self.refusals -= 1
            raise StoreUnavailable("locked")
        self._move(mailbox, folder, cursor)
        if horizon is not None:
            self.horizons[mailbox, folder] = horizon
        await self._tell()

    def _move(self, mailbox: str, folder: str, cursor: Cursor) -> None:
        known = self.cursors.get((mailbox, folder))
        if known is None or known.uidvalidity != cursor.uidvalidity or known.uid < cursor.uid:
            if known is not None and known.uidvalidity != cursor.uidvalidity:
                self.horizons.pop((mailbox, folder), None)
            self.cursors[mailbox, folder] = cursor

    async def _tell(self) -> None:
        async with self.changed:
            self.changed.notify_all()

    @property
    def raws(self) -> list[bytes]:
        """What came, in order."""
        return [arrival.raw for arrival in self.arrivals]

    @property
    def at(self) -> Cursor | None:
        """The cursor of the one folder that was read."""
        return self.cursors.get((NAME, "INBOX"))

    async def until(self, holds: Callable[[], bool], seconds: float = PATIENCE) -> None:
        """Wait until something holds; looked at after each commit."""
        async with asyncio.timeout(seconds), self.changed:
            await self.changed.wait_for(holds)

    async def until_taken(self, *raws: bytes) -> None:
        """Wait until each of these came at least once."""
        await self.until(lambda: set(raws) <= set(self.raws))

    async def until_at(self, uid: int, uidvalidity: int = 7) -> None:
        """Wait until the cursor is there."""
        await self.until(lambda: self.at == Cursor(uidvalidity, uid))


def settings(port: int, **more: object) -> ImapSettings:
    """Make settings for a server on loopback."""
    known: dict[str, object] = {
        "name": NAME,
        "host": "127.0.0.1",
        "port": port,
        "tls": False,
        "username": USER,
        "password": SECRET,
        "poll": 60,
        "timeout": PATIENCE,
        "start": "all",
        "max_message": 100_000,
    }
    return ImapSettings.model_validate(known | more)


def make_source(
    ledger: Ledger,
    port: int,
    *,
    tokens: AccessTokens | None = None,
    refused_pause: float = 300,
    **more: object,
) -> ImapSource:
    """Make a source for a server on loopback."""
    return ImapSource(
        settings(port, **more),
        ledger.accept,
        ledger,
        tokens,
        clock=pinned_time,
        refused_pause=refused_pause,
    )


async def end(source: ImapSource, run: asyncio.Task[None]) -> None:
    """Stop a source and wait for its end; nothing may be left of it then."""
    source.stop()
    async with asyncio.timeout(PATIENCE):
        await run
    assert source._client is None
    assert source._sync._commits == set()
    assert not source.status.connected


@asynccontextmanager
async def running(source: ImapSource) -> AsyncIterator[ImapSource]:
    """Run a source until the end of the block."""
    run = asyncio.create_task(source.run())
    try:
        yield source
    finally:
        await end(source, run)


def alarms(alarm: Alarm) -> float:
    """Read the counter that alerts look at."""
    return metrics.IMAP_ALARMS.labels(NAME, alarm)._value.get()


def flags(server: ScriptedImap) -> dict[bytes, set[str]]:
    """Give each mail's flags by its bytes."""
    return {mail.raw: mail.flags for mail in server.mails.values()}


async def trouble(source: ImapSource) -> str:
    """Wait until the source says what is wrong."""
    async with asyncio.timeout(PATIENCE):
        while source.status.problem is None:
            await asyncio.sleep(0)
    return source.status.problem

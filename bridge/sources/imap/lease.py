"""One of several bridges reads a mailbox: the one that has its lease, for as long as it has it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from bridge import logs
from bridge.errors import StoreError
from bridge.model import Report
from bridge.sources.imap.liveness import Pulse, stuck

log = logs.logger("imap")

_RENEWALS: Final = 3  # in the time of one lease


class Reading(Protocol):
    """A source that is run while we lead."""

    async def run(self) -> None:
        """Read until `stop`, or until cancelled."""

    def stop(self) -> None:
        """Make `run` come to its end."""

    def report(self) -> Report:
        """Say how it does."""

    def trouble(self) -> str | None:
        """Say what is wrong, in a sentence for the operator; None: nothing is."""

    def stuck(self) -> str | None:
        """Say that it has stopped in silence; None: it has not."""


class LedSource:
    """Runs a source while this bridge leads its mailbox, and waits for its turn else.

    `lead` takes or renews a lease of `lease_seconds` and says whether it is ours. A source whose
    lease could not be renewed in time is cancelled before the lease ends: what it has handed to
    the store is committed all the same, and what it hasn't is still in the mailbox. `make` builds a
    new source for each turn.
    """

    def __init__(
        self,
        mailbox: str,
        lead: Callable[[], Awaitable[bool]],
        make: Callable[[], Reading],
        lease_seconds: float,
    ) -> None:
        self.name = f"imap.{mailbox}"
        self._mailbox = mailbox
        self._lead = lead
        self._make = make
        self._pause = lease_seconds / _RENEWALS
        self._stopping = asyncio.Event()
        self._source: Reading | None = None
        self._pulse = Pulse()
        self._asked_at = 0.0  # when we asked for the lease that we have
        # Set once it runs: whose turn it is must not keep the other sources from starting.
        self.listening = asyncio.Event()

    @property
    def leads(self) -> bool:
        """Whether it is our turn."""
        return self._source is not None

    def report(self) -> Report:
        """Say how the source does; "waiting": another bridge reads the mailbox."""
        return {"state": "waiting"} if self._source is None else self._source.report()

    def trouble(self) -> str | None:
        """Say what is wrong with the source while it is our turn."""
        return None if self._source is None else self._source.trouble()

    def stuck(self) -> str | None:
        """Say that the source, or the taking of turns, has stopped in silence."""
        ours = stuck(self._mailbox, self._pulse)
        return ours if ours or self._source is None else self._source.stuck()

    def reload_tls(self) -> None:
        """Do nothing: a client has no certificate of its own."""

    def stop(self) -> None:
        """Make `run` come to its end."""
        self._stopping.set()
        if self._source is not None:
            self._source.stop()

    async def run(self) -> None:
        """Take turns with the other bridges until stopped or cancelled."""
        self.listening.set()
        while not self._stopping.is_set():
            self._pulse.beat(self._pause)
            # A lease that is refused, or a store that is away, is no turn; a bug in the source
            # leaves here.
            if await self._ours():
                await self._turn()
            await self._wait()

    async def _turn(self) -> None:
        self._source = source = self._make()
        log.info("imap.leads", mailbox=self._mailbox)
        reading = asyncio.get_running_loop().create_task(source.run())
        try:
            while not reading.done() and await self._keep(reading):
                pass
        finally:
            self._source = None
            if not reading.done():
                log.warning("imap.leads_no_more", mailbox=self._mailbox)
                reading.cancel()
            await asyncio.wait({reading})
        if not reading.cancelled():
            reading.result()

    async def _keep(self, reading: asyncio.Task[None]) -> bool:
        """Renew the lease once; False if it is lost, or may be."""
        loop = asyncio.get_running_loop()
        self._pulse.beat(self._pause * _RENEWALS)
        # Two of three parts of the lease: the last one is for what the source still has to end.
        ends = self._asked_at + self._pause * (_RENEWALS - 1)
        until = min(self._pause, ends - loop.time())
        await asyncio.wait({reading}, timeout=max(0.0, until))
        while not reading.done() and not self._stopping.is_set():
            try:
                async with asyncio.timeout_at(ends):
                    return await self._ask()
            except TimeoutError:
                return False
            except StoreError as error:
                log.warning("imap.lease_not_renewed", mailbox=self._mailbox, detail=str(error))
                await asyncio.wait({reading}, timeout=min(1.0, self._pause / 4))
                if loop.time() >= ends:
                    return False
        # On the way out it may end in its own time: the lease is given up with the store.
        if not reading.done():
            await asyncio.wait({reading})
        return True

    async def _ask(self) -> bool:
        # The lease began when the store heard of it, not when we heard of that.
        asked_at = asyncio.get_running_loop().time()
        ours = await self._lead()
        self._asked_at = asked_at
        return ours

    async def _ours(self) -> bool:
        asking = asyncio.ensure_future(self._ask())
        stopped = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait(
                {asking, stopped},
                timeout=self._pause * _RENEWALS,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if not asking.done():
                return False  # one that is granted later is not used, and ends by itself
            return asking.result()
        except StoreError as error:
            log.warning("imap.lease_not_taken", mailbox=self._mailbox, detail=str(error))
            return False
        finally:
            asking.cancel()
            stopped.cancel()

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(self._pause):
                await self._stopping.wait()
        except TimeoutError:
            return

"""Of several bridges one reads a mailbox: the one that holds its lease, while it holds it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final, Protocol

from bridge import logs
from bridge.errors import StoreError
from bridge.model import Report
from bridge.sources.imap.liveness import Heartbeat, stall

log = logs.logger("imap")

_RENEWALS: Final = 3  # per lease


class LeasableSource(Protocol):
    """A source that runs only while its mailbox's lease is ours."""

    async def run(self) -> None:
        """Read until `stop`, or until cancelled."""

    def stop(self) -> None:
        """Make `run` end."""

    def report(self) -> Report:
        """Return the source's status."""


class LeasedSource:
    """Runs a source while this bridge holds the mailbox's lease, and waits for the lease otherwise.

    `acquire` takes or renews a lease of `lease_seconds` and returns whether it is ours. A source
    whose lease cannot be renewed in time is cancelled before the lease expires: what it has handed
    to the store is committed all the same, the rest is still in the mailbox. `make` builds a new
    source for each lease.
    """

    def __init__(
        self,
        mailbox: str,
        acquire: Callable[[], Awaitable[bool]],
        make: Callable[[], LeasableSource],
        lease_seconds: float,
    ) -> None:
        self.name = f"imap.{mailbox}"
        self._mailbox = mailbox
        self._acquire = acquire
        self._make = make
        self._pause = lease_seconds / _RENEWALS
        self._stopping = asyncio.Event()
        self._source: LeasableSource | None = None
        self._heartbeat = Heartbeat()  # of acquiring and renewing
        self._asked_at = 0.0  # when the lease that we hold was asked for
        # Set once it runs: waiting for a lease must not keep the other sources from starting.
        self.listening = asyncio.Event()

    def report(self) -> Report:
        """Return the source's status; "waiting" while another bridge reads the mailbox."""
        report = Report("waiting") if self._source is None else self._source.report()
        return replace(report, stalled=stall(self._mailbox, self._heartbeat) or report.stalled)

    def reload_tls(self) -> None:
        """Do nothing: a client has no certificate of its own."""

    def stop(self) -> None:
        """Make `run` end."""
        self._stopping.set()
        if self._source is not None:
            self._source.stop()

    async def run(self) -> None:
        """Take turns with the other bridges until stopped or cancelled."""
        self.listening.set()
        while not self._stopping.is_set():
            self._heartbeat.beat(self._pause)
            # Without the lease, or without the store, nothing runs; a bug in the source is raised.
            if await self._try_acquire():
                await self._run_source()
            await self._wait()

    async def _run_source(self) -> None:
        self._source = source = self._make()
        log.info("imap.leads", mailbox=self._mailbox)
        running = asyncio.get_running_loop().create_task(source.run())
        try:
            while not running.done() and await self._renew(running):
                pass
        finally:
            self._source = None
            if not running.done():
                log.warning("imap.leads_no_more", mailbox=self._mailbox)
                running.cancel()
            await asyncio.wait({running})
        if not running.cancelled():
            running.result()

    async def _renew(self, running: asyncio.Task[None]) -> bool:
        """Renew the lease once when it is due; False if it is lost, or may be."""
        loop = asyncio.get_running_loop()
        self._heartbeat.beat(self._pause * _RENEWALS)
        # Two thirds of the lease: the last third is for the source to end in.
        ends = self._asked_at + self._pause * (_RENEWALS - 1)
        until = min(self._pause, ends - loop.time())
        await asyncio.wait({running}, timeout=max(0.0, until))
        while not running.done() and not self._stopping.is_set():
            try:
                async with asyncio.timeout_at(ends):
                    return await self._ask()
            except TimeoutError:
                return False
            except StoreError as error:
                log.warning("imap.lease_not_renewed", mailbox=self._mailbox, detail=str(error))
                await asyncio.wait({running}, timeout=min(1.0, self._pause / 4))
                if loop.time() >= ends:
                    return False
        # On shutdown it may take its time: the lease is released when the store closes.
        if not running.done():
            await asyncio.wait({running})
        return True

    async def _ask(self) -> bool:
        # The lease began when the store was asked, not when its answer arrived.
        asked_at = asyncio.get_running_loop().time()
        ours = await self._acquire()
        self._asked_at = asked_at
        return ours

    async def _try_acquire(self) -> bool:
        asking = asyncio.ensure_future(self._ask())
        stopped = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait(
                {asking, stopped},
                timeout=self._pause * _RENEWALS,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if not asking.done():
                return False  # a lease granted later is not used, and expires by itself
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

"""The IMAP source: watches a folder of a mailbox and hands every mail to `accept`."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Final

from tenacity import AsyncRetrying, RetryCallState, wait_fixed, wait_random_exponential

from bridge import logs, metrics
from bridge.config.imap import ImapSettings
from bridge.errors import BridgeError, ImapLoginRefused, ImapRefused, TokenRefused
from bridge.model import Arrival, Receipt, Report
from bridge.sources.imap.alarms import Alarm, Alarms
from bridge.sources.imap.client import ImapClient
from bridge.sources.imap.folder import Cursors
from bridge.sources.imap.liveness import Pulse, stuck, trouble
from bridge.sources.imap.open import Tokens, open_client, tls_context
from bridge.sources.imap.sync import ImapState, ImapSync

log = logs.logger("imap")

_RENEW: Final = 290.0  # an IDLE that lasts longer is cut by many a firewall, in silence
_GRACE: Final = 20.0  # how long `stop` lets mails that are under way come to their end
_GOODBYE: Final = 1.0
_LONGEST_PAUSE: Final = 60.0
_STEADY: Final = 10.0  # seconds from which on a connection was more than a good sync and an end
_PATIENCE: Final = 3
REFUSED_PAUSE: Final = 300.0  # a login tried more often is locked out by many a server
# But the first refusal may mean "not now": some servers say no while a part of them is away.
_FIRST_SHARE: Final = 0.1  # of the pause


class ImapSource:
    """Takes mail out of one folder of a mailbox.

    `accept` stores an arrival and returns the receipt, or raises StoreFull or StoreUnavailable;
    `tokens` replaces the password. Raises ConfigError for settings that cannot be used. Whatever
    happens to the mail server, `run` goes on; `state` tells how it does.
    """

    def __init__(
        self,
        settings: ImapSettings,
        accept: Callable[[Arrival], Awaitable[Receipt]],
        cursors: Cursors,
        tokens: Tokens | None = None,
        *,
        clock: Callable[[], datetime],
        refused_pause: float = REFUSED_PAUSE,
    ) -> None:
        self._settings = settings
        self._tokens = tokens
        self._clock = clock
        self._refused_pause = refused_pause
        self._tls = tls_context(settings)
        self._stopping = asyncio.Event()
        self._working: asyncio.Task[None] | None = None
        self._client: ImapClient | None = None
        self._backoff = _Backoff()
        self._no_idle = False  # on this connection
        self._in_vain = 0  # pushes on end after which nothing was found
        self._refusals = 0  # of the login, on end
        # Set once it runs: a mailbox that is away must not keep the others from starting.
        self.listening = asyncio.Event()
        self.state = ImapState()
        self._alarms = Alarms(settings.name)
        self._pulse = Pulse()  # of whatever is done
        self._read = Pulse()  # of reading
        self._sync = ImapSync(
            settings, accept, cursors, self.state, self._alarms, self._read,
            clock=clock, stopping=self._stopping,
        )  # fmt: skip

    async def run(self) -> None:
        """Watch the mailbox until cancelled, or until `stop` and what was under way has ended."""
        self._working = asyncio.get_running_loop().create_task(self._work())
        stopped = asyncio.get_running_loop().create_task(self._stopping.wait())
        self.listening.set()
        try:
            await asyncio.wait({self._working, stopped}, return_when=asyncio.FIRST_COMPLETED)
            await self.drain(_GRACE)
        finally:
            stopped.cancel()
            self._cut()
            # Whoever cancels us may give the mailbox to another bridge as soon as we have ended.
            await asyncio.wait({self._working})

    def stop(self) -> None:
        """Make `run` come to its end."""
        self._stopping.set()
        if self._client is not None:
            self._client.wake()

    async def drain(self, grace_seconds: float) -> None:
        """Begin with nothing new, and let what is under way come to its end.

        What is still under way after `grace_seconds` is cut off: it is as it was in the mailbox,
        or stored and seen again at the next start.
        """
        self.stop()
        if self._working is None:
            return
        # Before the login nothing is under way: there is only a server that is waited for.
        grace = grace_seconds if self._client is not None else min(grace_seconds, _GOODBYE)
        done, _ = await asyncio.wait({self._working}, timeout=grace)
        if not done:
            log.warning("imap.drain_cut", mailbox=self._settings.name)
            self._cut()
            await asyncio.wait({self._working})  # it has nothing left to wait for
        elif not self._working.cancelled():
            self._working.result()

    def report(self) -> Report:
        """Say how the mailbox does: connected or away, and when what happened last."""
        state = self.state
        return {
            "state": "connected" if state.connected else "away",
            "last_sync": _iso(state.last_sync),
            "last_push": _iso(state.last_push),
            "lag_seconds": state.lag,
            "open": state.open,
        }

    def trouble(self) -> str | None:
        """Say what is wrong with the mailbox, in a sentence for the operator; None: nothing is."""
        return trouble(self._settings, self._read.silence, self.state.problem)

    def stuck(self) -> str | None:
        """Say that we have stopped in silence, which no mail server can bring about."""
        return stuck(self._settings.name, self._pulse)

    def reload_tls(self) -> None:
        """Do nothing: a client has no certificate of its own."""

    async def _work(self) -> None:
        name = self._settings.name
        metrics.IMAP_CONNECTED.labels(name).set(0)
        while not self._stopping.is_set():
            try:
                await self._session()
            except (ImapLoginRefused, TokenRefused) as error:
                pause = self._pause_of_refusal()
                self._refused(str(error), pause)
            except ImapRefused as error:
                pause = self._backoff.next()
                self._refused(str(error), pause)
            except BridgeError as error:
                pause = self._backoff.next()
                self._unavailable(str(error), pause)
            except Exception as error:
                # SMTP and the other mailboxes are not to suffer for it.
                log.exception("imap.bug", mailbox=name)
                self._alarms.count(Alarm.BUG)
                pause = self._backoff.next()
                self._unavailable(f"a bug ({type(error).__name__})", pause)
            else:
                return
            await self._pause(pause)

    def _pause_of_refusal(self) -> float:
        """Say how long to wait after a login that was refused: soon once, then seldom.

        A token that was refused may just have been old, and the next one is fresh: so with tokens
        there is one more try at once.
        """
        tried, self._refusals = self._refusals, self._refusals + 1
        if self._tokens is not None:
            if not tried:
                return self._backoff.next()
            tried -= 1
        share = 1.0 if tried else _FIRST_SHARE
        return share * self._refused_pause * random.uniform(0.9, 1.1)  # noqa: S311 - jitter

    async def _session(self) -> None:
        """Watch over one connection, until it breaks (raises) or we stop."""
        settings = self._settings
        client = await open_client(settings, self._tokens, self._tls, self._pulse)
        self._client = client
        self._no_idle = False
        opened_at, well = asyncio.get_running_loop().time(), False
        try:
            self._sync.connected()
            while not self._stopping.is_set():
                found = await self._sync.run(client)
                self._well(client)
                well = True
                if not self._stopping.is_set():
                    await self._wait(client, found)
        finally:
            # A server that hangs up at each IDLE syncs well each time: that would be a loop of
            # logins. So only a connection that also lasted begins the pauses anew.
            if well and asyncio.get_running_loop().time() - opened_at >= _STEADY:
                self._backoff.reset()
            self._client = None
            self.state.connected = False
            metrics.IMAP_CONNECTED.labels(settings.name).set(0)
            try:
                await self._sync.settle()
                await client.logout()
            finally:
                client.close()

    async def _wait(self, client: ImapClient, found: int) -> None:
        """Wait for a push, and no longer than `poll`: pushes get lost."""
        poll = self._settings.poll
        if found:
            self._in_vain = 0
        if not self._settings.idle or self._no_idle or not client.has("IDLE"):
            await self._pause(poll)
            return
        if self._in_vain > _PATIENCE:
            # A server that speaks of new mail each time we ask must not keep us searching.
            await self._pause(min(poll, 2.0 ** (self._in_vain - _PATIENCE - 5)))
        try:
            pushed = await client.idle(min(poll, _RENEW))
        except ImapRefused as error:
            self._no_idle = True
            log.warning("imap.no_idle", mailbox=self._settings.name, detail=str(error))
            await self._pause(poll)
            return
        if pushed and not self._stopping.is_set():
            self._in_vain += 1
            self.state.last_push = now = self._clock()
            metrics.IMAP_LAST_PUSH.labels(self._settings.name).set(now.timestamp())
        else:
            self._in_vain = 0

    async def _pause(self, seconds: float) -> None:
        self._pulse.beat(seconds)
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            pass

    def _refused(self, problem: str, pause: float) -> None:
        """Tell what only an operator can mend; once, and of every other that takes its place."""
        if problem == self.state.problem:
            self._alarms.count(Alarm.REFUSED)
        else:
            self._alarms.tell(Alarm.REFUSED, detail=problem, pause=round(pause, 1))
        self.state.problem = problem

    def _unavailable(self, problem: str, pause: float) -> None:
        """Tell what passes by itself; once, and of every other that takes its place."""
        if problem != self.state.problem:
            name = self._settings.name
            log.warning("imap.unavailable", mailbox=name, detail=problem, pause=round(pause, 1))
        self.state.problem = problem

    def _well(self, client: ImapClient) -> None:
        """Take note of a good sync."""
        name = self._settings.name
        self._pulse.beat()
        self._refusals = 0
        if not self.state.connected:
            self.state.connected = True
            metrics.IMAP_CONNECTED.labels(name).set(1)
            idle = self._settings.idle and client.has("IDLE")
            log.info("imap.connected", mailbox=name, folder=self._settings.folder, idle=idle)
        problem = self._sync.problem
        if self.state.problem is not None and problem is None:
            log.info("imap.well", mailbox=name)
        self.state.problem = problem

    def _cut(self) -> None:
        """End at once whatever is left."""
        if self._working is not None:
            self._working.cancel()
        self._sync.cut()
        if self._client is not None:
            self._client.close()


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="seconds")


class _Backoff:
    """Pauses that grow, each with a part of chance so that many bridges do not come at once."""

    def __init__(self) -> None:
        self._wait = wait_fixed(0.1) + wait_random_exponential(0.5, max=_LONGEST_PAUSE)
        self.reset()

    def next(self) -> float:
        """Say how long to wait now."""
        self._state.attempt_number += 1
        return self._wait(self._state)

    def reset(self) -> None:
        """Begin again with short pauses."""
        self._state = RetryCallState(AsyncRetrying(), None, (), {})
        self._state.attempt_number = 0

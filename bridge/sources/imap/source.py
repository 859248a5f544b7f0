"""The IMAP source: watches a folder of a mailbox and hands every mail to `accept`."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Final

from tenacity import AsyncRetrying, RetryCallState, wait_fixed, wait_random_exponential

from bridge import logs
from bridge.config.imap import ImapSettings
from bridge.errors import BridgeError, ImapLoginRefused, ImapRefused, TokenRefused
from bridge.model import Arrival, Receipt, Report
from bridge.sources.imap.client import ImapClient
from bridge.sources.imap.oauth import AccessTokens
from bridge.sources.imap.open import open_client, tls_context
from bridge.sources.imap.places import Cursors
from bridge.sources.imap.status import MailboxStatus
from bridge.sources.imap.sync import ImapSync

log = logs.logger("imap")

_RENEW: Final = 290.0  # many a firewall silently drops an IDLE that lasts longer
_GRACE: Final = 20.0  # seconds that `stop` leaves in-flight mails to finish
_GOODBYE: Final = 1.0
_SHORTEST_PAUSE: Final = 0.1
_FIRST_STEP: Final = 0.5
_LONGEST_PAUSE: Final = 60.0
_STEADY: Final = 10.0  # seconds from which on a connection counts as one that lasted
_PATIENCE: Final = 3
REFUSED_PAUSE: Final = 300.0  # many servers lock out who tries a refused login more often
# But the first refusal may mean "not now": some servers say no while a part of them is away.
_FIRST_SHARE: Final = 0.1  # of the pause


class ImapSource:
    """Takes mail out of one folder of a mailbox.

    `accept` stores an arrival and returns the receipt, or raises StoreFull or StoreUnavailable;
    `tokens` replace the password. Raises ConfigError for settings that cannot be used. Whatever
    the mail server does, `run` goes on; `status` and `report` say how the mailbox is.
    """

    def __init__(
        self,
        settings: ImapSettings,
        accept: Callable[[Arrival], Awaitable[Receipt]],
        cursors: Cursors,
        tokens: AccessTokens | None = None,
        *,
        clock: Callable[[], datetime],
        refused_pause: float = REFUSED_PAUSE,
    ) -> None:
        self._settings = settings
        self._tokens = tokens
        self._refused_pause = refused_pause
        self._tls = tls_context(settings)
        self._stopping = asyncio.Event()
        self._working: asyncio.Task[None] | None = None
        self._client: ImapClient | None = None
        self._no_idle = False  # on this connection
        self._empty_pushes = 0  # in a row, after which nothing was found
        self._refusals = 0  # of the login, in a row
        # Exponential backoff with jitter, so that many bridges don't reconnect at the same moment.
        self._backoff = wait_fixed(_SHORTEST_PAUSE) + wait_random_exponential(
            _FIRST_STEP, max=_LONGEST_PAUSE
        )
        self._retrying = AsyncRetrying(
            wait=self._wait_after, before_sleep=self._record_retry, sleep=self._pause
        )
        # Set once it runs: a mailbox that is away must not keep the others from starting.
        self.listening = asyncio.Event()
        self.status = MailboxStatus(settings, clock)
        self._sync = ImapSync(
            settings, accept, cursors, self.status, clock=clock, stopping=self._stopping
        )

    async def run(self) -> None:
        """Watch the mailbox until cancelled, or until `stop` and in-flight mails are finished."""
        self._working = asyncio.get_running_loop().create_task(self._stay_connected())
        stopped = asyncio.get_running_loop().create_task(self._stopping.wait())
        self.listening.set()
        try:
            await asyncio.wait({self._working, stopped}, return_when=asyncio.FIRST_COMPLETED)
            await self.drain(_GRACE)
        finally:
            stopped.cancel()
            self._abort()
            # Whoever cancels us may give the mailbox to another bridge as soon as we have ended.
            await asyncio.wait({self._working})

    def stop(self) -> None:
        """Make `run` end."""
        self._stopping.set()
        if self._client is not None:
            self._client.wake()

    async def drain(self, grace_seconds: float) -> None:
        """Start nothing new, and let in-flight mails finish.

        What is unfinished after `grace_seconds` is aborted: it is unchanged in the mailbox, or
        stored and recognised as a duplicate at the next start.
        """
        self.stop()
        if self._working is None:
            return
        # Before the login no mail is in flight: there is only a server to wait for.
        grace = grace_seconds if self._client is not None else min(grace_seconds, _GOODBYE)
        done, _ = await asyncio.wait({self._working}, timeout=grace)
        if not done:
            log.warning("imap.drain_cut", mailbox=self._settings.name)
            self._abort()
            await asyncio.wait({self._working})  # it has nothing left to wait for
        elif not self._working.cancelled():
            self._working.result()

    def report(self) -> Report:
        """Return the mailbox's status: "connected" or "away", and when it was last read."""
        return self.status.report()

    def reload_tls(self) -> None:
        """Do nothing: a client has no certificate of its own."""

    async def _stay_connected(self) -> None:
        """Keep a connection open until `stop`, with growing pauses between failures.

        One run of the retries is one series of failures. It ends with a connection that lasted,
        so that the pauses start over.
        """
        self.status.record_disconnected()
        while not self._stopping.is_set():
            pause: float = await self._retrying(self._use_connection)
            await self._pause(pause)

    def _wait_after(self, state: RetryCallState) -> float:
        """Return the seconds to wait after a failed attempt."""
        refused = isinstance(_error_of(state), ImapLoginRefused | TokenRefused)
        return self._refusal_pause() if refused else self._backoff(state)

    def _refusal_pause(self) -> float:
        """Return the seconds to wait after a refused login: short once, then long."""
        refusals, self._refusals = self._refusals, self._refusals + 1
        if self._tokens is not None:
            if refusals == 0:
                return _short_pause()  # the token may just have been old, and the next is fresh
            refusals -= 1
        share = 1.0 if refusals else _FIRST_SHARE
        return share * self._refused_pause * random.uniform(0.9, 1.1)  # noqa: S311 - jitter

    def _record_retry(self, state: RetryCallState) -> None:
        assert state.next_action is not None
        self._record_failure(_error_of(state), state.next_action.sleep)

    def _record_failure(self, error: BaseException | None, pause: float) -> None:
        match error:
            case ImapRefused() | TokenRefused():
                self.status.record_refused(str(error), pause)
            case BridgeError():
                self.status.record_unavailable(str(error), pause)
            case Exception():
                # SMTP and the other mailboxes must not suffer from it.
                self.status.bug(error)
                self.status.record_unavailable(f"a bug ({type(error).__name__})", pause)

    async def _use_connection(self) -> float:
        """Connect and read until `stop` or a failure; return the seconds to wait before the next.

        Raises what broke the connection, unless it had lasted. One good sync is not enough for
        that: a server that hangs up at each IDLE syncs well each time, which would be a loop of
        logins.
        """
        settings = self._settings
        if self._stopping.is_set():
            return 0.0
        client = await open_client(settings, self._tokens, self._tls, self.status.heartbeat)
        self._client = client
        self._no_idle = False
        opened_at, synced = asyncio.get_running_loop().time(), False
        try:
            self._sync.connected()
            while not self._stopping.is_set():
                found = await self._sync.run(client)
                synced = True
                self._record_sync(client)
                if not self._stopping.is_set():
                    await self._wait_for_mail(client, found)
        except Exception as error:
            if synced and asyncio.get_running_loop().time() - opened_at >= _STEADY:
                pause = _short_pause()
                self._record_failure(error, pause)
                return pause
            raise
        finally:
            self._client = None
            self.status.record_disconnected()
            try:
                await self._sync.settle()
                await client.logout()
            finally:
                client.close()
        return 0.0

    def _record_sync(self, client: ImapClient) -> None:
        self._refusals = 0
        idle = self._settings.idle and client.has("IDLE")
        self.status.record_reachable(self._sync.problem, idle=idle)

    async def _wait_for_mail(self, client: ImapClient, found: int) -> None:
        """Wait for a push, but no longer than `poll`: pushes get lost."""
        poll = self._settings.poll
        if found:
            self._empty_pushes = 0
        if not self._settings.idle or self._no_idle or not client.has("IDLE"):
            await self._pause(poll)
            return
        if self._empty_pushes > _PATIENCE:
            # A server that announces mail whenever we ask must not keep us searching.
            await self._pause(min(poll, 2.0 ** (self._empty_pushes - _PATIENCE - 5)))
        try:
            pushed = await client.idle(min(poll, _RENEW))
        except ImapRefused as error:
            self._no_idle = True
            log.warning("imap.no_idle", mailbox=self._settings.name, detail=str(error))
            await self._pause(poll)
            return
        if pushed and not self._stopping.is_set():
            self._empty_pushes += 1
            self.status.record_push()
        else:
            self._empty_pushes = 0

    async def _pause(self, seconds: float) -> None:
        """Wait for so many seconds, or until `stop`."""
        self.status.heartbeat.beat(seconds)
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            pass

    def _abort(self) -> None:
        """End at once whatever is unfinished."""
        if self._working is not None:
            self._working.cancel()
        self._sync.abort()
        if self._client is not None:
            self._client.close()


def _error_of(state: RetryCallState) -> BaseException | None:
    return None if state.outcome is None else state.outcome.exception()


def _short_pause() -> float:
    return random.uniform(_SHORTEST_PAUSE, _SHORTEST_PAUSE + _FIRST_STEP)  # noqa: S311 - jitter

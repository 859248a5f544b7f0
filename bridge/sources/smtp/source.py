"""The SMTP source: listens, and hands every mail to `accept` before it replies 250."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime
from functools import partial
from typing import Final

from bridge import logs
from bridge.config.settings import SmtpSettings
from bridge.errors import ConfigError, StoreFull, StoreUnavailable, TrustUnavailable
from bridge.model import Arrival, ArrivalOutcome, Receipt, Report
from bridge.net.limits import Budget, ConnectionLimiter, network_of
from bridge.net.listening import BACKLOG, open_sockets, shown
from bridge.net.tls import server_context
from bridge.sources.smtp import accept_tls
from bridge.sources.smtp.connection import common_attributes
from bridge.sources.smtp.session import SmtpSession
from bridge.sources.smtp.shared import SharedState
from bridge.sources.smtp.syntax import Recipients
from bridge.sources.throttled_log import ThrottledLog

log = logs.logger("smtp")

# Bytes of mails in memory, over all connections. Copies for decoding and storing come on top. A
# quarter is for small mails: with the default of 200 connections, one for each fits in.
MEMORY: Final = 32 * 1024**2
_GRACE: Final = 20.0  # seconds that `stop` leaves in-flight mails to finish
_HOSTNAME: Final = re.compile(r"[0-9A-Za-z](?:[0-9A-Za-z._-]{0,253}[0-9A-Za-z])?")


def _new_id() -> str:
    return secrets.token_hex(8)


class SmtpSource:
    """Receives mail from other mail servers.

    `accept` stores an arrival and returns the receipt, or raises StoreFull, StoreUnavailable or
    TrustUnavailable. `sockets` are those passed by systemd. `memory` limits the bytes of all mails
    in memory. Raises ConfigError for settings that cannot be used. Runs in one event loop.
    """

    def __init__(
        self,
        settings: SmtpSettings,
        accept: Callable[[Arrival], Awaitable[Receipt]],
        sockets: Mapping[str, Sequence[socket.socket]],
        *,
        clock: Callable[[], datetime],
        memory: int = MEMORY,
        new_id: Callable[[], str] = _new_id,
    ) -> None:
        # At INFO it logs every command: a recipient's address can be a secret.
        mail_log = logging.getLogger("mail.log")
        mail_log.setLevel(max(mail_log.level, logging.WARNING))
        self.name = "smtp"
        self._settings = settings
        self._accept = accept
        self._handed_over = sockets
        self._servers: list[asyncio.Server] = []
        self._tls_sockets: list[socket.socket] = []
        self._tls_servers: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()
        self._throttled = ThrottledLog(log)
        self._shared = SharedState(
            hostname=_hostname(settings.hostname),
            recipients=Recipients(settings.recipients),
            limiter=ConnectionLimiter(settings.max_connections, settings.max_connections_per_peer),
            # There must always be room for one mail of maximum size.
            budget=Budget(
                max(memory, 2 * settings.max_message), max(memory // 4, 2 * settings.max_message)
            ),
            max_message=settings.max_message,
            max_line=settings.max_line,
            max_recipients=settings.max_recipients,
            idle_timeout=settings.idle_timeout,
            session_timeout=settings.session_timeout,
            commit=self._store,
            clock=clock,
            new_id=new_id,
            log=self._throttled,
        )
        self._commits = self._shared.commits
        self.listening = asyncio.Event()  # set once all addresses are bound
        self.addresses: tuple[str, ...] = ()  # of `listen`, with the actual port in place of 0
        self.tls_addresses: tuple[str, ...] = ()
        self.reload_tls()

    async def run(self) -> None:
        """Listen until cancelled, or until `stop` and in-flight mails are finished.

        Raises ListenError if an address cannot be bound; then none stays bound.
        """
        try:
            await self._listen()
            self.listening.set()
            log.info("smtp.listening", addresses=self.addresses, tls=self.tls_addresses)
            await self._until_stopped()
            await self.drain(_GRACE)
        finally:
            self._abort()

    async def _until_stopped(self) -> None:
        """Wait for `stop`; raise a bug that ends one of the accept loops."""
        stopped = asyncio.get_running_loop().create_task(self._stopping.wait())
        try:
            await asyncio.wait({stopped, *self._tls_servers}, return_when=asyncio.FIRST_COMPLETED)
            for task in self._tls_servers:
                if task.done() and not task.cancelled():
                    task.result()
            await stopped
        finally:
            stopped.cancel()

    def stop(self) -> None:
        """Make `run` end."""
        self._stopping.set()

    async def drain(self, grace_seconds: float) -> None:
        """Accept nothing new, and let in-flight mails finish.

        Idle peers are disconnected at once, unfinished sessions after `grace_seconds`: their
        senders got no 250 and will try again.
        """
        self._close_servers()
        self._shared.draining = True
        for session in tuple(self._shared.sessions):
            session.finish()
        try:
            async with asyncio.timeout(grace_seconds):
                await self._shared.empty.wait()
                while self._commits:
                    await asyncio.wait(self._commits)
        except TimeoutError:
            log.warning(
                "smtp.drain_cut", sessions=len(self._shared.sessions), commits=len(self._commits)
            )
            self._abort()

    def report(self) -> Report:
        """Return "listening" with the number of sessions.

        Its problem is that there was no room for peers lately. It cannot stall, because it waits
        only for peers; and without its addresses the daemon doesn't start.
        """
        return Report(
            "listening",
            self._shared.turned_away.problem,
            details={"sessions": len(self._shared.sessions)},
        )

    def reload_tls(self) -> None:
        """Reload certificate and key, for new connections.

        Raises ConfigError if they cannot be used; the previous ones then stay in use.
        """
        settings = self._settings
        if settings.tls_certificate is not None and settings.tls_key is not None:
            self._shared.tls = server_context(settings.tls_certificate, settings.tls_key, "smtp")

    async def _listen(self) -> None:
        """Open all sockets before serving the first."""
        loop = asyncio.get_running_loop()
        with ExitStack() as opened:
            plain = self._open("smtp.listen", self._settings.listen, opened)
            tls = self._open("smtp.tls_listen", self._settings.tls_listen, opened)
            for listening, session in plain:
                server = await loop.create_server(
                    partial(session, implicit_tls=False), sock=listening, backlog=BACKLOG
                )
                self._servers.append(server)
            opened.pop_all()
        for listening, session in tls:
            self._tls_sockets.append(listening)
            serving = accept_tls.serve(listening, self._shared, partial(session, implicit_tls=True))
            self._tls_servers.add(loop.create_task(serving))
        self.addresses = tuple(shown(listening) for listening, _ in plain)
        self.tls_addresses = tuple(shown(listening) for listening, _ in tls)

    def _open(
        self, key: str, addresses: Sequence[str], opened: ExitStack
    ) -> list[tuple[socket.socket, partial[SmtpSession]]]:
        loop = asyncio.get_running_loop()
        common = common_attributes(self._shared, loop)
        found = []
        for address in addresses:
            for listening in open_sockets(address, self._handed_over, key):
                opened.callback(listening.close)
                found.append((listening, partial(SmtpSession, self._shared, address, common, loop)))
        return found

    async def _store(self, arrival: Arrival, mail_id: str) -> str:
        """Return the reply to an arrival: 250 if and only if it is stored.

        It names the id of our Received header, which tells a stranger nothing: the number of an
        arrival would tell how much comes in. `smsbridge messages show` finds a mail by that id.
        """
        try:
            receipt = await self._accept(arrival)
        except StoreFull as error:
            self._throttled.warning("smtp.store_full", peer=arrival.peer, error=str(error))
            return "452 4.3.1 No room at the moment, try again later"
        except StoreUnavailable as error:
            self._throttled.warning("smtp.store_unavailable", peer=arrival.peer, error=str(error))
            return "451 4.3.0 Not stored, try again later"
        except TrustUnavailable as error:
            self._throttled.warning("smtp.trust_unavailable", peer=arrival.peer, error=str(error))
            return "451 4.4.3 Cannot verify the sender at the moment, try again later"
        except Exception as error:  # noqa: BLE001 - a bug must not become a lost mail
            self._throttled.bug("smtp.bug", error, peer=arrival.peer)
            return "451 4.3.0 Not stored, try again later"
        if receipt.outcome is ArrivalOutcome.MESSAGE:
            self._shared.limiter.remember(network_of(arrival.peer))
        log.debug("smtp.stored", id=mail_id, arrival=receipt.arrival_id)
        return f"250 2.0.0 Stored as {mail_id}"

    def _close_servers(self) -> None:
        for server in self._servers:
            server.close()
        self._servers.clear()
        for serving in self._tls_servers:
            serving.cancel()
        for listening in self._tls_sockets:
            listening.close()
        self._tls_sockets.clear()

    def _abort(self) -> None:
        """End at once whatever is unfinished."""
        self._close_servers()
        for session in tuple(self._shared.sessions):
            session.abort()
        for task in tuple(self._commits):
            task.cancel()


def _hostname(configured: str | None) -> str:
    """Return our host name, without a name look-up, which can hang."""
    name = configured if configured is not None else socket.gethostname()
    if _HOSTNAME.fullmatch(name):
        return name
    if configured is not None:
        raise ConfigError("smtp.hostname", "must be a host name, like mail.example.com")
    return "localhost"

"""State shared by all SMTP connections of one source: limits, counts, and the commit."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from aiosmtpd.smtp import MISSING, Envelope, Session

from bridge import logs, metrics
from bridge.model import Arrival
from bridge.net.limits import Budget, ConnectionLimiter, Share
from bridge.sources.smtp.syntax import Recipients
from bridge.sources.throttled_log import ThrottledLog


class AdmittedConnection(Protocol):
    """A connection that counts against the limits."""

    peer: str | None

    def finish(self) -> None:
        """Disconnect a peer that is not sending a mail; the others finish theirs first."""

    def abort(self) -> None:
        """Close the connection at once."""


@dataclass(slots=True)
class SharedState:
    """State shared by all sessions of one source."""

    hostname: str
    recipients: Recipients
    limiter: ConnectionLimiter
    budget: Budget
    max_message: int
    max_line: int
    max_recipients: int
    idle_timeout: float
    session_timeout: float
    commit: Callable[[Arrival, Share], asyncio.Task[str]]  # ends in a reply, and never raises
    clock: Callable[[], datetime]
    new_id: Callable[[], str]
    log: ThrottledLog
    tls: ssl.SSLContext | None = None  # replaced when the certificate is reloaded
    draining: bool = False
    sessions: set[AdmittedConnection] = field(default_factory=set)
    empty: asyncio.Event = field(default_factory=asyncio.Event)  # no connection is left

    def __post_init__(self) -> None:
        self.empty.set()

    def __dir__(self) -> Iterable[str]:
        """Name only what aiosmtpd may call: it reads every attribute named here per connection.

        That takes time, and raises for a dataclass with slots in Python 3.11.2 (Debian 12).
        """
        return ["handle_RCPT"]

    def admit(self, session: AdmittedConnection) -> bool:
        """Admit a connection; False if a limit is reached or we are draining."""
        if self.draining or not self.limiter.acquire(session.peer):
            return False
        self.sessions.add(session)
        self.empty.clear()
        metrics.SMTP_CONNECTIONS.inc()
        return True

    def release(self, session: AdmittedConnection) -> None:
        """Release an admitted connection."""
        self.sessions.discard(session)
        self.limiter.release(session.peer)
        metrics.SMTP_CONNECTIONS.dec()
        if not self.sessions:
            self.empty.set()

    async def handle_RCPT(  # noqa: N802 - aiosmtpd calls it by this name
        self,
        session: AdmittedConnection,
        _state: Session,
        envelope: Envelope,
        address: str,
        _options: Sequence[str],
    ) -> object:
        """Reply to RCPT; MISSING makes aiosmtpd accept the recipient."""
        if not self.recipients.allow(address):
            self.log.warning("smtp.recipient_refused", peer=session.peer, to=logs.mask(address))
            return "550 5.1.1 No such mailbox here"
        if len(envelope.rcpt_tos) >= self.max_recipients:
            return "452 4.5.3 Too many recipients"
        return MISSING

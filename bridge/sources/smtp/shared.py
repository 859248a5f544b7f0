"""What all SMTP connections of one source share: limits, counts, and the way to the store."""

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
from bridge.sources.throttled_log import SeldomLog


class Seated(Protocol):
    """A connection that was let in."""

    peer: str | None

    def finish(self) -> None:
        """Say goodbye to a peer that is not sending a mail; the others end after theirs."""

    def abort(self) -> None:
        """Cut the connection."""


@dataclass(slots=True)
class Desk:
    """What all sessions of one source share: limits, counts, and the way to the store."""

    hostname: str
    recipients: Recipients
    door: ConnectionLimiter
    budget: Budget
    max_message: int
    max_line: int
    max_recipients: int
    idle_timeout: float
    session_timeout: float
    commit: Callable[[Arrival, Share], asyncio.Task[str]]  # ends in a reply, and never raises
    clock: Callable[[], datetime]
    new_id: Callable[[], str]
    log: SeldomLog
    tls: ssl.SSLContext | None = None  # replaced when the certificate is read again
    draining: bool = False
    sessions: set[Seated] = field(default_factory=set)
    deserted: asyncio.Event = field(default_factory=asyncio.Event)  # nobody is left

    def __post_init__(self) -> None:
        self.deserted.set()

    def __dir__(self) -> Iterable[str]:
        """Name only what aiosmtpd may call: for each connection it reads every attribute in here.

        That takes time, and Python 3.11.2, Debian 12's, raises for a dataclass with slots.
        """
        return ["handle_RCPT"]

    def seat(self, session: Seated) -> bool:
        """Take a connection in; False if there is no room for it."""
        if self.draining or not self.door.acquire(session.peer):
            return False
        self.sessions.add(session)
        self.deserted.clear()
        metrics.SMTP_CONNECTIONS.inc()
        return True

    def unseat(self, session: Seated) -> None:
        """Count out a connection that was taken in."""
        self.sessions.discard(session)
        self.door.release(session.peer)
        metrics.SMTP_CONNECTIONS.dec()
        if not self.sessions:
            self.deserted.set()

    async def handle_RCPT(  # noqa: N802 - aiosmtpd calls it by this name
        self,
        session: Seated,
        _state: Session,
        envelope: Envelope,
        address: str,
        _options: Sequence[str],
    ) -> object:
        """Judge a recipient; MISSING lets aiosmtpd take it."""
        if not self.recipients.allow(address):
            self.log.warning("smtp.recipient_refused", peer=session.peer, to=logs.mask(address))
            return "550 5.1.1 No such mailbox here"
        if len(envelope.rcpt_tos) >= self.max_recipients:
            return "452 4.5.3 Too many recipients"
        return MISSING

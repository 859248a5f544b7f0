"""State shared by all SMTP connections of one source: limits, counts, and the commit."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Protocol

from aiosmtpd.smtp import MISSING, Envelope, Session

from bridge import logs, metrics
from bridge.model import Arrival
from bridge.net.limits import (
    Budget,
    ConnectionLimiter,
    Guesses,
    Limit,
    Pace,
    network_of,
    patience,
)
from bridge.sources.smtp.syntax import Recipients
from bridge.sources.smtp.turned_away import TurnedAway
from bridge.sources.throttled_log import ThrottledLog

_GUESSES: Final = 20  # wrong recipients of a network, then one per:
_PER_GUESS: Final = 1.0  # seconds
MAX_DELAY: Final = 10.0  # seconds; a network that guesses on is disconnected


class AdmittedConnection(Protocol):
    """A connection that counts against the limits."""

    peer: str | None
    pace: Pace

    @property
    def can_yield(self) -> bool:
        """Whether another peer can have this one's place."""

    def finish(self) -> None:
        """Disconnect a peer that is not sending a mail; the others finish theirs first."""

    def abort(self) -> None:
        """Close the connection at once."""

    def yield_place(self) -> None:
        """Close the connection, because another peer gets its place."""


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
    commit: Callable[[Arrival, str], Awaitable[str]]  # gives a reply, never raises
    clock: Callable[[], datetime]
    new_id: Callable[[], str]
    log: ThrottledLog
    tls: ssl.SSLContext | None = None  # replaced when the certificate is reloaded
    draining: bool = False
    turned_away: TurnedAway = field(default_factory=TurnedAway)
    guesses: Guesses = field(default_factory=lambda: Guesses(_GUESSES, _PER_GUESS))
    sessions: set[AdmittedConnection] = field(default_factory=set)
    commits: set[asyncio.Task[None]] = field(default_factory=set)  # a lost connection's, too
    places: dict[AdmittedConnection, str] = field(default_factory=dict)  # and whose they are
    empty: asyncio.Event = field(default_factory=asyncio.Event)  # no connection is left

    def __post_init__(self) -> None:
        self.empty.set()

    def __dir__(self) -> Iterable[str]:
        """Name only what aiosmtpd may call: it reads every attribute named here per connection.

        That takes time, and raises for a dataclass with slots in Python 3.11.2 (Debian 12).
        """
        return ["handle_RCPT"]

    def admit(self, session: AdmittedConnection) -> bool:
        """Admit a connection; False if a limit is reached or we are draining.

        If there is no place, the slowest connection of a network with more of them is closed.
        """
        if self.draining:
            return False
        network = network_of(session.peer)
        limit = self.limiter.enter(network)
        if limit is Limit.CONNECTIONS and self._make_room(network):
            limit = self.limiter.enter(network)
        if limit is not None:
            self.no_room(limit, session.peer)
            return False
        self.places[session] = network
        self.sessions.add(session)
        self.empty.clear()
        metrics.SMTP_CONNECTIONS.inc()
        return True

    def release(self, session: AdmittedConnection) -> None:
        """Release an admitted connection."""
        self.sessions.discard(session)
        self._release_place(session)
        metrics.SMTP_CONNECTIONS.dec()
        if not self.sessions:
            self.empty.set()

    def no_room(self, limit: Limit, peer: str | None) -> None:
        """Count and log a peer that is turned away because a limit is reached."""
        self.turned_away.count(limit)
        self.log.warning("smtp.no_room", peer=peer, limit=limit.value)

    @property
    def patience(self) -> float:
        """For how many seconds a peer may be idle: fewer while connections or memory are scarce."""
        return self.idle_timeout * patience(max(self.limiter.used, self.budget.used_fraction))

    def bars_guesses_of(self, peer: str | None) -> bool:
        """Return whether a peer guessed at recipients for so long that it is disconnected.

        A known peer isn't: behind a relay, strangers' guesses must not stop everybody's mail.
        """
        network = network_of(peer)
        if self.limiter.is_known(network):
            return False
        return self.guesses.delay(network, asyncio.get_running_loop().time()) >= MAX_DELAY

    def _make_room(self, newcomer: str) -> bool:
        crowd = self.limiter.yielding_to(newcomer)
        candidates = [
            session
            for session, network in self.places.items()
            if network == crowd and session.can_yield
        ]
        if not candidates:
            return False
        now = asyncio.get_running_loop().time()
        slowest = min(candidates, key=lambda each: each.pace.recent(now))
        self.no_room(Limit.EVICTED, slowest.peer)
        self._release_place(slowest)
        slowest.yield_place()
        return True

    def _release_place(self, session: AdmittedConnection) -> None:
        network = self.places.pop(session, None)
        if network is not None:
            self.limiter.leave(network)

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
            delay = self.guesses.wrong(network_of(session.peer), asyncio.get_running_loop().time())
            if delay:
                await asyncio.sleep(min(delay, MAX_DELAY))
            return "550 5.1.1 No such mailbox here"
        if len(envelope.rcpt_tos) >= self.max_recipients:
            return "452 4.5.3 Too many recipients"
        return MISSING

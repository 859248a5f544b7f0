"""The page's sessions: kept here, so that a browser holds nothing but a random name of one.

In memory, and of this process: a restart logs everybody out, which costs a login, and a copy of the
database opens nothing.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

_IDLE: Final = 30 * 60.0  # seconds
_TOTAL: Final = 12 * 3600.0  # seconds
_MOST: Final = 200
_BYTES: Final = 32


@dataclass(slots=True)
class _Session:
    token_id: int
    ends_at: float
    idle_at: float


class Sessions:
    """Sessions that end when they were idle for half an hour, or after twelve hours.

    The one that was used the longest ago gives way to one too many.
    """

    def __init__(self, timer: Callable[[], float] = time.monotonic) -> None:
        self._timer = timer
        self._sessions: OrderedDict[bytes, _Session] = OrderedDict()

    def begin(self, token_id: int, former: str | None = None) -> str:
        """Begin a session and end the browser's former one; return the new one's secret name.

        Always a new name: one that somebody planted in the browser stays worth nothing.
        """
        if former is not None:
            self.end(former)
        name = secrets.token_urlsafe(_BYTES)
        now = self._timer()
        self._sessions[_key(name)] = _Session(token_id, now + _TOTAL, now + _IDLE)
        while len(self._sessions) > _MOST:
            self._sessions.popitem(last=False)
        return name

    def is_running(self, name: str) -> bool:
        """Whether a session is running; that doesn't count as its use."""
        return self.find(name, use=False) is not None

    def find(self, name: str, *, use: bool = True) -> int | None:
        """Return the id of a running session's token, and note that it was used."""
        session = self._sessions.get(_key(name))
        if session is None:
            return None
        now = self._timer()
        if now >= min(session.ends_at, session.idle_at):
            self.end(name)
            return None
        if use:
            session.idle_at = now + _IDLE
            self._sessions.move_to_end(_key(name))
        return session.token_id

    def end(self, name: str) -> None:
        """End a session, if it is one."""
        self._sessions.pop(_key(name), None)

    def __len__(self) -> int:
        """Return how many are kept."""
        return len(self._sessions)


def _key(name: str) -> bytes:
    """Return what a session is looked up by: its hash, as with tokens."""
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()

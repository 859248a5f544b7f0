"""A daemon's heartbeats, and what they tell an operator about the clock."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import Connection

from bridge import logs, metrics
from bridge.clock import ZERO, Clock
from bridge.store.beat import FAR, Beat, beat
from bridge.store.mend import Longest

log = logs.logger("store")

_WRITTEN: Final = datetime(2026, 1, 1, tzinfo=UTC)  # this program: no clock is right before it
_UNLIKE: Final = timedelta(minutes=5)  # what receivers of signatures put up with, too
_APART: Final = timedelta(seconds=30)
_REFUSED: Final = "endpoints refuse signatures that are five minutes off"


class Heart:
    """Beats with one clock, and sets it."""

    def __init__(self, owner: str, clock: Clock, longest: Longest) -> None:
        self._owner = owner
        self._clock = clock
        self._longest = longest
        self._last: Beat | None = None
        self._ahead = ZERO  # how far the clock was set ahead, while nothing is removed for that

    def beat(self, connection: Connection, lease: timedelta, *, first: bool = False) -> Beat:
        """Beat once, as `bridge.store.beat` does; `committed` must follow."""
        return beat(connection, self._owner, self._clock, lease, self._longest, first=first)

    def committed(self, made: Beat) -> None:
        """Set the clock by a beat that is in the database now, and say so if that is far."""
        made.set(self._clock)
        self._last = made
        self._ahead = max(ZERO, self._ahead + made.jump) if made.resting else ZERO
        metrics.CLOCK_APART_SECONDS.set(made.apart.total_seconds())
        if made.jump:
            way = "ahead" if made.jump > ZERO else "back"
            metrics.CLOCK_JUMPS.labels(way).inc()
            log.warning(
                "clock.set",
                seconds=round(made.jump.total_seconds(), 3),
                detail=f"the clock was set {way} by {_length(made.jump)}: what waits for its "
                "retry, and what is leased, was moved by as much",
            )

    @property
    def problems(self) -> Mapping[str, str | None]:
        """What is wrong with the clock, a sentence or None for each thing that may be."""
        if self._last is None:
            return {}
        return {
            "before": _before(self._last),
            "ahead": _set_ahead(self._ahead),
            "apart": _apart(self._last.apart),
        }


def _before(last: Beat) -> str | None:
    """Say that a clock is before what has happened already."""
    what, since = "this program was written", _WRITTEN
    if last.newest is not None and last.newest > since:
        what, since = "the newest arrival", last.newest
    if since - last.now <= _UNLIKE:
        return None
    return (
        f"the clock is {_length(since - last.now)} before {what}: look at `date` and the time "
        f"service (`timedatectl`); {_REFUSED}. If it is right now, the next arrival ends this"
    )


def _set_ahead(ahead: timedelta) -> str | None:
    if ahead < FAR:
        return None
    return (
        f"the clock was set ahead by {_length(ahead)}: look at `date`, and set it right if that "
        f"was a mistake; {_REFUSED}. [retention] removes nothing meanwhile"
    )


def _apart(apart: timedelta) -> str | None:
    if abs(apart) < _APART:
        return None
    way = "ahead of" if apart > ZERO else "behind"
    return (
        f"this machine's clock is {_length(apart)} {way} that of the database's server, by which "
        f"the bridge goes: let a time service keep both; {_REFUSED}"
    )


def _length(time: timedelta) -> str:
    """Write a length of time in its largest unit that is not a fraction."""
    seconds = abs(time.total_seconds())
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"

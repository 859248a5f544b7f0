"""The time that a bridge goes by: steady between its beats, and what it has lived through.

A machine's clock may be set by a year while deliveries wait. So nothing reads it between two beats:
what is due, and until when it is leased, goes by a clock that counts from the last beat on. A beat
sets it right, and in the same transaction moves what was written by it (`bridge.store.beat`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

ZERO: Final = timedelta()
# What a bridge that was stopped, or whose store was away, has lived at most between two beats.
MOST: Final = timedelta(seconds=15)
# Linux's other one stands still while the machine is suspended: after that, retries are due.
_STEADY: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def machine_time() -> datetime:
    """Return what the machine's clock says, in UTC."""
    return datetime.now(UTC)


def steady_seconds() -> float:
    """Return seconds that nobody can set, and that a suspended machine counts."""
    return time.clock_gettime(_STEADY)


class Clock:
    """Tells the time, in UTC; called by any thread, set by the store's writer alone.

    `machine` is the clock that somebody may set. `steady` gives seconds that nobody can, `awake`
    those without what the machine was suspended for. One that is `alone` is its own truth even
    where there is a database server with another one.
    """

    def __init__(
        self,
        machine: Callable[[], datetime] = machine_time,
        steady: Callable[[], float] = steady_seconds,
        awake: Callable[[], float] = time.monotonic,
        *,
        alone: bool = False,
    ) -> None:
        self.machine = machine
        self.awake = awake
        self.alone = alone
        self.moved = ZERO  # how far the database's times were moved in all, as this clock knows
        self._steady = steady
        self._began = awake()
        self._set = machine(), steady()
        self._beat: tuple[datetime, float] | None = None

    def __call__(self) -> datetime:
        """Return the time."""
        moment, at = self._set
        return moment + timedelta(seconds=self._steady() - at)

    def lived(self) -> datetime | None:
        """Return what the database's bridges have lived by now; None before our first beat."""
        if self._beat is None:
            return None
        lived, at = self._beat
        return lived + min(timedelta(seconds=self.awake() - at), MOST)

    @property
    def age(self) -> timedelta:
        """For how long it has gone, but for what the machine was suspended for."""
        return timedelta(seconds=self.awake() - self._began)

    def awake_since_beat(self, awake: float) -> timedelta:
        """Return what this bridge has lived since its last beat."""
        return ZERO if self._beat is None else timedelta(seconds=awake - self._beat[1])

    def set_right(self, behind: timedelta) -> None:
        """Go on by a clock that is ahead of this one by so much."""
        steady = self._steady()
        moment, at = self._set
        self._set = moment + timedelta(seconds=steady - at) + behind, steady

    def beat(self, lived: datetime, awake: float, moved: timedelta) -> None:
        """Note a beat: the bridges had lived so long when `awake` was this."""
        self._beat, self.moved = (lived, awake), moved


def behind(before: datetime, after: datetime, truth: datetime) -> timedelta:
    """Return how far a clock is behind the truth, which was read while it went on for a moment.

    What the reading itself took may explain a difference of half of it; then there is none.
    """
    took = after - before
    apart = truth - before - took / 2
    return apart if abs(apart) > took / 2 else ZERO

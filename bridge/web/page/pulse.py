"""What the overview's charts are drawn from: two hours of each endpoint, in memory."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Final

from bridge import metrics
from bridge.errors import StoreError
from bridge.store import Store
from bridge.store.snapshot import oldest_undelivered

SECONDS: Final = 30.0  # between two samples
SAMPLES: Final = 240
_DELIVERED: Final = "delivered"


def _floats() -> array[float]:
    return array("f")  # a list of floats takes eight times as much


@dataclass(slots=True)
class Course:
    """One endpoint's samples, the newest last: the oldest's age in seconds, deliveries a minute."""

    ages: array[float] = field(default_factory=_floats)
    rates: array[float] = field(default_factory=_floats)
    delivered: float = 0.0  # by this process, at the last sample

    def add(self, age: float, rate: float, delivered: float) -> None:
        """Add a sample; the oldest one goes if there is no room."""
        for values, value in ((self.ages, age), (self.rates, rate)):
            values.append(value)
            if len(values) > SAMPLES:
                del values[0]
        self.delivered = delivered


class Pulse:
    """Samples the endpoints while the page is open to anybody; `names` are the configured ones."""

    def __init__(
        self,
        store: Store,
        names: Sequence[str],
        is_open: Callable[[], Awaitable[bool]],
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._names = names
        self._is_open = is_open
        self._clock = clock
        self._courses: dict[str, Course] = {}
        self._last: datetime | None = None

    def course(self, endpoint: str) -> Course:
        """Return an endpoint's samples; none if it is new."""
        return self._courses.get(endpoint) or Course()

    async def run(self) -> None:
        """Take samples until cancelled."""
        while True:
            try:
                if await self._is_open():
                    await self.sample()
            except StoreError:
                self._last = None  # the health says so; a gap would be drawn as a rate
            await asyncio.sleep(SECONDS)

    async def sample(self) -> None:
        """Take one sample; raises StoreError."""
        names = tuple(self._names)
        oldest = await self._store.read(partial(oldest_undelivered, endpoints=names))
        now = self._clock()
        delivered = _delivered()
        minutes = None if self._last is None else (now - self._last).total_seconds() / 60
        for name in names:
            total = delivered.get(name, 0.0)
            course = self._courses.setdefault(name, Course(delivered=total))
            age = max(0.0, (now - oldest.get(name, now)).total_seconds())
            course.add(age, (total - course.delivered) / minutes if minutes else 0.0, total)
        for name in self._courses.keys() - set(names):
            del self._courses[name]
        self._last = now


def _delivered() -> dict[str, float]:
    return {
        sample.labels["endpoint"]: sample.value
        for family in metrics.ATTEMPTS.collect()
        for sample in family.samples
        if sample.labels["result"] == _DELIVERED
    }

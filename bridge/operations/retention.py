"""Removes what was kept for as long as `[retention]` says, while the daemon runs."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from sqlalchemy import Connection

from bridge import logs, metrics
from bridge.errors import StoreError
from bridge.store import Store
from bridge.store.beat import is_resting
from bridge.store.retention import IDS_AT_ONCE, STAGES, Stage, find_due, last_id, look

log = logs.logger("retention")

_INTERVAL: Final = 3600.0  # seconds between two sweeps
_FROM_THE_START: Final = 24  # so many sweeps: what was reparsed meanwhile has an old id
_FEWEST: Final = 10  # rows in one transaction
_MOST: Final = 200
_PIECE: Final = 0.0015  # seconds that a transaction should take: others wait for it
_GROWTH: Final = 1.25  # of the next transaction at most
_REST: Final = 19.0  # the writer is ours for a twentieth of the time at most


class Retention:
    """Sweeps the store, in pieces that the writer does between everything else.

    A sweep begins where the last one found the first row that waits: young, or undelivered.
    The first one of a day begins at the first row.
    """

    def __init__(
        self,
        store: Store,
        ages: Mapping[str, float],
        clock: Callable[[], datetime],
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._store = store
        self._ages = {name: timedelta(seconds=age) for name, age in ages.items()}
        self._clock = clock
        self._pause = pause
        self._timer = timer
        self._sweeps = 0
        self._done: dict[str, int] = {}  # up to which id nothing is left
        self._rows = _FEWEST  # in the next transaction

    async def run(self) -> None:
        """Sweep now and at intervals, until cancelled; a store that is away is tried again."""
        while self._ages:
            try:
                removed = await self.sweep()
            except StoreError as error:
                log.warning("retention.failed", detail=str(error))
            else:
                if removed:
                    counts = ", ".join(f"{count} {kind}" for kind, count in removed.items())
                    log.info("retention.done", removed=counts)
            await self._pause(_INTERVAL)

    async def sweep(self) -> Mapping[str, int]:
        """Remove everything that is due; return how many rows, by stage. Raises StoreError.

        Nothing for some time after the clock was set far ahead, or after a stop as long as that:
        what is removed for an age that was none is gone when the clock is set right.
        """
        if await self._store.read(is_resting):
            log.warning("retention.resting", detail="the clock may be wrong: nothing is removed")
            return {}
        if self._sweeps % _FROM_THE_START == 0:
            self._done.clear()
        self._sweeps += 1
        removed: Counter[str] = Counter()
        for name, stage in STAGES.items():
            age = self._ages.get(name)
            if age and (count := await self._sweep(stage, self._clock() - age)):
                removed[name] = count
        return removed

    async def _sweep(self, stage: Stage, before: datetime) -> int:
        last = await self._store.read(partial(last_id, stage=stage))
        after = self._done.get(stage.name, 0)
        waiting: int | None = None
        removed = 0
        while after < last:
            part = await self._store.read(partial(look, stage=stage, after=after, before=before))
            waiting = part.waiting if waiting is None else waiting
            if not part.old and part.waiting is not None:
                break  # in the order of arrival: what follows is younger
            removed += await self._remove(stage, after, before)
            after += IDS_AT_ONCE
        self._done[stage.name] = min(last, after) if waiting is None else waiting - 1
        return removed

    async def _remove(self, stage: Stage, after: int, before: datetime) -> int:
        """Remove what is due of one part, piece by piece."""
        end = after + IDS_AT_ONCE
        removed = 0
        while True:
            rows = self._rows
            ids = await self._store.read(
                partial(find_due, stage=stage, after=after, last=end, before=before, most=rows)
            )
            if ids:
                removed += await self._purge(stage, ids)
            if len(ids) < rows:
                return removed
            after = ids[-1]

    async def _purge(self, stage: Stage, ids: Sequence[int]) -> int:
        began = 0.0

        def purge(connection: Connection) -> int:
            """Purge, and note when the writer got to it."""
            nonlocal began
            began = self._timer()
            return stage.purge(connection, ids, now)

        now = self._clock()
        purged = await self._store.change(purge, spare=True)
        took = self._timer() - began
        metrics.PURGED.labels(stage.name).inc(purged)
        self._rows = next_rows(len(ids), took)
        await self._pause(_REST * took)
        return purged


def next_rows(rows: int, seconds: float) -> int:
    """Return how many rows the next transaction has, by how long one of so many took."""
    fitting = rows * min(_GROWTH, _PIECE / max(seconds, _PIECE / _MOST))
    return max(_FEWEST, min(_MOST, round(fitting)))

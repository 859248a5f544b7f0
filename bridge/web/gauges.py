"""The gauges that show the store, updated when somebody scrapes them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Final

from bridge import metrics
from bridge.model import DeliveryState, EndpointState, EndpointStatus
from bridge.store import Store, endpoint_statuses
from bridge.store.snapshot import Snapshot, oldest_undelivered, take_snapshot

_ACTIVE: Final = EndpointStatus(EndpointState.ACTIVE)
_OPEN_STATES: Final = (DeliveryState.PENDING, DeliveryState.HELD, DeliveryState.DEAD)
# Counting a million deliveries takes half a second of the disk and of a processor; scrapers come
# every few seconds. So the counts may be this many times older than they took to make.
_REST: Final = 50.0


class Gauges:
    """The gauges of one bridge: counts of what is open, and the age of the oldest of it."""

    def __init__(
        self,
        store: Store,
        endpoints: Sequence[str],
        clock: Callable[[], datetime],
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._endpoints = endpoints
        self._clock = clock
        self._timer = timer
        self._count_again_at = 0.0

    async def refresh(self) -> None:
        """Update them; raises StoreError if the store doesn't answer.

        Ages and endpoints' states are exact. Counts are, too, unless they take long.
        """
        oldest = await self._store.read(partial(oldest_undelivered, endpoints=self._endpoints))
        now = self._clock()
        for endpoint in self._endpoints:
            since = oldest.get(endpoint, now)
            waited = max(0.0, (now - since).total_seconds())
            metrics.OLDEST_UNDELIVERED_SECONDS.labels(endpoint).set(waited)
        statuses = await self._store.read(endpoint_statuses)
        for endpoint in self._endpoints:
            current = statuses.get(endpoint, _ACTIVE).state
            for each in EndpointState:
                metrics.ENDPOINT_STATE.labels(endpoint, each.value).set(each is current)
        free = await self._store.free_bytes()
        if free is not None:
            metrics.FREE_BYTES.set(free)
        began = self._timer()
        if began >= self._count_again_at:
            self._show(await self._store.read(take_snapshot), now)
            ended = self._timer()
            self._count_again_at = ended + _REST * (ended - began)

    def _show(self, snapshot: Snapshot, now: datetime) -> None:
        # Cleared first, so that series that left the store leave the page too.
        metrics.DELIVERIES.clear()
        metrics.DELIVERIES_BEHIND.clear()
        metrics.OLDEST_DUE_SECONDS.clear()
        metrics.SEQUENCE.clear()
        metrics.QUARANTINED.clear()
        for endpoint in self._endpoints:
            for state in _OPEN_STATES:
                metrics.DELIVERIES.labels(endpoint, state.value).set(0)
            metrics.DELIVERIES_BEHIND.labels(endpoint).set(0)
            metrics.OLDEST_DUE_SECONDS.labels(endpoint).set(0)
            metrics.SEQUENCE.labels(endpoint).set(snapshot.sequences.get(endpoint, 0))
        for (endpoint, state), count in snapshot.deliveries.items():
            metrics.DELIVERIES.labels(endpoint, state.value).set(count)
        for endpoint, count in snapshot.behind.items():
            metrics.DELIVERIES_BEHIND.labels(endpoint).set(count)
        for endpoint, due in snapshot.oldest_due.items():
            waited = max(0.0, (now - due).total_seconds())
            metrics.OLDEST_DUE_SECONDS.labels(endpoint).set(waited)
        for reason, count in snapshot.quarantine.items():
            metrics.QUARANTINED.labels(reason.value).set(count)

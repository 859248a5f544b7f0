"""Retries deliveries by filter: previewed, ordered, carried out by the daemon at a rate."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import datetime
from functools import partial
from typing import Final

from bridge import logs
from bridge.errors import StoreError
from bridge.operations.documents import Document, when
from bridge.operations.replay import TICK, allowed_now
from bridge.store import Store, retries
from bridge.store.pages import DeliveryFilter
from bridge.store.retries import Retry

log = logs.logger("retry")

_COUNTED_AT_ONCE: Final = 1000


async def preview(store: Store, which: DeliveryFilter) -> Document:
    """Count what a retry would try: {"deliveries"}; raises NotPossible as `start` does."""
    retries.require_filter(which)
    last = await store.read(retries.newest_delivery)
    position = counted = 0
    while position < last:
        look = partial(retries.look, which=which, after=position, last=last, most=_COUNTED_AT_ONCE)
        found = await store.read(look)
        counted, position = counted + len(found.ids), found.position
    return {"deliveries": counted}


async def start(
    store: Store,
    clock: Callable[[], datetime],
    which: DeliveryFilter,
    *,
    rate: float,
    who: str,
    why: str | None,
) -> Document:
    """Order a retry of all pending, held and dead deliveries that match; {"retry": id}.

    The daemon retries `rate` of them a second. Deliveries that are made later are not part of it.
    Raises NotPossible for an empty filter, and for a state that can't be retried.
    """
    retries.require_filter(which)
    order = partial(retries.order, which=which, rate=rate, who=who, why=why, now=clock())
    return {"retry": await store.change(order)}


async def list_retries(store: Store) -> list[Document]:
    """List the newest retries."""
    return [_document(each) for each in await store.read(retries.list_retries)]


async def show_retry(store: Store, retry_id: int) -> Document:
    """Return a retry and how far it is; raises NotFound."""
    return _document(await store.read(partial(retries.find_retry, retry_id=retry_id)))


async def cancel(store: Store, clock: Callable[[], datetime], retry_id: int) -> Document:
    """Cancel a retry: {"cancelled": id}; raises NotFound, or NotPossible if it has ended."""
    await store.change(partial(retries.cancel, retry_id=retry_id, now=clock()))
    return {"cancelled": retry_id}


class Retrier:
    """Carries out the running retries, in steps that are committed one by one."""

    def __init__(
        self,
        store: Store,
        clock: Callable[[], datetime],
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._store = store
        self._clock = clock
        self._pause = pause

    async def run(self) -> None:
        """Carry out what is ordered, until cancelled; a store that is away is tried again."""
        while True:
            try:
                await self.step()
            except StoreError as error:
                log.warning("retry.failed", detail=str(error))
            await self._pause(TICK)

    async def step(self) -> None:
        """Take each running retry one step on, as far as its rate allows. Raises StoreError."""
        for each in await self._store.read(partial(retries.list_retries, running=True)):
            await self._advance(each)

    async def _advance(self, retry: Retry) -> None:
        now = self._clock()
        most = allowed_now(retry.rate, retry.changed_at, now)
        if most < 1:
            return
        look = partial(
            retries.look, which=retry.which, after=retry.position, last=retry.last, most=most
        )
        found = await self._store.read(look)
        await self._store.change(partial(retries.advance, retry=retry, found=found, now=now))
        if found.position >= retry.last:
            log.info("retry.done", retry=retry.id)


def shown_filter(which: DeliveryFilter) -> str:
    """Return a filter as the log of what was done names it."""
    named = ", ".join(f"{name} {value}" for name, value in _filter(which).items())
    return f"deliveries: {named or 'all'}"


def _filter(which: DeliveryFilter) -> Document:
    named = {name: value for name, value in asdict(which).items() if value is not None}
    return {
        name: when(each) if isinstance(each, datetime) else each for name, each in named.items()
    }


def _document(retry: Retry) -> Document:
    return {
        "id": retry.id,
        "filter": _filter(retry.which),
        "state": retry.state,
        "rate": retry.rate,
        "retried": retry.retried,
        "skipped": retry.skipped,
        "looked_at": round(retry.position / retry.last, 3) if retry.last else 1.0,
        "created_at": when(retry.created_at),
        "changed_at": when(retry.changed_at),
        "who": retry.who,
        "why": retry.why,
    }

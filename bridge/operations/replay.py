"""Replays messages: a new delivery of the same event, ordered by an operator."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Final

from sqlalchemy import Connection

from bridge import formats, logs, metrics
from bridge.config.values import nearest
from bridge.delivery.endpoint import Endpoint
from bridge.errors import NotFound, NotPossible, StoreError
from bridge.model import DeliveryState
from bridge.operations.documents import Document, when
from bridge.store import Store, queries, replays
from bridge.store.replays import Replay, Replayed, Selection
from bridge.store.search import find_message
from bridge.store.unaltered import altered_messages

log = logs.logger("replay")

DEFAULT_RATE: Final = 10.0  # deliveries a second
TICK: Final = 1.0  # seconds between two looks at the orders
_LOOKED_AT: Final = 200  # messages of one step


@dataclass(frozen=True, slots=True)
class _Step:
    """What one look at a replay's next messages found."""

    new: Sequence[Replayed]
    skipped: int
    position: int


async def preview(store: Store, endpoint: Endpoint, selection: Selection) -> Document:
    """Count what a replay would do: {"messages": to be delivered, "skipped"}.

    Skipped are messages that were purged, that the endpoint's filters reject, and that the
    endpoint has yet to get anyway. Raises NotFound and NotPossible as `start` does.
    """
    selection = await _checked(store, selection)
    last = await store.read(replays.newest_arrival)
    position = messages = skipped = 0
    while position < last:
        look = partial(
            _look, endpoint=endpoint, selection=selection, after=position, last=last,
            most=_LOOKED_AT,
        )  # fmt: skip
        step = await store.read(look)
        messages, skipped = messages + len(step.new), skipped + step.skipped
        position = step.position
    return {"messages": messages, "skipped": skipped}


async def start(
    store: Store,
    endpoint: Endpoint,
    selection: Selection,
    clock: Callable[[], datetime],
    rate: float = DEFAULT_RATE,
) -> Document:
    """Order a replay, which the daemon carries out at `rate` deliveries a second; {"replay": id}.

    What arrives later is not part of it. Raises NotPossible for an empty selection, NotFound if a
    message does not exist.
    """
    selection = await _checked(store, selection)
    now = clock()
    return {
        "replay": await store.change(
            lambda connection: replays.order(connection, endpoint.name, selection, rate, now)
        )
    }


async def list_replays(store: Store) -> list[Document]:
    """List replays, newest first."""
    return [_document(each) for each in await store.read(replays.list_replays)]


async def cancel(store: Store, replay_id: int, clock: Callable[[], datetime]) -> Document:
    """Cancel a replay: {"cancelled": id}; raises NotFound, or NotPossible if it has ended."""
    now = clock()
    await store.change(lambda connection: replays.cancel(connection, replay_id, now))
    return {"cancelled": replay_id}


def endpoint_named(name: str, endpoints: Sequence[Endpoint]) -> Endpoint:
    """Find a configured endpoint; raises NotFound, with the nearest name."""
    names = [each.name for each in endpoints]
    if name not in names:
        near = nearest(name, names)
        raise NotFound(f"no endpoint {name!r}" + (f", did you mean {near!r}?" if near else ""))
    return endpoints[names.index(name)]


def allowed_now(rate: float, since: datetime, now: datetime) -> int:
    """Return how many deliveries a rate allows, since the last step.

    Two ticks' worth at most, so that nothing is made up for after a stop.
    """
    most = math.ceil(rate * 2 * TICK)
    # The last step was in the future if the clock was set back since.
    return most if since > now else min(most, int(rate * (now - since).total_seconds()))


class Replayer:
    """Carries out the running replays, in steps that are committed one by one."""

    def __init__(
        self,
        store: Store,
        endpoints: Sequence[Endpoint],
        clock: Callable[[], datetime],
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._store = store
        self.use(endpoints)
        self._clock = clock
        self._pause = pause

    def use(self, endpoints: Sequence[Endpoint]) -> None:
        """Replay to these endpoints from now on."""
        self._endpoints = {each.name: each for each in endpoints}

    async def run(self) -> None:
        """Carry out what is ordered, until cancelled; a store that is away is tried again."""
        while True:
            try:
                await self.step()
            except StoreError as error:
                log.warning("replay.failed", detail=str(error))
            await self._pause(TICK)

    async def step(self) -> None:
        """Take each running replay one step on, as far as its rate allows. Raises StoreError."""
        for each in await self._store.read(partial(replays.list_replays, running=True)):
            # One for an endpoint that left the config waits until it is back.
            if each.endpoint in self._endpoints:
                await self._advance(each, self._endpoints[each.endpoint])

    async def _advance(self, order: Replay, endpoint: Endpoint) -> None:
        now = self._clock()
        allowed = allowed_now(order.rate, order.changed_at, now)
        if allowed < 1:
            return
        look = partial(
            _look, endpoint=endpoint, selection=order.selection, after=order.position,
            last=order.last, most=allowed,
        )  # fmt: skip
        step = await self._store.read(look)
        written = await self._store.change(
            lambda connection: replays.advance(
                connection, order, step.new, step.position, now, skipped=step.skipped
            )
        )
        metrics.REPLAYED.labels(endpoint.name).inc(written)
        if step.position >= order.last:
            log.info("replay.done", replay=order.id, endpoint=endpoint.name)


def _look(
    connection: Connection, endpoint: Endpoint, selection: Selection, after: int, last: int,
    most: int,
) -> _Step:  # fmt: skip
    """Find the next messages to replay, `most` of them; purely read."""
    rows = queries.walk_messages(
        connection, selection.conditions(), after=after, last=last, limit=_LOOKED_AT
    )
    ids = [row.message.id for row in rows]
    undelivered = replays.undelivered_to(connection, ids, endpoint.name)
    altered = altered_messages(connection, ids)
    new: list[Replayed] = []
    skipped = 0
    for row in rows:
        if len(new) == most:
            return _Step(new, skipped, after)
        after = row.arrival_id
        planned = endpoint.plan(row.message)
        filtered = planned.state is DeliveryState.FILTERED
        if row.purged_at is not None or filtered or row.message.id in undelivered | altered:
            skipped += 1
            continue
        (event,) = formats.events(row.message, [planned.format])
        new.append(Replayed(row.message.id, event, planned))
    return _Step(new, skipped, after if len(rows) == _LOOKED_AT else last)


async def _checked(store: Store, selection: Selection) -> Selection:
    """Refuse an empty selection, and complete abbreviated ids."""
    if selection.is_empty:
        raise NotPossible("name messages, or a filter: without any, all messages would be replayed")
    ids = [await store.read(partial(find_message, wanted=each)) for each in selection.ids]
    return replace(selection, ids=tuple(dict.fromkeys(ids)))


def _document(order: Replay) -> Document:
    return {
        "id": order.id,
        "endpoint": order.endpoint,
        "state": order.state,
        "rate": order.rate,
        "written": order.written,
        "skipped": order.skipped,
        "looked_at": round(order.position / order.last, 3) if order.last else 1.0,
        "created_at": when(order.created_at),
        "changed_at": when(order.changed_at),
    }

"""Lists, shows and reparses quarantined mail."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Final

from sqlalchemy import Connection

from bridge.errors import StoreUnavailable
from bridge.intake import Intake
from bridge.model import Arrival, Receipt, Unreadable
from bridge.operations.batch import MAX_ARRIVALS, MAX_BYTES, Ingested, ingest_batch
from bridge.operations.documents import Document, arrival_document
from bridge.store import Store, queries
from bridge.store import discard as discarding
from bridge.store.discard import QuarantineFilter
from bridge.store.unaltered import require_unaltered

_DISCARDS_AT_ONCE: Final = 200


async def list_quarantine(
    store: Store, *, limit: int, before: int | None = None, reason: str | None = None
) -> list[Document]:
    """List quarantined mail, newest first, without envelope addresses."""
    found = await store.read(
        partial(queries.list_quarantine, limit=limit, before=before, reason=reason)
    )
    return [arrival_document(row, reveal=False) for row in found]


async def show_arrival(store: Store, arrival_id: int) -> Document:
    """Return one arrival in any state, with its envelope addresses."""
    found = await store.read(partial(queries.show_arrival, arrival_id=arrival_id))
    return arrival_document(found.row, reveal=True)


async def raw_arrival(store: Store, arrival_id: int) -> bytes:
    """Return an arrival's raw bytes; raises NotPossible if they were purged."""
    await store.read(partial(_require, arrival_ids=[arrival_id]))
    return (await _stored(store, arrival_id)).raw


async def quarantined(store: Store) -> list[int]:
    """Return the ids of all quarantined mail that can be reparsed, oldest first."""
    return await store.read(queries.quarantined_ids)


async def match(store: Store, which: QuarantineFilter) -> Document:
    """Count what `discard` would discard: {"mails", "bytes"}; raises NotFound or NotPossible."""
    found = await store.read(partial(discarding.match, which=which))
    return {"mails": found.mails, "bytes": found.size}


async def discard(
    store: Store,
    which: QuarantineFilter,
    because: str,
    clock: Callable[[], datetime],
    progress: Callable[[int], None] = lambda _: None,
) -> Document:
    """Discard quarantined arrivals: their raw mails are removed, their rows say why.

    In pieces, so that mail that comes in meanwhile does not wait; an interrupted one goes on when
    it is called again. Returns {"discarded"}. Raises NotFound or NotPossible, and changes nothing,
    if one of the ids is not in quarantine; StoreUnavailable. `progress` is called with the number
    of arrivals discarded.
    """
    await store.read(partial(discarding.match, which=which))
    done = 0
    while True:
        change = partial(
            discarding.discard, which=which, because=because, now=clock(), most=_DISCARDS_AT_ONCE
        )
        discarded = await store.change(change)
        done += discarded
        progress(discarded)
        if discarded < _DISCARDS_AT_ONCE:
            return {"discarded": done}


async def reparse(
    store: Store,
    intake: Intake,
    arrival_ids: Sequence[int],
    progress: Callable[[int], None],
) -> list[Document]:
    """Read stored arrivals again with the current config, and store the results.

    A mail that can now be parsed becomes the message it would have been, with the same id, and is
    delivered. Raises NotFound or NotPossible, and changes nothing, if one of the ids can't be
    reparsed; StoreUnavailable or StoreFull when the store accepts no more. `progress` is called
    with the number of arrivals done.
    """
    await store.read(partial(_require, arrival_ids=arrival_ids))
    documents: list[Document] = []
    async for batch in _batches(store, arrival_ids):
        ingested = await ingest_batch(intake, batch)
        for (_, arrival_id), each in zip(batch, ingested, strict=True):
            if isinstance(each.receipt, StoreUnavailable):
                raise each.receipt
            documents.append(_document(arrival_id, each))
        progress(len(batch))
    return documents


def _require(connection: Connection, arrival_ids: Sequence[int]) -> None:
    for each in arrival_ids:
        queries.require_raw(connection, each)


async def _batches(
    store: Store, arrival_ids: Sequence[int]
) -> AsyncIterator[list[tuple[Arrival, int]]]:
    batch: list[tuple[Arrival, int]] = []
    size = 0
    for each in arrival_ids:
        await store.read(partial(require_unaltered, arrival_id=each))
        arrival = await _stored(store, each)
        batch.append((arrival, each))
        size += len(arrival.raw)
        if len(batch) >= MAX_ARRIVALS or size >= MAX_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


async def _stored(store: Store, arrival_id: int) -> Arrival:
    found = await store.read(partial(queries.show_arrival, arrival_id=arrival_id))
    return found.arrival


def _document(arrival_id: int, ingested: Ingested) -> Document:
    receipt, result = ingested.receipt, ingested.result
    if not isinstance(receipt, Receipt):
        return {
            "arrival_id": arrival_id, "outcome": "refused", "message_id": None, "reason": None,
            "detail": ingested.detail,
        }  # fmt: skip
    return {
        "arrival_id": arrival_id,
        "outcome": receipt.outcome.value,
        "message_id": receipt.message_id,
        "reason": result.reason.value if isinstance(result, Unreadable) else None,
        "detail": ingested.detail or None,
    }

"""What was found damaged, and that an operator has accepted it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial

from bridge.operations.documents import Document, when
from bridge.store import Store
from bridge.store import damage as damages
from bridge.store.damage import Damage


async def list_damage(store: Store, *, accepted: bool) -> list[Document]:
    """List what was found, oldest first; `accepted`: what was accepted, too."""
    found = await store.read(partial(damages.list_damage, accepted=accepted))
    return [_document(each) for each in found]


async def accept(
    store: Store, damage_id: int, because: str, clock: Callable[[], datetime]
) -> Document:
    """Accept a damage for a reason: {"accepted": id}.

    Health and audit are quiet about it from then on. Raises NotFound, or NotPossible if it was
    accepted before.
    """
    now = clock()
    await store.change(lambda connection: damages.accept(connection, damage_id, because, now))
    return {"accepted": damage_id}


def _document(found: Damage) -> Document:
    return {
        "id": found.id,
        "kind": found.kind,
        "detail": str(found),
        "event_id": found.event_id,
        "first": found.first,
        "last": found.last,
        "found_at": when(found.found_at),
        "accepted_at": when(found.accepted_at) if found.accepted_at is not None else None,
        "because": found.because,
    }

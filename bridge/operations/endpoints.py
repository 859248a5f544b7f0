"""Lists, holds and resumes endpoints."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime

from sqlalchemy import Connection

from bridge.config.values import nearest
from bridge.errors import Changed, NotFound
from bridge.model import DeliveryState, EndpointState, EndpointStatus
from bridge.operations.documents import Document, when
from bridge.store import (
    Snapshot,
    Store,
    endpoint_statuses,
    hold_endpoint,
    resume_endpoint,
    take_snapshot,
)
from bridge.store.endpoints import held_endpoints


async def list_endpoints(store: Store, configured: Sequence[str]) -> list[Document]:
    """List endpoints with their undelivered counts, including those no longer in the config."""

    def look(connection: Connection) -> tuple[Snapshot, Mapping[str, EndpointStatus]]:
        return take_snapshot(connection), endpoint_statuses(connection)

    snapshot, statuses = await store.read(look)
    names = [*configured, *sorted(_in_store(snapshot) - set(configured))]
    return [_document(name, name in configured, snapshot, statuses.get(name)) for name in names]


async def hold(
    store: Store,
    name: str,
    reason: str,
    configured: Sequence[str],
    clock: Callable[[], datetime],
    seen: Collection[str] | None = None,
) -> Document:
    """Hold an endpoint: its deliveries wait until it is resumed; {"held": count}.

    Raises NotFound, with the nearest name, if neither config nor store knows it; Changed if none of
    `seen` is its version any more.
    """
    now = clock()

    def change(connection: Connection) -> int:
        _require_known(connection, name, configured)
        _require_as_seen(connection, name, seen)
        return hold_endpoint(connection, name, reason, now)

    return {"held": await store.change(change)}


async def resume(
    store: Store,
    name: str,
    configured: Sequence[str],
    clock: Callable[[], datetime],
    seen: Collection[str] | None = None,
) -> Document:
    """Release an endpoint's held deliveries, with a new schedule; {"resumed": count}.

    Raises NotFound and Changed as `hold` does.
    """
    now = clock()

    def change(connection: Connection) -> int:
        _require_known(connection, name, configured)
        _require_as_seen(connection, name, seen)
        return resume_endpoint(connection, name, now)

    return {"resumed": await store.change(change)}


async def show_endpoint(store: Store, name: str, configured: Sequence[str]) -> tuple[Document, str]:
    """Return an endpoint as in the list, and its version; raises NotFound as `hold` does.

    The version changes when somebody holds or resumes it, and not with each delivery.
    """

    def look(connection: Connection) -> tuple[Document, str]:
        _require_known(connection, name, configured)
        snapshot, status = take_snapshot(connection), endpoint_statuses(connection).get(name)
        document = _document(name, name in configured, snapshot, status)
        return document, _version(connection, name)

    return await store.read(look)


def _version(connection: Connection, name: str) -> str:
    status = endpoint_statuses(connection).get(name)
    state = None if status is None else (status.state.value, when(status.since))
    seen = repr((state, held_endpoints(connection).get(name)))
    return hashlib.sha256(seen.encode()).hexdigest()[:32]


def _require_as_seen(connection: Connection, name: str, seen: Collection[str] | None) -> None:
    if seen is not None and _version(connection, name) not in seen:
        raise Changed(f"somebody has changed endpoint {name} meanwhile: look at it again")


def _document(
    name: str, configured: bool, snapshot: Snapshot, status: EndpointStatus | None
) -> Document:
    def count(state: DeliveryState) -> int:
        return snapshot.deliveries.get((name, state), 0)

    return {
        "name": name,
        "configured": configured,
        "state": (EndpointState.ACTIVE if status is None else status.state).value,
        "since": None if status is None else when(status.since),
        "failover_since": None if status is None else when(status.failover_since),
        "held": snapshot.held_endpoints.get(name),
        "pending": count(DeliveryState.PENDING),
        "behind": snapshot.behind.get(name, 0),
        "held_deliveries": count(DeliveryState.HELD),
        "dead": count(DeliveryState.DEAD),
        "sequence": snapshot.sequences.get(name, 0),
        "oldest_due": when(snapshot.oldest_due.get(name)),
    }


def _in_store(snapshot: Snapshot) -> set[str]:
    return {endpoint for endpoint, _ in snapshot.deliveries} | set(snapshot.held_endpoints)


def _require_known(connection: Connection, name: str, configured: Sequence[str]) -> None:
    """Reject a name that neither config nor store knows: a typo must not look like success."""
    known = set(configured) | _in_store(take_snapshot(connection))
    if name not in known:
        near = nearest(name, sorted(known))
        raise NotFound(f"no endpoint {name!r}" + (f", did you mean {near!r}?" if near else ""))

"""The states of endpoints. Deliveries to one that is held wait until an operator resumes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    case,
    func,
    insert,
    literal,
    literal_column,
    null,
    select,
    update,
)

from bridge.model import DeliveryState, EndpointState, EndpointStatus, Order
from bridge.store import postgres
from bridge.store.lease import UNBEGUN
from bridge.store.statements import Statement
from bridge.store.tables import deliveries, endpoints
from bridge.store.tallies import PARKED, read_counts
from bridge.store.types import microseconds

NOT_CONFIGURED: Final = "endpoint is not in the config"
_OPERATOR: Final = "operator"  # who holds an endpoint
_ENDPOINT: Final = "endpoint"

# Literals, not parameters: SQLite uses a partial index only if the query itself says its WHERE.
PENDING: Final[ColumnElement[bool]] = deliveries.c.state == literal_column("'pending'")
STOPPED: Final[ColumnElement[bool]] = deliveries.c.state.in_(
    [literal_column("'held'"), literal_column("'dead'")]
)
HELD: Final[ColumnElement[bool]] = STOPPED & (deliveries.c.state == literal_column("'held'"))
DEAD: Final[ColumnElement[bool]] = STOPPED & (deliveries.c.state == literal_column("'dead'"))
WAITING_OR_HELD: Final[ColumnElement[bool]] = deliveries.c.state.in_(
    [literal_column("'pending'"), literal_column("'held'")]
)
DELIVERED: Final[ColumnElement[bool]] = deliveries.c.state == literal_column("'delivered'")
UNLEASED: Final[ColumnElement[bool]] = deliveries.c.leased_by.is_(None)

# When a delivery is due that waits behind another one of its conversation: never, until it is
# woken (bridge.store.conversations).
BEHIND: Final = datetime(9999, 1, 1, tzinfo=UTC)
EVER: Final = datetime(1970, 1, 1, tzinfo=UTC)  # before any delivery was due

_WAITED_FOR: Final = frozenset({DeliveryState.PENDING.value, PARKED})
IS_PARKED: Final = PENDING & (deliveries.c.due_at == literal_column(str(microseconds(BEHIND))))

_NOT_CONFIGURED: Final = (deliveries.c.state == literal_column("'held'")) & (
    deliveries.c.reason == literal_column(f"'{NOT_CONFIGURED}'")
)

_UNTRIED: Final = deliveries.c.attempts == literal_column("0")
# `begun_by` in time lived: with its next claim.
WOKEN: Final[ColumnElement[datetime]] = case(
    (
        _UNTRIED,
        literal_column(str(microseconds(UNBEGUN)), deliveries.c.lived_from.type),
    ),
    else_=deliveries.c.lived_from,
)

_HELD_ENDPOINTS: Final = Statement(
    select(endpoints.c.name, endpoints.c.held_reason).where(endpoints.c.held_reason.is_not(None))
)


def held_endpoints(connection: Connection) -> Mapping[str, str]:
    """Return the endpoints that are held, each with the reason."""
    return dict(_HELD_ENDPOINTS.select(connection))


def endpoint_statuses(connection: Connection) -> Mapping[str, EndpointStatus]:
    """Return the status of each endpoint that is not active."""
    found = {row.name: _status(row) for row in connection.execute(select(endpoints))}
    return {name: each for name, each in found.items() if each.state is not EndpointState.ACTIVE}


def failing_endpoints(connection: Connection) -> frozenset[str]:
    """Return the endpoints that are failing, held or not."""
    failing = select(endpoints.c.name).where(endpoints.c.failing_since.is_not(None))
    return frozenset(connection.execute(failing).scalars())


def set_failing(connection: Connection, endpoint: str, since: datetime | None) -> None:
    """Record that an endpoint is failing, or no longer (None). Needs a write transaction.

    One that isn't failing uses its own URL.
    """
    over = {"failover_since": None} if since is None else {}
    _set(connection, endpoint, {"failing_since": since, **over})


def set_failover(connection: Connection, endpoint: str, since: datetime) -> None:
    """Record that an endpoint's failover URL is in use. Needs a write transaction."""
    postgres.lock_holds(connection, change=True)
    if endpoint not in failing_endpoints(connection):
        set_failing(connection, endpoint, since)
    _set(connection, endpoint, {"failover_since": since})


def failed_over(connection: Connection) -> Mapping[str, datetime]:
    """Return the endpoints whose failover URL is in use, and since when."""
    over = select(endpoints.c.name, endpoints.c.failover_since)
    rows = connection.execute(over.where(endpoints.c.failover_since.is_not(None)))
    return {row.name: row.failover_since for row in rows}


def hold_endpoint(
    connection: Connection, endpoint: str, reason: str, now: datetime, *, refused: bool = False
) -> int:
    """Hold an endpoint and its pending deliveries; return how many those are.

    `refused`: by the endpoint itself, not by an operator. In-flight attempts go on: their records
    find the endpoint held. Deliveries that are written later are written held. Needs a write
    transaction.
    """
    postgres.lock_holds(connection, change=True)
    by = _ENDPOINT if refused else _OPERATOR
    _set(connection, endpoint, {"held_reason": reason, "held_at": now, "held_by": by})
    held = connection.execute(
        update(deliveries)
        .where(deliveries.c.endpoint == endpoint, PENDING, UNLEASED)
        .values(state=DeliveryState.HELD, reason=reason, changed_at=now)
    )
    return held.rowcount


def resume_endpoint(connection: Connection, endpoint: str, now: datetime) -> int:
    """Release an endpoint's deliveries, each with a new schedule; return how many were held.

    Also those that were held one by one. Needs a write transaction.
    """
    postgres.lock_holds(connection, change=True)
    _set(connection, endpoint, {"held_reason": None, "held_at": None, "held_by": None})
    return _release(connection, [deliveries.c.endpoint == endpoint, HELD], now)


def match_config(
    connection: Connection,
    configured: Sequence[str],
    now: datetime,
    orders: Mapping[str, Order] = MappingProxyType({}),
) -> None:
    """Hold what is pending for endpoints that left the config; release it when they are back.

    In-flight deliveries are skipped. Where an endpoint's order within conversations has changed,
    what waits behind another delivery is looked at again. Needs a write transaction.
    """
    postgres.take_time(connection)
    postgres.lock_order(connection)
    postgres.lock_holds(connection, change=True)
    _follow(connection, orders, now)
    held = held_endpoints(connection)
    # By the counts, since of a million that wait for configured endpoints none must be read.
    waited_for = {name for state, name in read_counts(connection) if state in _WAITED_FOR}
    for endpoint in sorted(waited_for.difference(configured)):
        connection.execute(
            update(deliveries)
            .where(deliveries.c.endpoint == endpoint, PENDING, UNLEASED)
            .values(state=DeliveryState.HELD, reason=NOT_CONFIGURED, changed_at=now)
        )
    for endpoint in configured:
        mine = [deliveries.c.endpoint == endpoint, _NOT_CONFIGURED]
        if endpoint in held:
            connection.execute(update(deliveries).where(*mine).values(reason=held[endpoint]))
        else:
            _release(connection, mine, now)


def _follow(connection: Connection, orders: Mapping[str, Order], now: datetime) -> None:
    """Note the endpoints' orders; where one has changed, wake what the former one parked.

    Unless one waits for all before it, the first ones are woken in any case: a lane that didn't
    know of the change yet may have parked more.
    """
    noted = select(endpoints.c.name, endpoints.c.conversation_order)
    before = {row.name: row.conversation_order for row in connection.execute(noted)}
    for endpoint, order in orders.items():
        changed = (before.get(endpoint) or Order.NONE) != order
        if changed:
            _set(connection, endpoint, {"conversation_order": order.value})
        if changed or order is Order.NONE:
            wake_all(connection, endpoint, now)
        elif order is Order.OVERTAKE:
            first = select(func.min(deliveries.c.id)).where(
                deliveries.c.endpoint == endpoint, IS_PARKED
            )
            wake_all(connection, endpoint, now, first.group_by(deliveries.c.conversation))


def wake_all(
    connection: Connection, endpoint: str, now: datetime, among: Select[int] | None = None
) -> None:
    """Make due whatever waits behind another delivery; a claim parks again what must wait."""
    moment = literal(now, deliveries.c.due_at.type)
    which = [deliveries.c.endpoint == endpoint, IS_PARKED]
    if among is not None:
        which.append(deliveries.c.id.in_(among))
    connection.execute(
        update(deliveries)
        .where(*which)
        .values(due_at=now, schedule_from=begun_by(moment), lived_from=WOKEN)
    )


def begun_by(now: ColumnElement[datetime]) -> ColumnElement[datetime]:
    """Return from when a delivery's schedule counts that is woken: now, if it was never tried."""
    return case((_UNTRIED, now), else_=deliveries.c.schedule_from)


def _status(row: Row[Any]) -> EndpointStatus:
    if row.held_reason is not None:
        state = EndpointState.REFUSED if row.held_by == _ENDPOINT else EndpointState.PAUSED
        return EndpointStatus(state, row.held_at, row.held_reason, row.failover_since)
    if row.failing_since is not None:
        return EndpointStatus(
            EndpointState.FAILING, row.failing_since, failover_since=row.failover_since
        )
    return EndpointStatus(EndpointState.ACTIVE)


def _set(connection: Connection, endpoint: str, values: Mapping[str, object]) -> None:
    found = connection.execute(update(endpoints).where(endpoints.c.name == endpoint).values(values))
    if not found.rowcount:
        connection.execute(insert(endpoints).values(name=endpoint, **values))


def _release(connection: Connection, which: Sequence[ColumnElement[bool]], now: datetime) -> int:
    released = connection.execute(update(deliveries).where(*which).values(again(now)))
    return released.rowcount


def again(now: datetime) -> Mapping[str, object]:
    """Return what makes a delivery pending with a new schedule; its attempts go on counting."""
    return {
        "state": DeliveryState.PENDING,
        "reason": null(),
        "step": 0,
        "schedule_from": now,
        "lived_from": UNBEGUN,
        "due_at": now,
        "leased_by": null(),
        "changed_at": now,
    }

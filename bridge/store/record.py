"""Writes attempts that were made, and what their deliveries become by them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import (
    Connection,
    Dialect,
    Insert,
    Text,
    bindparam,
    cast,
    func,
    literal_column,
    null,
    or_,
    select,
    update,
)

from bridge.errors import BridgeError, NotFound
from bridge.model import Attempt, Dead, Delivered, DeliveryState, Hold, RetryAt
from bridge.store import conversations, postgres
from bridge.store.endpoints import held_endpoints, hold_endpoint, set_failing
from bridge.store.statements import Statement
from bridge.store.tables import attempts, deliveries

_CURRENT: Final = select(
    deliveries.c.id,
    deliveries.c.state,
    deliveries.c.reason,
    deliveries.c.attempts,
    deliveries.c.step,
    deliveries.c.due_at,
    deliveries.c.leased_by,
    deliveries.c.not_before,
    deliveries.c.conversation,
)
_CHANGE: Final = Statement(
    update(deliveries)
    .where(deliveries.c.id == bindparam("delivery"))
    .values(
        state=bindparam("new_state"),
        reason=bindparam("new_reason"),
        step=bindparam("new_step"),
        due_at=bindparam("new_due_at"),
        not_before=bindparam("new_not_before"),
        conversation=bindparam("new_conversation"),
        leased_by=null(),
        changed_at=bindparam("now"),
    )
)


@dataclass(slots=True)
class _Delivery:
    """What is changed of a delivery, as this batch sees it so far."""

    id: int
    state: str
    reason: str | None
    attempts: int
    step: int
    due_at: datetime
    leased_by: str | None
    not_before: datetime | None
    conversation: int | None
    changed: bool = False

    def leased_as(self, token: str) -> bool:
        """Return whether this claim still holds the lease."""
        return self.leased_by is not None and f"{self.leased_by}:{self.attempts}" == token

    def become(self, state: DeliveryState, reason: str | None = None) -> None:
        """Change state and end the lease."""
        self.state, self.reason, self.leased_by, self.changed = state.value, reason, None, True
        if state is DeliveryState.DELIVERED:
            self.conversation = None


def record_many(
    connection: Connection, made: Sequence[Attempt], now: datetime
) -> list[BridgeError | None]:
    """Write attempts and their deliveries' new states within the given write transaction.

    An attempt whose lease was lost writes its row, makes the delivery delivered if it was, and
    changes nothing else. The same attempt recorded twice is one row. A delivery that is not there
    yields NotFound as its item's result.
    """
    # Taken in any case: else a retry could be written as pending beside a hold.
    postgres.lock_holds(connection, change=any(map(_changes_endpoint, made)))
    for attempt in made:
        if attempt.failing is not None:
            set_failing(connection, attempt.claim.endpoint, now if attempt.failing else None)
    if all(isinstance(attempt.decision, Delivered) for attempt in made):
        results = _record_delivered(connection, made, now)
    else:
        results = _record_all(connection, made, now)
    conversations.wake_next(
        connection, [(each.claim.endpoint, each.claim.conversation) for each in made], now
    )
    return results


def _record_all(
    connection: Connection, made: Sequence[Attempt], now: datetime
) -> list[BridgeError | None]:
    """Record attempts of all kinds, each by what its delivery is now."""
    found = _load(connection, made)
    held = dict(held_endpoints(connection))
    for attempt in made:
        if (reason := _holds_endpoint(attempt)) and _still_ours(found, attempt):
            hold_endpoint(connection, attempt.claim.endpoint, reason, now, refused=True)
            held[attempt.claim.endpoint] = reason
    rows: list[dict[str, object]] = []
    results: list[BridgeError | None] = []
    for attempt in made:
        delivery = found.get(attempt.claim.delivery_id)
        if delivery is None:
            results.append(_not_found(attempt.claim.delivery_id))
            continue
        ours = delivery.leased_as(attempt.claim.lease)
        rows.append({**_attempt_row(attempt), "lease_lost": not ours})
        _apply(delivery, attempt, held, now, ours=ours)
        results.append(None)
    if rows:
        _INSERT.change(connection, rows)
    if changed := [each for each in found.values() if each.changed]:
        _CHANGE.change(connection, [_change_row(each, now) for each in changed])
    return results


def _record_delivered(
    connection: Connection, made: Sequence[Attempt], now: datetime
) -> list[BridgeError | None]:
    """Record attempts that all delivered, as most do: nothing needs to be read for it.

    Delivered is true whoever holds the lease now, so the lease only matters to the attempt's row.
    """
    # In this order by every bridge: two that wait for each other's rows would be a deadlock.
    ordered = sorted(made, key=lambda each: each.claim.delivery_id)
    rows = [{**_attempt_row(each), "lease": each.claim.lease, "now": now} for each in ordered]
    written = _INSERT_AS_LEASED.change(connection, rows)
    _DELIVERED.change(connection, rows)
    if written == len(made):
        return [None] * len(made)
    # Some were recorded before, or have no delivery.
    there = _load(connection, made)
    return [
        None if (wanted := each.claim.delivery_id) in there else _not_found(wanted) for each in made
    ]


def _not_found(delivery: int) -> NotFound:
    return NotFound(f"there is no delivery {delivery}")


def _holds_endpoint(attempt: Attempt) -> str | None:
    """Return why this attempt holds its whole endpoint, if it does."""
    decision = attempt.decision
    return decision.reason if isinstance(decision, Hold) and decision.whole_endpoint else None


def _changes_endpoint(attempt: Attempt) -> bool:
    return attempt.failing is not None or _holds_endpoint(attempt) is not None


def _still_ours(found: Mapping[int, _Delivery], attempt: Attempt) -> bool:
    delivery = found.get(attempt.claim.delivery_id)
    return delivery is not None and delivery.leased_as(attempt.claim.lease)


def _load(connection: Connection, made: Sequence[Attempt]) -> dict[int, _Delivery]:
    wanted = _CURRENT.where(deliveries.c.id.in_({each.claim.delivery_id for each in made}))
    rows = connection.execute(wanted.order_by(deliveries.c.id).with_for_update())
    return {row.id: _Delivery(*row) for row in rows}


def _apply(
    delivery: _Delivery, attempt: Attempt, held: Mapping[str, str], now: datetime, *, ours: bool
) -> None:
    """Decide what the delivery becomes; `held` has the endpoints that are held by now."""
    if isinstance(attempt.decision, Delivered):
        # True whoever holds the lease now: the endpoint has it.
        if ours or delivery.state != DeliveryState.DELIVERED:
            delivery.become(DeliveryState.DELIVERED)
        return
    if not ours:
        return
    match attempt.decision:
        case RetryAt(at, step, not_before):
            delivery.due_at, delivery.step = _by_clock_of(now, at, attempt), step
            delivery.not_before = not_before and _by_clock_of(now, not_before, attempt)
            if reason := held.get(attempt.claim.endpoint):
                delivery.become(DeliveryState.HELD, reason)
            else:
                delivery.become(DeliveryState.PENDING)
        case Hold(reason):
            delivery.become(DeliveryState.HELD, reason)
        case Dead(reason):
            delivery.become(DeliveryState.DEAD, reason)


def _by_clock_of(now: datetime, at: datetime, attempt: Attempt) -> datetime:
    """Return a time that an attempt led to, unless the clock was set back meanwhile: then sooner.

    By the clock of before, which was ahead, it would be far in the future.
    """
    return min(at, now + max(timedelta(), at - attempt.started_at))


def _attempt_row(attempt: Attempt) -> dict[str, object]:
    outcome = attempt.outcome
    return {
        "delivery_id": attempt.claim.delivery_id,
        "number": attempt.claim.attempt,
        "started_at": attempt.started_at,
        "duration": outcome.duration,
        "result": _RESULTS[type(attempt.decision)],
        "status": outcome.status,
        "error": outcome.error,
        "detail": outcome.detail,
        "sent": outcome.sent,
        "failover": attempt.failover,
        "answer": outcome.answer,
    }


_RESULTS: Final = {Delivered: "delivered", RetryAt: "retry", Hold: "held", Dead: "dead"}


def _change_row(delivery: _Delivery, now: datetime) -> dict[str, object]:
    return {
        "delivery": delivery.id,
        "new_state": delivery.state,
        "new_reason": delivery.reason,
        "new_step": delivery.step,
        "new_due_at": delivery.due_at,
        "new_not_before": delivery.not_before,
        "new_conversation": delivery.conversation,
        "now": now,
    }


def _insert_once(dialect: Dialect) -> Insert:
    """Make the insert that lets an attempt which is there already stand.

    A commit whose answer was lost with the connection is recorded again.
    """
    # Only the dialect that is in use is imported: the other would cost memory.
    index = ["delivery_id", "number"]
    if dialect.name == "postgresql":
        from sqlalchemy.dialects import postgresql

        return postgresql.insert(attempts).on_conflict_do_nothing(index_elements=index)
    from sqlalchemy.dialects import sqlite

    return sqlite.insert(attempts).on_conflict_do_nothing(index_elements=index)


_GIVEN: Final = [column for column in attempts.c if column.name not in {"id", "lease_lost"}]
_LEASE: Final = func.coalesce(
    deliveries.c.leased_by + literal_column("':'") + cast(deliveries.c.attempts, Text),
    literal_column("''"),
)
_INSERT: Final = Statement(
    lambda dialect: _insert_once(dialect).values(
        {column.name: bindparam(column.name) for column in (*_GIVEN, attempts.c.lease_lost)}
    )
)
# The lease is compared by the database, with the row as it is when the attempt is written.
_INSERT_AS_LEASED: Final = Statement(
    lambda dialect: _insert_once(dialect).from_select(
        [*(column.name for column in _GIVEN), "lease_lost"],
        select(
            *(bindparam(column.name, type_=column.type) for column in _GIVEN),
            bindparam("lease") != _LEASE,
        ).where(deliveries.c.id == bindparam("delivery_id")),
    )
)
_DELIVERED: Final = Statement(
    update(deliveries)
    .where(
        deliveries.c.id == bindparam("delivery_id"),
        or_(
            deliveries.c.state != literal_column("'delivered'"),
            bindparam("lease") == _LEASE,
        ),
    )
    .values(
        state=literal_column("'delivered'"),
        reason=null(),
        conversation=null(),
        leased_by=null(),
        changed_at=bindparam("now"),
    )
)

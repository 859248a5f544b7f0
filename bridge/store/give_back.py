"""Gives deliveries back that were claimed and not tried."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, bindparam, null, update

from bridge.model import Claim, DeliveryState
from bridge.store import postgres
from bridge.store.endpoints import held_endpoints, wake_all
from bridge.store.statements import Statement
from bridge.store.tables import deliveries

_GIVE_BACK: Final = Statement(
    update(deliveries)
    .where(
        deliveries.c.id == bindparam("delivery"),
        deliveries.c.leased_by == bindparam("owner"),
        deliveries.c.attempts == bindparam("attempt"),
    )
    .values(
        state=bindparam("new_state"),
        reason=bindparam("new_reason"),
        attempts=bindparam("attempt", type_=deliveries.c.attempts.type) - 1,
        due_at=bindparam("new_due_at"),
        leased_by=null(),
        changed_at=bindparam("now"),
    )
)


def give_back(connection: Connection, claims: Sequence[Claim], owner: str, now: datetime) -> int:
    """Undo claims of `owner` of which no attempt began; return how many.

    Each is due when it was before, and its attempt was none: the next claim counts it again. If
    the endpoint was held meanwhile, it is held. Skips what was leased anew, or is ours no longer.
    Never for a claim that may have begun: its record would find nothing. Needs a write transaction.
    """
    postgres.lock_holds(connection, change=False)
    held = held_endpoints(connection)
    # In this order by every bridge: two that wait for each other's rows would be a deadlock.
    ordered = sorted(claims, key=lambda each: each.delivery_id)
    given = _GIVE_BACK.change(
        connection,
        [
            {
                "delivery": claim.delivery_id,
                "owner": owner,
                "attempt": claim.attempt,
                "new_state": DeliveryState.HELD
                if claim.endpoint in held
                else DeliveryState.PENDING,
                "new_reason": held.get(claim.endpoint),
                "new_due_at": claim.due_at or now,
                "now": now,
            }
            for claim in ordered
        ],
    )
    for endpoint in sorted({claim.endpoint for claim in claims} & held.keys()):
        wake_all(connection, endpoint, now)  # an operator's retries, which may pass what is held
    return given

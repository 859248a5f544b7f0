"""What is open in the store right now: for the gauges."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, bindparam, func, select

from bridge.model import ArrivalOutcome, DeliveryState, Reason
from bridge.store.endpoints import WAITING_OR_HELD, held_endpoints
from bridge.store.outbox import next_due
from bridge.store.sequences import last_numbers
from bridge.store.statements import Statement
from bridge.store.tables import deliveries
from bridge.store.tallies import PARKED, read_counts


@dataclass(frozen=True, slots=True)
class Snapshot:
    """How many deliveries are open, and arrivals in quarantine, at one moment.

    Delivered and filtered ones are not counted: there may be tens of millions, and they are at
    rest. `oldest_due` is when the endpoint's next delivery may be claimed, in the past if it waits.
    `behind` counts the pending ones that wait behind another one of their conversation.
    """

    deliveries: Mapping[tuple[str, DeliveryState], int]
    oldest_due: Mapping[str, datetime]
    behind: Mapping[str, int]
    quarantine: Mapping[Reason, int]
    held_endpoints: Mapping[str, str]
    sequences: Mapping[str, int]  # the last number of each endpoint's stream


_OLDEST: Final = Statement(
    select(deliveries.c.created_at).where(
        deliveries.c.id
        == select(func.min(deliveries.c.id))
        .where(
            deliveries.c.endpoint == bindparam("wanted"),
            WAITING_OR_HELD,
        )
        .scalar_subquery()
    )
)


def oldest_undelivered(connection: Connection, endpoints: Sequence[str]) -> Mapping[str, datetime]:
    """Return since when each endpoint's oldest undelivered delivery waits, for those with one.

    Waiting for a retry and held ones included; one seek in an index for each endpoint.
    """
    found = {each: _OLDEST.select(connection, wanted=each) for each in endpoints}
    return {endpoint: rows[0][0] for endpoint, rows in found.items() if rows}


def take_snapshot(connection: Connection) -> Snapshot:
    """Read the counts that the database keeps; nothing is counted here."""
    counts = read_counts(connection)
    behind = {name: count for (state, name), count in counts.items() if state == PARKED}
    open_deliveries = Counter(
        {
            (name, DeliveryState(state)): count
            for (state, name), count in counts.items()
            if state not in {PARKED, ArrivalOutcome.QUARANTINE}
        }
    )
    open_deliveries.update({(name, DeliveryState.PENDING): n for name, n in behind.items()})
    pending = [name for name, state in open_deliveries if state is DeliveryState.PENDING]
    due = {each: next_due(connection, each) for each in pending}
    return Snapshot(
        deliveries=open_deliveries,
        oldest_due={each: moment for each, moment in due.items() if moment is not None},
        behind=behind,
        quarantine={
            Reason(name): count
            for (state, name), count in counts.items()
            if state == ArrivalOutcome.QUARANTINE
        },
        held_endpoints=held_endpoints(connection),
        sequences=last_numbers(connection),
    )

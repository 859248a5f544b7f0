"""Proves the ledger: nothing is missing, nothing is there twice, and all of it adds up.

Each check is one question to the database, answered by what breaks the rule; an answer of nothing
is the proof. All of them see one snapshot, so they may run beside a busy daemon.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import (
    Connection,
    Select,
    func,
    select,
)

from bridge.model import SMS_RECEIVED, ArrivalOutcome, DeliveryState
from bridge.store import postgres
from bridge.store.counting import count_open
from bridge.store.endpoints import PENDING
from bridge.store.forget import deleted_totals
from bridge.store.rules import RULES
from bridge.store.tables import arrivals, attempts, deliveries, events, messages
from bridge.store.tallies import read_counts

_EXAMPLES: Final = 5
_ROWS_AT_ONCE: Final = 500


@dataclass(frozen=True, slots=True)
class Check:
    """One rule of the ledger: does it hold, and if not, what breaks it (ids, never texts)."""

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True, slots=True)
class AuditReport:
    """Every check, what there is in all, and what an operator may want to know besides."""

    checks: tuple[Check, ...]
    totals: Mapping[str, int]
    notes: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Return whether every check holds."""
        return all(check.ok for check in self.checks)


def audit(connection: Connection, now: datetime) -> AuditReport:
    """Check the whole ledger within the given read transaction; it changes nothing.

    Reads every event once, in small parts. A lease that has ended is a note, no failure: the
    delivery is due again by that.
    """
    postgres.take_time(connection)
    totals = _totals(connection)
    found = [Check(name, *_judge(connection, query())) for name, query in RULES.items()]
    found.append(_bodies(connection))
    found.append(_sums(totals))
    found.append(_kept_counts(connection))
    return AuditReport(tuple(found), totals, tuple(_notes(connection, now)))


def _judge(connection: Connection, breaks: Select[object]) -> tuple[bool, str]:
    broken = breaks.subquery()
    count = connection.execute(select(func.count()).select_from(broken)).scalar_one()
    if not count:
        return True, ""
    some = connection.execute(breaks.limit(_EXAMPLES)).scalars().all()
    return False, _examples(count, [str(each) for each in some])


def _examples(count: int, some: list[str]) -> str:
    more = ", …" if count > len(some) else ""
    return f"{count}: {', '.join(some)}{more}"


def _bodies(connection: Connection) -> Check:
    """Read what is sent: an event that names another message would break receivers' dedupe.

    Only of the canonical format, which names its message; not of messages whose text was purged.
    """
    name = "every event's body names its own id"
    count = 0
    some: list[str] = []
    query = (
        select(events.c.id, events.c.message_id, events.c.body)
        .join(messages, messages.c.id == events.c.message_id)
        .where(events.c.format == SMS_RECEIVED, messages.c.purged_at.is_(None))
        .execution_options(yield_per=_ROWS_AT_ONCE)
    )
    for event_id, message_id, body in connection.execute(query):
        if _id_of(body) != message_id:
            count += 1
            some = [*some, event_id][:_EXAMPLES]
    return Check(name, not count, _examples(count, some) if count else "")


def _id_of(body: bytes) -> object:
    try:
        return json.loads(body)["data"]["id"]
    except (ValueError, KeyError, TypeError):
        return None


def _totals(connection: Connection) -> dict[str, int]:
    totals = {
        table.name: connection.execute(select(func.count()).select_from(table)).scalar_one()
        for table in (arrivals, messages, events, deliveries, attempts)
    }
    for table, column, kinds in (
        (arrivals, arrivals.c.outcome, ArrivalOutcome),
        (deliveries, deliveries.c.state, DeliveryState),
    ):
        grouped = connection.execute(select(column, func.count()).group_by(column))
        counts: dict[str, int] = {row[0]: row[1] for row in grouped}
        totals |= {f"{table.name}.{kind.value}": counts.get(kind.value, 0) for kind in kinds}
    return totals | deleted_totals(connection)


def _sums(totals: Mapping[str, int]) -> Check:
    """Add up: arrivals by outcome, deliveries by state, messages and what belongs to each."""
    sides = {
        "arrivals": sum(totals[f"arrivals.{kind.value}"] for kind in ArrivalOutcome),
        "deliveries": sum(totals[f"deliveries.{state.value}"] for state in DeliveryState),
        "messages": totals["arrivals.message"],
    }
    wrong = [
        f"{name}: {totals[name]}, but {added} by kind"
        for name, added in sides.items()
        if totals[name] != added
    ]
    return Check("the ledger adds up", not wrong, "; ".join(wrong))


def _kept_counts(connection: Connection) -> Check:
    """Compare the counts that the database keeps with the rows."""
    kept, counted = read_counts(connection), count_open(connection)
    wrong = [
        f"{state} {name}: {noted}, but there are {found}"
        for state, name in sorted({*kept, *counted})
        if (noted := kept.get((state, name), 0)) != (found := counted.get((state, name), 0))
    ]
    return Check("the counts of what is open are right", not wrong, "; ".join(wrong))


def _notes(connection: Connection, now: datetime) -> Iterator[str]:
    ended = select(func.count()).where(
        PENDING, deliveries.c.leased_by.is_not(None), deliveries.c.due_at < now
    )
    if count := connection.execute(ended).scalar_one():
        yield f"{count} leases have ended without a record; those deliveries are tried again"

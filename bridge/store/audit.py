"""Proves the ledger: nothing is missing, nothing is there twice, and all of it adds up.

Each check is one question to the database, answered by what breaks the rule; an answer of nothing
is the proof. All of them see one snapshot, so they may run beside a busy daemon.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Text,
    and_,
    cast,
    exists,
    func,
    or_,
    select,
    union_all,
)

from bridge.model import SMS_RECEIVED, ArrivalOutcome, DeliveryState
from bridge.store import postgres
from bridge.store.conversations import behind_nothing
from bridge.store.counting import count_open
from bridge.store.endpoints import PENDING
from bridge.store.forget import deleted_of, deleted_totals
from bridge.store.retention import UNDELIVERED
from bridge.store.tables import arrivals, attempts, deliveries, events, messages, replays
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
    found = [Check(name, *_judge(connection, query())) for name, query in _RULES.items()]
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


def _unknown_outcome() -> Select[object]:
    return select(arrivals.c.id).where(arrivals.c.outcome.not_in(list(ArrivalOutcome)))


def _outcome_and_message() -> Select[object]:
    became = arrivals.c.outcome.in_([ArrivalOutcome.MESSAGE, ArrivalOutcome.DUPLICATE])
    named = arrivals.c.message_id.is_not(None)
    return select(arrivals.c.id).where(or_(and_(became, ~named), and_(~became, named)))


def _no_reason() -> Select[object]:
    return select(arrivals.c.id).where(
        arrivals.c.outcome == ArrivalOutcome.QUARANTINE, arrivals.c.reason.is_(None)
    )


def _discarded_without_words() -> Select[object]:
    return select(arrivals.c.id).where(
        (arrivals.c.outcome == ArrivalOutcome.DISCARDED)
        != arrivals.c.discarded_because.is_not(None)
    )


def _unknown_message() -> Select[object]:
    return select(arrivals.c.id).where(
        arrivals.c.message_id.is_not(None),
        ~exists().where(messages.c.id == arrivals.c.message_id),
    )


def _not_brought_once() -> Select[object]:
    brought = (
        select(func.count())
        .select_from(arrivals)
        .where(
            arrivals.c.message_id == messages.c.id,
            arrivals.c.outcome == ArrivalOutcome.MESSAGE,
        )
        .scalar_subquery()
    )
    return select(messages.c.id).where(brought != 1)


def _no_event() -> Select[object]:
    return select(messages.c.id).where(~exists().where(events.c.message_id == messages.c.id))


def _event_without_message() -> Select[object]:
    return select(events.c.id).where(~exists().where(messages.c.id == events.c.message_id))


def _event_twice() -> Select[object]:
    return (
        select(events.c.message_id)
        .group_by(events.c.message_id, events.c.format)
        .having(func.count() > 1)
    )


def _deliveries_not_planned() -> Select[object]:
    written = (
        select(func.count())
        .select_from(deliveries)
        .where(deliveries.c.event_id == events.c.id, deliveries.c.replay == 0)
        .scalar_subquery()
    )
    return select(events.c.id).where(written != events.c.planned)


def _delivered_twice() -> Select[object]:
    return (
        select(deliveries.c.event_id)
        .group_by(deliveries.c.event_id, deliveries.c.endpoint, deliveries.c.replay)
        .having(func.count() > 1)
    )


def _replay_miscounted() -> Select[object]:
    written = select(func.count()).where(deliveries.c.replay == replays.c.id).scalar_subquery()
    return select(replays.c.id).where(written + deleted_of(replays.c.id) != replays.c.written)


def _replayed_by_none() -> Select[object]:
    return select(deliveries.c.id).where(
        deliveries.c.replay != 0, ~exists().where(replays.c.id == deliveries.c.replay)
    )


def _delivery_without_event() -> Select[object]:
    return select(deliveries.c.id).where(~exists().where(events.c.id == deliveries.c.event_id))


def _unknown_state() -> Select[object]:
    return select(deliveries.c.id).where(deliveries.c.state.not_in(list(DeliveryState)))


def _lease_at_rest() -> Select[object]:
    at_rest = deliveries.c.state != DeliveryState.PENDING
    return select(deliveries.c.id).where(at_rest, deliveries.c.leased_by.is_not(None))


def _delivered_without_answer() -> Select[object]:
    return select(deliveries.c.id).where(
        deliveries.c.state == DeliveryState.DELIVERED,
        ~exists().where(attempts.c.delivery_id == deliveries.c.id, _taken()),
    )


def _answered_not_delivered() -> Select[object]:
    return select(deliveries.c.id).where(
        deliveries.c.state != DeliveryState.DELIVERED,
        exists().where(attempts.c.delivery_id == deliveries.c.id, _taken()),
    )


def _taken() -> ColumnElement[bool]:
    return and_(attempts.c.status.between(200, 299), attempts.c.result == "delivered")


def _attempts_not_counted() -> Select[object]:
    return (
        select(attempts.c.id)
        .join(deliveries, deliveries.c.id == attempts.c.delivery_id)
        .where(or_(attempts.c.number > deliveries.c.attempts, attempts.c.number < 1))
    )


def _attempt_twice() -> Select[object]:
    return (
        select(attempts.c.delivery_id)
        .group_by(attempts.c.delivery_id, attempts.c.number)
        .having(func.count() > 1)
    )


def _attempt_without_delivery() -> Select[object]:
    return select(attempts.c.id).where(~exists().where(deliveries.c.id == attempts.c.delivery_id))


def _purged_but_there() -> Select[object]:
    sent = exists().where(events.c.message_id == messages.c.id, func.length(events.c.body) > 0)
    texts = select(messages.c.id.label("id")).where(
        messages.c.purged_at.is_not(None), or_(messages.c.body.is_not(None), sent)
    )
    raw = select(cast(arrivals.c.id, Text)).where(
        arrivals.c.purged_at.is_not(None), func.length(arrivals.c.raw) > 0
    )
    return select(union_all(texts, raw).subquery().c.id)


def _purged_undelivered() -> Select[object]:
    return (
        select(deliveries.c.id)
        .join(events, events.c.id == deliveries.c.event_id)
        .join(messages, messages.c.id == events.c.message_id)
        .where(
            messages.c.purged_at.is_not(None),
            deliveries.c.state.in_(UNDELIVERED),
        )
    )


# The name says what is so when the check is good; the query finds what breaks it.
_RULES: Final[Mapping[str, Callable[[], Select[object]]]] = {
    "every arrival has an outcome": _unknown_outcome,
    "messages and duplicates name a message, nothing else does": _outcome_and_message,
    "every quarantined arrival has a reason": _no_reason,
    "every discarded arrival says why, and no other does": _discarded_without_words,
    "the message that an arrival names is there": _unknown_message,
    "every message was brought by one arrival": _not_brought_once,
    "every message has its event": _no_event,
    "every event has its message": _event_without_message,
    "no message has two events of one format": _event_twice,
    "every event has all its deliveries": _deliveries_not_planned,
    "no event goes to an endpoint twice": _delivered_twice,
    "every replay has all its deliveries": _replay_miscounted,
    "every replayed delivery has its replay": _replayed_by_none,
    "whatever waits behind another delivery has one in front": behind_nothing,
    "every delivery has its event": _delivery_without_event,
    "every delivery is in a known state": _unknown_state,
    "only pending deliveries are leased": _lease_at_rest,
    "every delivered delivery was taken by its endpoint": _delivered_without_answer,
    "every delivery that was taken is delivered": _answered_not_delivered,
    "every attempt was counted before it was made": _attempts_not_counted,
    "no attempt is there twice": _attempt_twice,
    "every attempt has its delivery": _attempt_without_delivery,
    "nothing is left of what was purged": _purged_but_there,
    "nothing was purged before it was delivered": _purged_undelivered,
}


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

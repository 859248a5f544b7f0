"""The rules of the ledger: each is one question about a table's rows, answered by what breaks it.

Each row is judged by itself and by what belongs to it, found by an index. So any part of a table
can be asked about alone, and all parts together are the whole.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from sqlalchemy import Column, ColumnElement, Select, Table, and_, exists, func, or_, select

from bridge.model import BRIDGE_DIGEST, ArrivalOutcome, DeliveryState
from bridge.store.conversations import behind_nothing
from bridge.store.emptying import UNDELIVERED
from bridge.store.forget import deleted_of
from bridge.store.sequence_rules import (
    number_before_missing,
    number_not_counted,
    number_not_given,
    number_twice,
)
from bridge.store.stream_tables import digests
from bridge.store.tables import arrivals, attempts, deliveries, events, messages, replays

_MOST_ATTEMPTS: Final = 1_000_000  # of any endpoint; SQLite sorts texts and blobs behind it


class Rule(NamedTuple):
    """One rule: its name says what is so when it holds, `breaks` selects what breaks it."""

    name: str
    table: Table
    breaks: Select[object]


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
    """Select events with neither a message nor a digest."""
    its_own = exists().where(messages.c.id == events.c.message_id)
    of_digest = exists().where(
        deliveries.c.event_id == events.c.id, digests.c.delivery_id == deliveries.c.id
    )
    return select(events.c.id).where(
        ~its_own, ~and_(events.c.message_id.is_(None), events.c.type == BRIDGE_DIGEST, of_digest)
    )


def _twice(first: Column[Any], *more: Column[Any]) -> Select[object]:
    """Select the first column of rows that have all these columns in common with an earlier row."""
    table = first.table
    other = table.alias()
    same = [other.c[column.name] == column for column in (first, *more)]
    return select(first).where(exists().where(*same, other.c.id < table.c.id))


def _event_twice() -> Select[object]:
    return _twice(events.c.message_id, events.c.format)


def _deliveries_not_planned() -> Select[object]:
    written = (
        select(func.count())
        .select_from(deliveries)
        .where(deliveries.c.event_id == events.c.id, deliveries.c.replay == 0)
        .scalar_subquery()
    )
    return select(events.c.id).where(written != events.c.planned)


def _delivered_twice() -> Select[object]:
    return _twice(deliveries.c.event_id, deliveries.c.endpoint, deliveries.c.replay)


def _replay_miscounted() -> Select[object]:
    written = (
        select(func.count())
        .select_from(deliveries)
        .where(deliveries.c.replay == replays.c.id)
        .scalar_subquery()
    )
    return select(replays.c.id).where(
        replays.c.kind == "replay", written + deleted_of(replays.c.id) != replays.c.written
    )


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


def _impossible_counts() -> Select[object]:
    d = deliveries.c
    return select(d.id).where(
        or_(*(or_(count < 0, count > _MOST_ATTEMPTS) for count in (d.step, d.attempts)))
    )


def _attempt_twice() -> Select[object]:
    return _twice(attempts.c.delivery_id, attempts.c.number)


def _attempt_without_delivery() -> Select[object]:
    return select(attempts.c.id).where(~exists().where(deliveries.c.id == attempts.c.delivery_id))


def _purged_text_there() -> Select[object]:
    sent = exists().where(events.c.message_id == messages.c.id, func.length(events.c.body) > 0)
    return select(messages.c.id).where(
        messages.c.purged_at.is_not(None), or_(messages.c.body.is_not(None), sent)
    )


def _purged_raw_there() -> Select[object]:
    return select(arrivals.c.id).where(
        arrivals.c.purged_at.is_not(None), func.length(arrivals.c.raw) > 0
    )


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


RULES: Final = (
    Rule("every arrival has an outcome", arrivals, _unknown_outcome()),
    Rule(
        "messages and duplicates name a message, nothing else does",
        arrivals,
        _outcome_and_message(),
    ),
    Rule("every quarantined arrival has a reason", arrivals, _no_reason()),
    Rule(
        "every discarded arrival says why, and no other does", arrivals, _discarded_without_words()
    ),
    Rule("the message that an arrival names is there", arrivals, _unknown_message()),
    Rule("every message was brought by one arrival", messages, _not_brought_once()),
    Rule("every message has its event", messages, _no_event()),
    Rule("every event has its message", events, _event_without_message()),
    Rule("no message has two events of one format", events, _event_twice()),
    Rule("every event has all its deliveries", events, _deliveries_not_planned()),
    Rule("no event goes to an endpoint twice", deliveries, _delivered_twice()),
    Rule("no number of an endpoint is there twice", deliveries, number_twice()),
    Rule("no number of an endpoint is missing", deliveries, number_before_missing()),
    Rule("every number of an endpoint was counted", deliveries, number_not_counted()),
    Rule("every delivery that goes out has a number", deliveries, number_not_given()),
    Rule("every replay has all its deliveries", replays, _replay_miscounted()),
    Rule("every replayed delivery has its replay", deliveries, _replayed_by_none()),
    Rule("whatever waits behind another delivery has one in front", deliveries, behind_nothing()),
    Rule("every delivery has its event", deliveries, _delivery_without_event()),
    Rule("every delivery's counts are such as can be", deliveries, _impossible_counts()),
    Rule("every delivery is in a known state", deliveries, _unknown_state()),
    Rule("only pending deliveries are leased", deliveries, _lease_at_rest()),
    Rule(
        "every delivered delivery was taken by its endpoint",
        deliveries,
        _delivered_without_answer(),
    ),
    Rule("every delivery that was taken is delivered", deliveries, _answered_not_delivered()),
    Rule("every attempt was counted before it was made", attempts, _attempts_not_counted()),
    Rule("no attempt is there twice", attempts, _attempt_twice()),
    Rule("every attempt has its delivery", attempts, _attempt_without_delivery()),
    Rule("nothing is left of what was purged", messages, _purged_text_there()),
    Rule("nothing is left of what was purged", arrivals, _purged_raw_there()),
    Rule("nothing was purged before it was delivered", deliveries, _purged_undelivered()),
)

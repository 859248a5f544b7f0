"""The rules of the ledger, each as the question that finds what breaks it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from sqlalchemy import ColumnElement, Select, Text, and_, cast, exists, func, or_, select, union_all

from bridge.model import ArrivalOutcome, DeliveryState
from bridge.store.conversations import behind_nothing
from bridge.store.forget import deleted_of
from bridge.store.retention import UNDELIVERED
from bridge.store.tables import arrivals, attempts, deliveries, events, messages, replays


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
RULES: Final[Mapping[str, Callable[[], Select[object]]]] = {
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

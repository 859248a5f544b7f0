"""The verdict on a whole run: the store, the senders and the receivers agree on every SMS."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Protocol

from sqlalchemy import Connection, func, select

from bridge.model import DeliveryState
from bridge.store.audit import audit
from bridge.store.tables import deliveries, events, messages
from tests.simulation.plan import ENDPOINTS, GIVE_UP, PLAIN, wanted
from tests.simulation.receiver import Receiver, Violation
from tests.simulation.sms import Sms


class Run(Protocol):
    """What is judged."""

    receivers: Mapping[str, Receiver]

    def now(self) -> datetime:
        """Return the time of day."""

    def sent(self) -> list[Sms]:
        """Return every SMS that was acknowledged."""


def judge_ledger(run: Run, connection: Connection) -> None:
    """Judge the ledger once all has settled; raises Violation."""
    report = audit(connection, run.now())
    broken = [f"{check.name}: {check.detail}" for check in report.checks if not check.ok]
    if broken:
        raise Violation(f"the audit found: {'; '.join(broken)}")
    _judge_messages(run.sent(), connection)
    for name in ENDPOINTS:
        _judge_endpoint(run.receivers[name], connection)


def _judge_messages(sent: list[Sms], connection: Connection) -> None:
    rows = connection.execute(select(messages.c.sender, messages.c.recipient, messages.c.body))
    stored = Counter((row.sender, row.recipient, row.body) for row in rows)
    wanted = Counter(sms.content for sms in sent)
    if stored != wanted:
        lost, more = wanted - stored, stored - wanted
        raise Violation(f"{lost.total()} acknowledged SMS are lost, {more.total()} are there twice")


def _judge_endpoint(receiver: Receiver, connection: Connection) -> None:
    """Compare what the ledger says of an endpoint's deliveries with what it was told."""
    rows = connection.execute(
        select(
            deliveries.c.event_id,
            deliveries.c.state,
            deliveries.c.sequence,
            deliveries.c.created_at,
            deliveries.c.changed_at,
            messages.c.sender,
            messages.c.recipient,
            messages.c.body,
        )
        .join(events, events.c.id == deliveries.c.event_id)
        .join(messages, messages.c.id == events.c.message_id, isouter=True)
        .where(deliveries.c.endpoint == receiver.name)
    )
    known = set()
    of_messages = 0
    for row in rows:
        known.add(row.event_id)
        of_messages += row.sender is not None
        if row.sender is not None:
            content = row.sender, row.recipient, row.body
            if wanted(receiver.name, content) == (row.state == DeliveryState.FILTERED):
                raise Violation(f"{receiver.name}: {row.event_id} is {row.state}, which is wrong")
        seen = receiver.seen.get(row.event_id)
        if row.state == DeliveryState.DELIVERED and not (seen and seen.said_yes):
            raise Violation(f"{receiver.name}: {row.event_id} is delivered, and was never taken")
        if row.state == DeliveryState.DEAD:
            age = (row.changed_at - row.created_at).total_seconds()
            if receiver.name != PLAIN or age < GIVE_UP:
                raise Violation(f"{receiver.name}: {row.event_id} is dead after {age:.0f} s")
        if seen and seen.sequence != row.sequence:
            raise Violation(f"{receiver.name}: {row.event_id} has another number in the ledger")
    if unknown := receiver.seen.keys() - known:
        raise Violation(f"{receiver.name} was told of what the ledger doesn't have: {unknown}")
    if of_messages != connection.execute(select(func.count()).select_from(messages)).scalar_one():
        raise Violation(f"{receiver.name}: some messages have no delivery")

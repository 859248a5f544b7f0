"""Bugs, put in on purpose: the simulation must find each of them.

Each is a change of one line that somebody could make, and that loses, repeats, delays or reorders
an SMS, or says of one what isn't true.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final
from unittest.mock import patch

from bridge import event
from bridge.delivery import attempt, lane, schedule
from bridge.delivery.endpoint import Endpoint
from bridge.delivery.recorder import Recorder
from bridge.delivery.slots import Slots
from bridge.errors import StoreUnavailable
from bridge.intake import Intake
from bridge.model import ArrivalOutcome, Dead, Decision, Hold, Order, Outcome, Receipt, RetryAt
from bridge.store import commits, outbox
from bridge.store.dedupe import KnownMessages

Bug = AbstractContextManager[object]


def _acknowledges_before_the_commit() -> Bug:
    """Acknowledge a mail although the store is away."""
    accept = Intake.accept

    async def hasty(self: Intake, arrival: Any) -> Receipt:
        try:
            return await accept(self, arrival)
        except StoreUnavailable:
            return Receipt(0, ArrivalOutcome.MESSAGE)

    return patch.object(Intake, "accept", hasty)


def _forgets_a_record() -> Bug:
    """Record no attempt that the store did not take at once."""

    async def careless(self: Recorder, done: Any) -> None:
        try:
            await self._outbox.record(done)
        except StoreUnavailable:
            return

    return patch.object(Recorder, "record", careless)


def _takes_any_answer_for_a_yes() -> Bug:
    """Take a redirect or an error for a delivery."""
    return patch.object(schedule, "delivered", lambda outcome: outcome.status is not None)


def _takes_a_broken_answer_for_a_yes() -> Bug:
    """Take the status for the answer, whatever becomes of the rest."""

    def broken(self: Any, duration: float, failure: Any, clock: Any) -> Outcome:
        if self.response is not None:
            return Outcome(self.response.status_code, duration)
        return Outcome(None, duration, error=failure.error)

    return patch.object(attempt._Answer, "broken", broken)


def _gives_up_at_once() -> Bug:
    """Let the first failure be the last."""
    return _decides(lambda decision: Dead("no") if isinstance(decision, RetryAt) else decision)


def _gives_up_on_a_refusal() -> Bug:
    """End a delivery with a 410 instead of holding it."""
    return _decides(lambda decision: Dead("gone") if isinstance(decision, Hold) else decision)


def _leaks_slots() -> Bug:
    """Never give back a slot of the backlog."""
    give_back = Slots.give_back

    def leak(self: Slots, count: int = 1, *, fresh: bool = False) -> None:
        if fresh:
            give_back(self, count, fresh=fresh)

    return patch.object(Slots, "give_back", leak)


def _ignores_the_order() -> Bug:
    """Claim what is due, whoever's turn it is."""
    claim = outbox.claim

    def any_turn(
        connection: Any, endpoint: str, limit: int, lease: Any, _order: Order, since: Any
    ) -> Any:
        return claim(connection, endpoint, limit, lease, Order.NONE, since)

    return patch.object(outbox, "claim", any_turn)


def _signs_other_bytes() -> Bug:
    """Say in a retry's body which one it is."""
    build = attempt.build_request

    def changed(endpoint: Any, claim: Any, now: Any) -> Any:
        if claim.attempt > 1:
            body = claim.event.body.replace(b"{", b'{"try":%d,' % claim.attempt, 1)
            claim = replace(claim, event=replace(claim.event, body=body))
        return build(endpoint, claim, now)

    return patch.object(attempt, "build_request", changed)


def _hides_duplicates() -> Bug:
    """Leave out that an earlier request may have arrived."""
    headers = attempt._delivery_headers
    return patch.object(
        attempt, "_delivery_headers", lambda claim: headers(replace(claim, sent_before=False))
    )


def _counts_no_attempt() -> Bug:
    """Say the number of the try before."""
    headers = attempt._delivery_headers
    return patch.object(
        attempt,
        "_delivery_headers",
        lambda claim: headers(replace(claim, attempt=max(1, claim.attempt - 1))),
    )


def _knows_no_message() -> Bug:
    """Take a mail that is sent again for another SMS."""
    return patch.object(KnownMessages, "find", lambda *_args, **_more: None)


def _knows_too_much() -> Bug:
    """Take two SMS with the same text for one, though each has its own mail."""
    identity = event.identity

    def by_text(sms: Any, email: Any, *more: Any) -> Any:
        return identity(sms, replace(email, fingerprint=""), *more)

    return patch.object(event, "identity", by_text)


def _stops_after_a_store_outage() -> Bug:
    """Look for nothing any more once a claim has failed."""

    async def resigned(_self: Any, _error: Exception) -> None:
        await asyncio.sleep(3600)

    return patch.object(lane.Lane, "_back_off", resigned)


def _sends_what_nobody_wants() -> Bug:
    """Let an endpoint's filter pass everything."""
    return patch.object(Endpoint, "unwanted", lambda *_args: None)


def _loses_half_of_a_batch() -> Bug:
    """Write only the first of the attempts that are recorded together."""
    write = commits.record_many

    def first(connection: Any, made: Any, now: Any) -> Any:
        return [*write(connection, made[:1], now), *[None] * (len(made) - 1)]

    return patch.object(commits, "record_many", first)


def _decides(change: Callable[[Decision], Decision]) -> Bug:
    decide = schedule.decide
    return patch.object(lane, "decide", lambda *args, **more: change(decide(*args, **more)))


BUGS: Final[Mapping[str, Callable[[], Bug]]] = MappingProxyType(
    {
        make.__name__.strip("_"): make
        for make in (
            _acknowledges_before_the_commit,
            _forgets_a_record,
            _takes_any_answer_for_a_yes,
            _takes_a_broken_answer_for_a_yes,
            _gives_up_at_once,
            _gives_up_on_a_refusal,
            _leaks_slots,
            _ignores_the_order,
            _signs_other_bytes,
            _hides_duplicates,
            _counts_no_attempt,
            _knows_no_message,
            _knows_too_much,
            _stops_after_a_store_outage,
            _sends_what_nobody_wants,
            _loses_half_of_a_batch,
        )
    }
)

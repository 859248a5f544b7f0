"""Whether an earlier request may have arrived: told by the ledger, whatever happened to us."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial

import pytest

from bridge.config.settings import StoreSettings
from bridge.model import Attempt, Claim
from bridge.store import Store, retry_deliveries
from bridge.store.emptying import emptying_attempts
from bridge.store.tables import attempts
from tests.store.making import LEASE, START, Clock, attempt, later, opened, plan, sms

Happening = Callable[[Store, Claim, Clock], Awaitable[None]]


def _failed(claim: Claim, *, sent: bool) -> Attempt:
    made = attempt(claim, later(0), status=503 if sent else None)
    outcome = replace(made.outcome, status=503 if sent else None, sent=sent)
    return replace(made, outcome=outcome)


async def _answered(store: Store, claim: Claim, clock: Clock) -> None:
    await store.record(_failed(claim, sent=True))


async def _unreachable(store: Store, claim: Claim, clock: Clock) -> None:
    await store.record(_failed(claim, sent=False))


async def _forgotten(store: Store, claim: Claim, clock: Clock) -> None:
    """Let the lease end without a record: who held it died, or its call went on."""
    clock.forward(LEASE + 1)


async def _given_back(store: Store, claim: Claim, clock: Clock) -> None:
    await store.give_back([claim])


async def _purged(store: Store, claim: Claim, clock: Clock) -> None:
    """Retention deletes the row of a failed attempt."""
    await store.record(_failed(claim, sent=False))
    mine = attempts.c.delivery_id == claim.delivery_id
    for statement in emptying_attempts(mine):
        await store.change(partial(statement.change, rows=[{}]))


async def _retried(store: Store, claim: Claim, clock: Clock) -> None:
    """Let an operator try again what never reached the endpoint."""
    await store.record(_failed(claim, sent=False))
    await store.change(partial(retry_deliveries, now=clock(), ids=[claim.delivery_id]))


@pytest.mark.parametrize(
    ("happened", "sent_before"),
    [
        ([_answered], True),
        ([_unreachable], False),
        ([_unreachable, _unreachable], False),
        ([_unreachable, _answered], True),
        ([_answered, _unreachable], True),
        ([_forgotten], True),
        ([_forgotten, _unreachable], True),
        ([_unreachable, _forgotten], True),
        ([_given_back], False),
        ([_given_back, _unreachable], False),
        ([_answered, _given_back], True),
        ([_purged], True),
        ([_retried], False),
    ],
    ids=lambda value: (
        "+".join(each.__name__[1:] for each in value) if isinstance(value, list) else str(value)
    ),
)
async def test_what_may_have_arrived(
    settings: StoreSettings, clock: Clock, happened: list[Happening], sent_before: bool
) -> None:
    """The next claim says so; the first one never does."""
    async with opened(settings, clock=clock) as store:
        await store.ingest(sms())
        for happening in happened:
            clock.forward(1)
            (claim,) = await store.claim("crm", 9)
            await happening(store, claim, clock)
        clock.forward(1)
        (claim,) = await store.claim("crm", 9)
        assert claim.sent_before is sent_before
        assert claim.created_at == START


async def test_a_delivery_of_a_dead_process_may_have_arrived(
    settings: StoreSettings, clock: Clock
) -> None:
    """It was leased to us when we died: nobody knows how far the request came."""
    async with opened(settings, clock=clock) as store:
        (claim,) = (await store.ingest(sms(deliveries=plan("crm", claimed=True)))).claims
        assert not claim.sent_before
        assert claim.created_at == START
    async with opened(settings, clock=clock) as store:
        (claim,) = await store.claim("crm", 9)
    assert claim.sent_before

"""Endpoints' states: what makes each, since when, and that restarts keep it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
from sqlalchemy import text

from bridge.config.settings import StoreSettings
from bridge.model import EndpointState, EndpointStatus, Hold
from bridge.store import (
    Store,
    endpoint_statuses,
    failed_over,
    failing_endpoints,
    hold_endpoint,
    resume_endpoint,
)
from bridge.store.queries import show_delivery
from tests.store.making import (
    START,
    Clock,
    at_revision,
    attempt,
    identity,
    later,
    many,
    opened,
    plan,
    sms,
)

PAUSED, REFUSED, FAILING = EndpointState.PAUSED, EndpointState.REFUSED, EndpointState.FAILING


async def status(store: Store, endpoint: str = "crm") -> EndpointStatus | None:
    return (await store.read(endpoint_statuses)).get(endpoint)


async def test_an_operators_pause_and_its_end(settings: StoreSettings, clock: Clock) -> None:
    """A paused endpoint says since when and why; a resumed one is active."""
    async with opened(settings, clock=clock) as store:
        assert await status(store) is None
        await store.change(lambda connection: hold_endpoint(connection, "crm", "move", START))
        assert await status(store) == EndpointStatus(PAUSED, START, "move")
        assert await status(store, "erp") is None
    clock.forward(60)
    async with opened(settings, clock=clock) as store:
        assert await status(store) == EndpointStatus(PAUSED, START, "move")
        await store.change(lambda connection: resume_endpoint(connection, "crm", START))
        assert await status(store) is None


async def test_a_refusal_is_the_endpoints(settings: StoreSettings, clock: Clock) -> None:
    """A 410 makes the endpoint refused, until it is resumed; restarts keep it."""
    async with opened(settings, clock=clock) as store:
        (claim,) = (await store.ingest(sms(deliveries=plan("crm", claimed=True)))).claims
        now = clock.forward(5)
        await store.record(attempt(claim, Hold("410 Gone", whole_endpoint=True), status=410))
        clock.forward(60)
    async with opened(settings, clock=clock) as store:
        assert await status(store) == EndpointStatus(REFUSED, now, "410 Gone")
        await store.change(lambda connection: resume_endpoint(connection, "crm", START))
        assert await status(store) is None


async def test_failing_is_recorded_with_the_attempt(settings: StoreSettings, clock: Clock) -> None:
    """The attempt that opens the breaker and the one that closes it carry the state."""
    async with opened(settings, clock=clock) as store:
        for item in many(4, "crm", "erp"):
            await store.ingest(item)
        one, two, three, four = await store.claim("crm", 4)
        await store.record(attempt(one, later(60)))
        assert await status(store) is None
        now = clock.forward(5)
        await store.record(replace(attempt(two, later(60)), failing=True))
        clock.forward(5)
        await store.record(attempt(three, later(60)))
    async with opened(settings, clock=clock) as store:
        assert await status(store) == EndpointStatus(FAILING, now)
        assert await store.read(failing_endpoints) == {"crm"}
        await store.record(replace(attempt(four), failing=False))
        assert await status(store) is None
        assert await store.read(failing_endpoints) == frozenset()


async def test_a_pause_covers_a_failure_and_does_not_end_it(
    settings: StoreSettings, clock: Clock
) -> None:
    """A failing endpoint that is paused is paused; once resumed, it is failing as before."""
    async with opened(settings, clock=clock) as store:
        (claim,) = (await store.ingest(sms(deliveries=plan("crm", claimed=True)))).claims
        await store.record(replace(attempt(claim, later(60)), failing=True))
        await store.change(lambda connection: hold_endpoint(connection, "crm", "move", START))
        assert await status(store) == EndpointStatus(PAUSED, START, "move")
        assert await store.read(failing_endpoints) == {"crm"}
        await store.change(lambda connection: resume_endpoint(connection, "crm", START))
        assert await status(store) == EndpointStatus(FAILING, START)


async def test_deliveries_to_a_failing_endpoint_are_written_pending(
    settings: StoreSettings, clock: Clock
) -> None:
    """Failing slows attempts down and holds nothing: new deliveries wait for the lane."""
    async with opened(settings, clock=clock) as store:
        (claim,) = (await store.ingest(sms(deliveries=plan("crm", claimed=True)))).claims
        await store.record(replace(attempt(claim, later(60)), failing=True))
        await store.ingest(sms(identity("b", email="b"), plan("crm")))
        assert len(await store.claim("crm", 9)) == 1


@pytest.mark.parametrize(
    ("reason", "state"),
    [("the endpoint answered 410 Gone", REFUSED), ("held by the operator", PAUSED)],
)
async def test_a_hold_of_an_earlier_revision_has_its_state(
    settings: StoreSettings, reason: str, state: EndpointState
) -> None:
    """The migration tells refusals from pauses by the reason that was stored."""
    with at_revision(settings, "0004") as connection:
        connection.execute(
            text("INSERT INTO endpoints (name, held_reason, held_at) VALUES ('crm', :reason, :at)"),
            {"reason": reason, "at": int(START.timestamp() * 1_000_000)},
        )
    async with opened(settings) as store:
        assert await status(store) == EndpointStatus(state, START, reason)


async def test_a_failover_is_kept_until_the_endpoint_is_back(
    settings: StoreSettings, clock: Clock
) -> None:
    """Restarts and holds keep it; the success that ends the failure ends it, in one transaction."""
    async with opened(settings, clock=clock) as store:
        for item in many(2):
            await store.ingest(item)
        one, two = await store.claim("crm", 2)
        failing = clock.forward(5)
        await store.record(replace(attempt(one, later(60)), failing=True))
        over = clock.forward(60)
        assert await store.fail_over("crm") == over
        assert await status(store) == EndpointStatus(FAILING, failing, failover_since=over)
        assert await status(store, "erp") is None
    clock.forward(60)
    async with opened(settings, clock=clock) as store:
        assert await store.read(failed_over) == {"crm": over}
        await store.change(lambda connection: hold_endpoint(connection, "crm", "move", START))
        assert await status(store) == EndpointStatus(PAUSED, START, "move", over)
        await store.change(lambda connection: resume_endpoint(connection, "crm", START))
        await store.record(replace(attempt(two), failing=False))
        assert await status(store) is None
        assert await store.read(failed_over) == {}
        # Without a failing endpoint, the failover makes it one; and it can be taken back.
        over = clock.forward(5)
        await store.fail_over("erp")
        assert await status(store, "erp") == EndpointStatus(FAILING, over, failover_since=over)
        await store.recovered("erp")
        assert await status(store, "erp") is None


async def test_attempts_say_which_url_they_went_to(settings: StoreSettings) -> None:
    """The ledger shows it, also where all attempts of a batch delivered."""
    async with opened(settings) as store:
        for item in many(3):
            await store.ingest(item)
        one, two, three = await store.claim("crm", 3)
        await store.record(replace(attempt(one), failover=True))
        await store.record(attempt(two))
        await store.record(replace(attempt(three, later(60)), failover=True))
        made = [
            (await store.read(partial(show_delivery, delivery_id=each.delivery_id))).attempts
            for each in (one, two, three)
        ]
    assert [each.failover for (each,) in made] == [True, False, True]

"""Deliveries from the real store to real servers: one endpoint's trouble stays its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Connection
from standardwebhooks import Webhook

from bridge import event
from bridge.clock import Clock
from bridge.config.settings import DeliverySettings, StoreSettings
from bridge.delivery import Dispatcher, Endpoint
from bridge.model import (
    DeliveryState,
    RawFields,
    Receipt,
    SmsMessage,
)
from bridge.operations.digest import Digester
from bridge.signing.standard_webhooks import generate_secret, parse_secret
from bridge.store import Database, Ingest, Store
from bridge.store.audit import audit
from bridge.store.forget import forget_messages
from bridge.store.queries import list_deliveries
from tests.delivery.conftest import utc_now
from tests.delivery.servers import (
    GZIP_BOMB,
    HEAD_200,
    NASTY,
    Request,
    closed_port,
    hangs,
    receiver,
    says,
    sends,
)
from tests.patience import PATIENCE
from tests.store.making import arrival, planned_message

Make = Callable[..., Endpoint]
Opening = Callable[[Endpoint], httpx.AsyncBaseTransport]
RECEIVED = datetime(2026, 4, 8, 12, 30, tzinfo=UTC)


@asynccontextmanager
async def _store(folder: Path, endpoints: Sequence[Endpoint]) -> AsyncIterator[Store]:
    store = await Store.open(
        StoreSettings(url=f"sqlite:///{folder}/bridge.db", min_free=0),
        owner="test",
        lease_seconds=60.0,
        endpoints=[endpoint.name for endpoint in endpoints],
        clock=Clock(),
    )
    try:
        yield store
    finally:
        await store.close()


def _dispatcher(store: Store, endpoints: Sequence[Endpoint], opening: Opening) -> Dispatcher:
    return Dispatcher(endpoints, DeliverySettings(), store, opening, clock=utc_now, rng=lambda: 0.0)


def _message(number: int) -> SmsMessage:
    raw = RawFields("393301234567", "393331234333", None)
    return SmsMessage(
        provider="agile",
        sender="+393301234567",
        recipient="+393331234333",
        body=f"News {number}",
        received_at=RECEIVED + timedelta(seconds=number),
        raw=raw,
    )


async def _ingest(dispatcher: Dispatcher, store: Store, number: int) -> Receipt:
    """Do what the intake does with one message."""
    message = _message(number)
    known = event.identity(message, None)
    new = planned_message(known)
    planned = dispatcher.plan(replace(new.message, sms=message))
    new = planned_message(known, planned)
    item = Ingest(arrival(b"raw"), (replace(new, message=replace(new.message, sms=message)),))
    receipt = await store.ingest(item)
    started = {claim.endpoint for claim in receipt.claims}
    dispatcher.release([plan for plan in planned if plan.endpoint not in started])
    dispatcher.start(receipt.claims)
    return receipt


def _ledger(folder: Path) -> dict[str, list[tuple[DeliveryState, int]]]:
    """Audit the database, and tell each endpoint's deliveries by state and attempts."""
    database = Database.open(StoreSettings(url=f"sqlite:///{folder}/bridge.db"), migrate=False)
    try:
        with database.read() as connection:
            report = audit(connection, utc_now())
            rows = list_deliveries(connection, limit=10_000)
    finally:
        database.close()
    assert [check for check in report.checks if not check.ok] == []
    told: dict[str, list[tuple[DeliveryState, int]]] = {}
    for row in rows:
        told.setdefault(row.endpoint, []).append((row.state, row.attempts))
    return told


async def test_trouble_of_others_does_not_reach_a_healthy_endpoint(
    tmp_path: Path, endpoint_at: Make, opening: Opening
) -> None:
    """With every kind of hostile endpoint beside it, a healthy one gets each message, verified."""
    bomb = sends(HEAD_200 + b"Content-Encoding: gzip\r\n\r\n", GZIP_BOMB, then=hangs)
    secret = generate_secret()
    async with AsyncExitStack() as stack:
        hostile = [
            endpoint_at(f"http://127.0.0.1:{closed_port()}/", name="down"),
            *[
                endpoint_at(
                    (await stack.enter_async_context(receiver(answer))).url,
                    name=name.replace(" ", "-"),
                    timeout=0.5,
                    concurrency=3,
                )
                for name, answer in (NASTY | {"gone": says(410), "bomb": bomb}).items()
            ],
        ]
        # Its attempts do not end before the test: whoever waited for one would wait for an hour.
        holding = await stack.enter_async_context(receiver(hangs))
        hostile.append(endpoint_at(holding.url, name="holding", timeout=3600, concurrency=3))
        healthy_server = await stack.enter_async_context(receiver(says(200)))
        healthy = endpoint_at(healthy_server.url, name="healthy", keys=(parse_secret(secret),))
        endpoints = [*hostile, healthy]
        store = await stack.enter_async_context(_store(tmp_path, endpoints))
        dispatcher = _dispatcher(store, endpoints, opening)
        running = asyncio.create_task(dispatcher.run())
        await asyncio.sleep(0.3)  # the lanes have looked at the store, as after any start
        for number in range(40):
            await _ingest(dispatcher, store, number)
            await healthy_server.got(number + 1)
            await asyncio.sleep(0.02)
        assert len(holding.requests) == 3
        await dispatcher.drain(1.0)
        await running
        for request in healthy_server.requests:
            Webhook(secret).verify(request.body, dict(request.headers))
        ids = {request.headers["webhook-id"] for request in healthy_server.requests}
    assert len(ids) == len(healthy_server.requests) == 40
    ledger = _ledger(tmp_path)
    assert ledger.pop("healthy") == [(DeliveryState.DELIVERED, 1)] * 40
    assert {state for state, _ in ledger.pop("gone")} == {DeliveryState.HELD}
    assert DeliveryState.DELIVERED in {state for state, _ in ledger.pop("bomb")}
    for name, deliveries in ledger.items():
        assert [state for state, _ in deliveries] == [DeliveryState.PENDING] * 40, name
        assert sum(attempts for _, attempts in deliveries) > 0, name


async def test_nothing_is_lost_over_a_cut_off(
    tmp_path: Path, endpoint_at: Make, opening: Opening
) -> None:
    """What was cut off in flight, and what never had a slot, goes out after the next start."""
    async with receiver(hangs) as stuck, receiver(says(200)) as server:
        before = [endpoint_at(stuck.url, concurrency=3)]
        async with _store(tmp_path, before) as store:
            dispatcher = _dispatcher(store, before, opening)
            running = asyncio.create_task(dispatcher.run())
            await asyncio.sleep(0.1)
            for number in range(10):
                await _ingest(dispatcher, store, number)
            await stuck.got(3)
            await dispatcher.drain(0.1)
            await running
        after = [replace(before[0], url=httpx.URL(server.url))]
        async with _store(tmp_path, after) as store:
            dispatcher = _dispatcher(store, after, opening)
            running = asyncio.create_task(dispatcher.run())
            await server.got(10)
            await dispatcher.drain(3.0)
            await running
        sent = {request.headers["webhook-id"] for request in stuck.requests}
        got = {request.headers["webhook-id"]: request for request in server.requests}
    assert len(got) == len(server.requests) == 10
    assert sent <= set(got)
    assert {got[again].headers["webhook-attempt"] for again in sent} == {"2"}
    assert {state for state, _ in _ledger(tmp_path)["crm"]} == {DeliveryState.DELIVERED}


async def test_an_attempt_whose_delivery_is_forgotten_ends_no_lane(
    tmp_path: Path, endpoint_at: Make, opening: Opening
) -> None:
    """Another bridge delivered it after our lease had ended, and retention deleted it since."""
    may_answer = asyncio.Event()

    async def waits(request: Request, writer: asyncio.StreamWriter) -> None:
        await may_answer.wait()
        await says(200)(request, writer)

    async with receiver(waits) as server:
        endpoints = [endpoint_at(server.url)]
        async with _store(tmp_path, endpoints) as store:
            dispatcher = _dispatcher(store, endpoints, opening)
            running = asyncio.create_task(dispatcher.run())
            first = await _ingest(dispatcher, store, 1)
            assert first.message_id is not None
            await _ingest(dispatcher, store, 2)  # the newest delivery's row always stays
            await server.got(2)
            await store.change(partial(forget_messages, ids=[first.message_id]))
            may_answer.set()
            await dispatcher.drain(PATIENCE)
            await running
    assert _ledger(tmp_path) == {"crm": [(DeliveryState.DELIVERED, 1)]}


@pytest.mark.parametrize("stays", [True, False], ids=["changed", "removed"])
async def test_a_digest_goes_through_the_lane_that_has_its_slot(
    tmp_path: Path, opening: Opening, endpoint_at: Make, stays: bool
) -> None:
    """The config changes while a digest is being written: no lane is left behind, no bug."""
    async with receiver(says(200)) as old, receiver(says(200)) as new:
        before = endpoint_at(old.url, digest=3600.0)
        after = [endpoint_at(new.url, digest=3600.0)] if stays else []
        async with _store(tmp_path, [before]) as store:
            dispatcher = _dispatcher(store, [before], opening)
            real = store.change

            async def reloaded_meanwhile(change: Callable[[Connection], object]) -> object:
                changed = await real(change)
                # The lane's own changes say how many they were of.
                if not isinstance(changed, int) and not dispatcher._retired["crm"]:
                    dispatcher.change(after, ())
                return changed

            store.change = reloaded_meanwhile  # type: ignore[method-assign,assignment]
            running = asyncio.create_task(dispatcher.run())
            async with asyncio.timeout(PATIENCE):
                while dispatcher._lanes["crm"]._claiming.due:  # its first look takes all slots
                    await asyncio.sleep(0.01)
            await Digester(store, dispatcher, [before], utc_now).step()
            async with asyncio.timeout(PATIENCE):
                while not old.requests or len(dispatcher._alive) > len(after):
                    await asyncio.sleep(0.01)
            assert new.requests == []
            await dispatcher.drain(PATIENCE)
            await running

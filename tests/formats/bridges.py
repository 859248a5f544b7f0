"""A bridge in this process: what the daemon builds, with a real store, delivery and listener."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from bridge import app
from bridge.clock import Clock
from bridge.config.load import load
from bridge.config.settings import Settings
from bridge.delivery import Dispatcher
from bridge.delivery.transport import open_transport
from bridge.intake import Intake
from bridge.model import Arrival, DeliveryState, Envelope, Message, Receipt
from bridge.net.tls import client_context
from bridge.sources.posts.source import PostSource
from bridge.store import Store, queries
from bridge.store.audit import audit
from tests.patience import PATIENCE

SECRET = "whsec_" + "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo="
NOW = datetime(2026, 4, 8, 12, 30, 53, tzinfo=UTC)
MAIL = (
    "From: smsin@agiletelecom.com\r\nSubject: Agile Telecom -- SMS received\r\n"
    "Message-ID: <{id}@agiletelecom.com>\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"
    "From: +393301234567\r\nTo: +393331234333\r\nDate/Time: {time}\r\nBody: {body}\r\n"
)
# Retries follow at once, so that no test waits.
_BASE = """
[store]
min_free = 0
[delivery]
schedule = [0, 0, 0, 0, 0, 0, 0, 0]
repeat = 0.01
[[providers]]
name = "agile"
time_zone = "Europe/Rome"
region = "IT"
trust = { anyone = true }
"""


@dataclass
class Bridge:
    """A running bridge and what is in its store."""

    settings: Settings
    store: Store
    intake: Intake

    async def mail(self, body: str, number: int = 1, time: str = "20260408143052") -> Receipt:
        """Take in an SMS as Agile Telecom mails it."""
        raw = MAIL.format(id=number, body=body, time=time).encode()
        return await self.intake.accept(
            Arrival(Envelope("127.0.0.1", "", ("sms@bridge.test",)), "smtp", raw, NOW)
        )

    async def delivered(self, count: int) -> list[queries.DeliveryRow]:
        """Wait until this many deliveries are done."""
        listing = partial(queries.list_deliveries, limit=1000)
        async with asyncio.timeout(PATIENCE):
            while True:
                rows = await self.store.read(listing)
                done = [row for row in rows if row.state is DeliveryState.DELIVERED]
                if len(done) >= count:
                    return done
                await asyncio.sleep(0.01)

    async def attempts(self, delivery: int) -> list[tuple[int | None, str]]:
        """Return the status of each attempt, and why it failed; oldest first."""
        shown = await self.store.read(partial(queries.show_delivery, delivery_id=delivery))
        return [(each.status, each.detail) for each in shown.attempts]

    async def messages(self) -> list[Message]:
        """Return the stored messages."""
        return [row.message for row in await self.store.read(queries.list_messages)]

    async def in_order(self) -> None:
        """Let the ledger be audited."""
        report = await self.store.read(partial(audit, now=app.now()))
        assert [check for check in report.checks if not check.ok] == []


def config(folder: Path, text: str) -> Settings:
    """Load a config as the daemon does."""
    folder.mkdir(exist_ok=True)
    path = folder / "config.toml"
    path.write_text(_BASE + text)
    path.chmod(0o600)
    return load(path)


@asynccontextmanager
async def bridge(folder: Path, text: str) -> AsyncIterator[Bridge]:
    """Run a bridge with these tables beside its provider; posts too, if there are some."""
    settings = config(folder, text)
    endpoints = app.endpoints_of(settings)
    async with AsyncExitStack() as stack:
        store = await Store.open(
            settings.store,
            owner=folder.name,
            lease_seconds=60,
            endpoints=[each.name for each in endpoints],
            clock=Clock(),
        )
        stack.push_async_callback(store.close)
        dispatcher = Dispatcher(
            endpoints, settings.delivery, store,
            partial(open_transport, verify=client_context()),
            clock=app.now, rng=random.SystemRandom().random,
        )  # fmt: skip
        sending = asyncio.create_task(dispatcher.run())
        stack.push_async_callback(_ended, sending)
        stack.push_async_callback(dispatcher.drain, PATIENCE)
        intake = Intake(app.reader_of(settings), store, dispatcher)
        if settings.posts.addresses:
            tokens = {each.name: each.post.all_tokens for each in settings.providers if each.post}
            source = PostSource(
                settings.posts, app.posts_of(settings), tokens, intake.accept, {}, clock=app.now
            )
            listening = asyncio.create_task(source.run())
            stack.push_async_callback(_ended, listening)
            stack.callback(source.stop)
            async with asyncio.timeout(PATIENCE):
                await source.listening.wait()
        yield Bridge(settings, store, intake)


async def _ended(task: asyncio.Task[None]) -> None:
    async with asyncio.timeout(PATIENCE):
        await task

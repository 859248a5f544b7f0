"""A running listener for posts with a real store, and a client of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import httpx

from bridge import app
from bridge.clock import Clock
from bridge.config.load import load
from bridge.config.settings import Settings
from bridge.intake import Intake
from bridge.model import Arrival, Receipt
from bridge.operations import quarantine
from bridge.reader import Reading
from bridge.sources.posts.source import PostSource
from bridge.store import Store, queries
from tests.patience import PATIENCE

Accept = Callable[[Arrival], Awaitable[Receipt]]
# What every config of a listener has beside its providers.
CONFIG = """
[store]
min_free = 0
[smtp]
listen = []
[posts]
listen = ["127.0.0.1:0"]
public_url = "https://sms.example.com"
proxies = ["127.0.0.1/32"]
max_body = "16KiB"
[[endpoints]]
name = "crm"
url = "http://127.0.0.1:9/sms"
secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
"""


class Line:
    """A running source with a real store, and a client of it."""

    def __init__(self, source: PostSource, store: Store, intake: Intake) -> None:
        self.source = source
        self.store = store
        self.intake = intake
        self.url = f"http://127.0.0.1:{source.addresses[0][1]}"
        self.client = httpx.AsyncClient(base_url=self.url, trust_env=False)

    async def post(self, path: str, values: object, **more: object) -> httpx.Response:
        """Post a form."""
        return await self.client.post(path, data=values, **more)  # type: ignore[arg-type]

    async def arrivals(self) -> list[tuple[str, str]]:
        """Return the source and outcome of each arrival."""
        found = []
        for number in range(1, 50):
            with suppress(Exception):
                row = await quarantine.show_arrival(self.store, number)
                found.append((str(row["source"]), str(row["outcome"])))
        return found

    async def raw(self, number: int) -> bytes:
        """Return what is stored of an arrival."""
        return await quarantine.raw_arrival(self.store, number)

    async def read_again(self, number: int) -> Reading:
        """Read a stored arrival as a reparse does."""
        kept = await self.store.read(partial(queries.show_arrival, arrival_id=number))
        found = await self.intake.read(kept.arrival)
        assert isinstance(found, Reading), found
        return found


def settings(folder: Path, providers: str, common: str = CONFIG) -> Settings:
    """Load a config with these providers."""
    path = folder / "config.toml"
    path.write_text(common + providers)
    path.chmod(0o600)
    return load(path)


@asynccontextmanager
async def running(config: Settings, accept: Accept | None = None) -> AsyncIterator[Line]:
    """Run the source of the config; `accept` stands in for the intake."""
    store = await Store.open(
        config.store, owner="us", lease_seconds=60, endpoints=["crm"], clock=Clock()
    )
    intake = app.intake_of(config, store)
    tokens = {each.name: each.post.all_tokens for each in config.providers if each.post}
    source = PostSource(
        config.posts, app.posts_of(config), tokens, accept or intake.accept, {}, clock=app.now
    )
    task = asyncio.create_task(source.run())
    async with asyncio.timeout(PATIENCE):
        await source.listening.wait()
    line = Line(source, store, intake)
    try:
        yield line
    finally:
        await line.client.aclose()
        source.stop()
        await task
        await store.close()

"""The operators' page over a big store: how long each screen takes, and how long it holds the loop.

`python -m benchmarks.page [--messages 1000000] [--rounds 50]`. Server and browser run in one loop,
which is watched: how much of the processor it takes, at most, until a timer of 1 ms is heard.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

import aiohttp

sys.path.insert(0, str(Path(__file__).parent))
import filling

from bridge.app import mails_of
from bridge.clock import Clock
from bridge.config.http import HttpSettings
from bridge.config.settings import Settings
from bridge.delivery.planner import Planner
from bridge.intake import Intake
from bridge.model import Scope
from bridge.net import loop
from bridge.no_store import NO_STORE
from bridge.operations.tokens import create_token
from bridge.reader import Reader
from bridge.store import Store, queries
from bridge.web import Bridge, Health, WebServer
from bridge.web.door import Admission, Door, Sessions
from bridge.web.page import Page, Pulse, Site

_TICK: Final = 0.001  # seconds


def now() -> datetime:
    """Return the time."""
    return datetime.now(UTC)


class Watch:
    """Notes for how long the loop was held, at most: in processor time, also on a busy machine."""

    def __init__(self) -> None:
        self.longest = 0.0

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            began = time.thread_time()
            await asyncio.sleep(_TICK)
            self.longest = max(self.longest, time.thread_time() - began)


@contextmanager
def folder_for(where: Path | None) -> Iterator[Path]:
    """Use a folder that stays, or a temporary one."""
    if where is not None:
        where.mkdir(parents=True, exist_ok=True)
        yield where
        return
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)


async def measure(settings: Settings, rounds: int) -> None:
    """Print the p50 and p99 of each screen, and the longest that the loop was held."""
    store = await Store.open(
        settings.store, owner="bench", lease_seconds=60, endpoints=[filling.ENDPOINT], clock=Clock()
    )
    try:
        name = f"bench-{time.time_ns()}"
        token = (await create_token(store, now, name, Scope.OPERATE, "bench"))["token"]
        row = (await store.read(lambda connection: queries.list_messages(connection, limit=1)))[0]
        reader = Reader(mails_of(settings), {}, now)
        intake = Intake(reader, store, Planner(()))
        bridge = Bridge(store, Health(), now, intake, lambda *_: intake, settings, ())
        admission = Admission(store, now)
        door = Door(HttpSettings(), admission, Sessions())
        pulse = Pulse(store, [], admission.is_open, now)
        page = Page(door, Site(bridge, pulse, lambda: reader))
        server = WebServer("127.0.0.1:0", Health(), NO_STORE.refresh, api=page.routes())
        await server.start()
        paths = {
            "overview": "/",
            "messages": "/messages",
            "messages, in the middle": "/messages?before=500000",
            "by a whole number": f"/messages?{urlencode({'number': row.message.sms.sender})}",
            "by a number that isn't there": f"/messages?{urlencode({'number': '+399999999999'})}",
            "by the end of a number": "/messages?number=99999",
            "by a text that isn't there": "/messages?text=absent",
            "by a time": "/messages?since=2026-01-01T00:05&until=2026-01-01T00:06",
            "by a state": "/messages?state=dead",
            "one message": f"/messages/{row.message.id}",
            "deliveries": "/deliveries",
            "deliveries, delivered": "/deliveries?state=delivered",
            "deliveries, dead": "/deliveries?state=dead",
            "deliveries, filtered": "/deliveries?state=filtered",
            "deliveries of an endpoint": f"/deliveries?endpoint={filling.ENDPOINT}",
            "one delivery": "/deliveries/500000",
            "quarantine": "/quarantine",
            "one arrival": f"/arrivals/{row.arrival_id}",
            "endpoints": "/endpoints",
            "one endpoint": f"/endpoints/{filling.ENDPOINT}",
            "live": "/live?what=deliveries",
        }
        host, port = server.addresses[0]
        base = f"http://{host}:{port}"
        jar = aiohttp.CookieJar(unsafe=True)
        async with aiohttp.ClientSession(cookie_jar=jar) as client:
            headers = {"Sec-Fetch-Site": "same-origin", "Origin": base}
            await (
                await client.post(f"{base}/login", data={"token": token}, headers=headers)
            ).read()
            columns = ("p50 ms", "p99 ms", "processor ms", "loop held ms")
            print(f"{'screen':30}", *(f"{each:>13}" for each in columns))
            gc.collect()
            gc.freeze()  # as the daemon does
            for what, path in paths.items():
                await _one(client, base + path)  # what is read or compiled once
                watch = Watch()
                watching = asyncio.create_task(watch.run())
                used = time.process_time()
                took = sorted([await _one(client, base + path) for _ in range(rounds)])
                used = (time.process_time() - used) / rounds
                watching.cancel()
                p50, p99 = took[len(took) // 2], took[min(len(took) - 1, int(len(took) * 0.99))]
                figures = (p50, p99, used, watch.longest)
                print(f"{what:30}", *(f"{each * 1000:13.1f}" for each in figures), flush=True)
        await server.stop()
        await admission.close()
    finally:
        await store.close()


async def _one(client: aiohttp.ClientSession, url: str) -> float:
    began = time.perf_counter()
    async with client.get(url) as answer:
        await answer.read()
        assert answer.status in {200, 404}, (url, answer.status)
    return time.perf_counter() - began


def main() -> None:
    """Fill a store, or use the one of last time, and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--folder", type=Path, help="keeps the store, and uses it again")
    asked = parser.parse_args()
    with folder_for(asked.folder) as folder:
        path = folder / "bridge.db"
        settings = Settings.model_validate({"store": {"url": f"sqlite:///{path}"}})
        if not path.exists():
            filling.fill(settings.store, asked.messages)
            filling.deliver(settings.store)
        loop.run(measure(settings, asked.rounds))


if __name__ == "__main__":
    main()

"""Dead deliveries are retried by filter: counted, ordered with a reason, and watched."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing

import pytest

from tests.patience import PATIENCE
from tests.web.page.house import Browser, House

pytestmark = pytest.mark.processes


async def test_the_dead_are_counted_retried_and_the_retry_is_shown(house: House) -> None:
    """Nothing retries everything; the order has a reason, and ends with all of them tried."""
    made_dead = _make_dead(house)
    async with Browser(house.url) as browser:
        await browser.log_in(house.operate)
        listed = await browser.get("/deliveries?state=dead&endpoint=silent")
        asked = await browser.get(listed.link("Retry all of these"))
        assert f"Retry {made_dead} deliveries" in asked.text
        order = {"state": "dead", "endpoint": "silent", "rate": "200"}
        assert (await browser.post("/retries", **order, why=" ")).status == 409
        assert (await browser.post("/retries", rate="200", why="all")).status == 409
        assert (await browser.post("/retries", **{**order, "rate": "5000"}, why="x")).status == 409
        shown = await browser.post("/retries", **order, why="it is back")
        assert "it is back" in shown.text
        path = shown.url.removeprefix(house.url)
        async with asyncio.timeout(PATIENCE):
            while f"{made_dead} retried" not in shown.text or "100 % looked at" not in shown.text:
                await asyncio.sleep(0.1)
                shown = await browser.get(path)
        assert "Stop it" not in shown.text
        assert "it is back" in (await browser.get("/retries")).text
        assert (await browser.post(f"{path}/cancel")).status == 409
        await browser.log_in(house.read)
        assert (await browser.get("/retries/order?state=dead")).status == 403
        assert (await browser.post("/retries", **order, why="x")).status == 403


def _make_dead(house: House) -> int:
    """Have the store say that the silent endpoint's deliveries are dead; return how many."""
    path = house.daemon.config.parent / "bridge.db"
    with closing(sqlite3.connect(path, timeout=PATIENCE)) as database, database:
        return database.execute(
            "UPDATE deliveries SET state = 'dead', conversation = NULL "
            "WHERE endpoint = 'silent' AND state = 'delivered'"
        ).rowcount

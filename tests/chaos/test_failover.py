"""The process dies as it begins or ends to use a failover URL, and while it probes the other one.

A few kills each; `make kills` makes it twenty.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Final

import pytest

from bridge.clock import Clock
from bridge.store import Database, Store, failed_over, failing_endpoints
from tests.chaos.test_changes import KILLS, assert_whole, deliveries, failing, fill
from tests.servers.daemon import Config, Daemon
from tests.servers.ports import steady_port
from tests.servers.receiver import Exchange, Receiver, status, taken
from tests.store.making import sqlite_settings

OTHER: Final = "/failover"
A_LIFE: Final = 2  # messages that the failover URL takes in each life, so that some are left


def since(folder: Path) -> datetime | None:
    """Return since when the failover URL is in use, as the store says; then it is failing."""
    database = Database.open(sqlite_settings(folder / "bridge.db"))
    try:
        with database.read() as connection:
            over = failed_over(connection)
            assert set(over) <= failing_endpoints(connection)
            return over.get("crm")
    finally:
        database.close()


class Outages:
    """The two URLs: the own one is down until the other is in use, and then up, life after life."""

    def __init__(self, folder: Path, lives: Callable[[], int]) -> None:
        self._folder = folder
        self._lives = lives
        self.own: dict[int, list[str]] = defaultdict(list)  # by life: what came, in order
        self.taken: dict[int, set[str]] = defaultdict(set)  # by life: what the other one took

    async def answer(self, exchange: Exchange) -> None:
        """Answer a request to either URL."""
        life = self._lives()
        if exchange.webhook.path != OTHER:
            self.own[life].append(exchange.webhook.id)
            await (taken if self._is_up(life) else status(503))(exchange)
        elif len(self.taken[life]) < A_LIFE:
            self.taken[life].add(exchange.webhook.id)
            await taken(exchange)
        else:
            await status(503)(exchange)

    def _is_up(self, life: int) -> bool:
        over = life == KILLS or since(self._folder) is not None  # nothing kills the last one
        return over and len(self.taken[life]) == A_LIFE


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("change", ["failover", "failback"])
def test_daemon_that_dies_as_it_changes_urls_goes_on(
    change: str, when: str, tmp_path: Path, secret: str, receiver: Receiver
) -> None:
    """Each life begins at the URL that the store names, and in the end all came, each number once.

    Every life but those that die before they could use it has sent to the failover URL.
    """
    failover = f'failover = {{ url = "http://127.0.0.1:{receiver.port}{OTHER}", after = "0.2s" }}'
    extra = {
        "crm": (failover, "concurrency = 2"),
        "delivery": ('schedule = ["0s"]', 'repeat = "0.2s"'),
    }
    config = Config({"crm": receiver.url}, secret, http_port=steady_port(), extra=extra).write(
        tmp_path
    )
    messages = 12 + 8 * KILLS
    fill(tmp_path, dead=False, messages=messages)
    if change == "failback":
        asyncio.run(_fail_over(tmp_path))
    with Daemon(config, failing(f"{when} {change}")) as daemon:
        outages = Outages(tmp_path, lambda: len(daemon.log("failpoint")))
        receiver.answer = outages.answer
        daemon.spawn()
        daemon.wait_until(lambda: len(daemon.log("failpoint")) == KILLS)
        daemon.wait_until(
            lambda: {each.state.value for each in deliveries(tmp_path)} == {"delivered"}
        )
        daemon.wait_until(lambda: since(tmp_path) is None)
        assert 'smsbridge_endpoint_failover{endpoint="crm"} 0.0' in daemon.page("/metrics")[1]
        assert daemon.stop() == 0
    receiver.assert_honest()
    receiver.assert_no_gap()
    assert receiver.count() == messages
    unused = {"before": KILLS, "after": 1}[when] if change == "failover" else 0
    assert sorted(life for life, some in outages.taken.items() if some) == list(
        range(unused, KILLS + 1)
    )
    assert_whole(tmp_path, messages)


async def _fail_over(folder: Path) -> None:
    store = await Store.open(
        sqlite_settings(folder / "bridge.db"),
        owner="us", lease_seconds=60, endpoints=["crm"], clock=Clock(),
    )  # fmt: skip
    await store.fail_over("crm")
    await store.close()

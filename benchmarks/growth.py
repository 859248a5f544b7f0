"""Growing old: what the store's work costs with very many messages in it, beside a thousand.

On SQLite and on a real PostgreSQL, once with all of the messages waiting and once with all
delivered. The two stores take turns, so other load on the machine meets both, and of each work's
times the least counts: whatever else the machine does can only add to it.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final

import filling
import programs
from figures import Bench, Line, Report
from filling import ENDPOINT
from sqlalchemy import Connection

from bridge.clock import Clock
from bridge.config.settings import StoreSettings
from bridge.model import Attempt, Claim, Delivered, DeliveryState, Outcome
from bridge.store import (
    Database,
    Lease,
    Store,
    endpoint_statuses,
    ingest_many,
    outbox,
    queries,
)
from bridge.store.record import record_many
from bridge.store.snapshot import oldest_undelivered, take_snapshot

_FEW: Final = 1_000
_MOST: Final = 1.5  # times as long as with a few
_BATCH: Final = 10
_BATCHES: Final = 4
_numbers = itertools.count(10**9)  # of messages that no store has
_LISTS: Final[Mapping[str, Callable[[Connection], object]]] = {
    "list messages": queries.list_messages,
    "list deliveries": queries.list_deliveries,
    "list quarantine": queries.list_quarantine,
    **{
        f"list {state.value}": partial(queries.list_deliveries, endpoint=ENDPOINT, state=state)
        for state in (DeliveryState.PENDING, DeliveryState.HELD, DeliveryState.DELIVERED)
    },
}


class Subject:
    """One store, and the work that is timed on it."""

    def __init__(self, settings: StoreSettings) -> None:
        self._settings = settings
        self._database = Database.open(settings)
        self.seconds: defaultdict[str, list[float]] = defaultdict(list)

    def work(self) -> None:
        """Do everything: some batches through the line, what a scrape reads, the lists."""
        # The first commits lengthen the log, which takes longer to sync than to write it again.
        for _ in range(_BATCHES):
            self._line()
        with self._timed("/metrics"), self._database.read() as connection:
            oldest_undelivered(connection, [ENDPOINT])
            endpoint_statuses(connection)
            take_snapshot(connection)
        for name, read in _LISTS.items():
            with self._timed(name), self._database.read() as connection:
                read(connection)

    def _line(self) -> None:
        claims: list[Claim] = []
        with self._timed("ingest"), self._database.begin_again() as connection:
            items = [filling.message(next(_numbers)) for _ in range(_BATCH)]
            ingest_many(connection, items, self._lease())
        with self._timed("claim"), self._database.begin_again() as connection:
            claims += outbox.claim(connection, ENDPOINT, _BATCH, self._lease())
        assert len(claims) == _BATCH
        now = datetime.now(UTC)
        made = [Attempt(each, now, Outcome(200, 0.01), Delivered()) for each in claims]
        with self._timed("record"), self._database.begin_again() as connection:
            record_many(connection, made, now)

    def start(self) -> None:
        """Open the store as a daemon does that finds a dead predecessor's leases."""
        with self._database.begin() as connection:
            outbox.claim(connection, ENDPOINT, _BATCH, self._lease())

        async def open_and_close() -> None:
            with self._timed("start"):
                store = await Store.open(
                    self._settings,
                    owner="bench",
                    lease_seconds=60.0,
                    endpoints=[ENDPOINT],
                    clock=Clock(),
                )
                await store.next_due(ENDPOINT)
            await store.close()

        asyncio.run(open_and_close())

    def close(self) -> None:
        """Close the store."""
        self._database.close()

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.seconds[name].append(time.perf_counter() - began)

    @staticmethod
    def _lease() -> Lease:
        now = datetime.now(UTC)
        return Lease("bench", now, now + timedelta(seconds=60))


async def growth(bench: Bench) -> Report:
    """Measure claim, ingest, record, /metrics, start and lists beside a thousand messages."""
    # The server is the tests' own.
    sys.path.append(str(programs.ROOT))
    from tests.servers.postgres import running_server
    from tests.servers.programs import find

    many = bench.size.grown
    report = Report(
        f"{many:,} messages in the store, beside {_FEW:,}", (f"{many:,}", f"{_FEW:,}", "")
    )
    with ExitStack() as stack:
        databases = {"SQLite": _files(bench.place("growth"))}
        if find("pg_ctl") is None:
            report.notes.append("PostgreSQL is not installed (`make servers`): left out")
        else:
            server = stack.enter_context(running_server())
            databases["PostgreSQL"] = [
                StoreSettings(url=server.create_database()) for _ in range(2)
            ]
        for name, stores in databases.items():
            await asyncio.to_thread(_measure, report, name, stores, many, bench.size.rounds)
    return report


def _files(folder: Path) -> list[StoreSettings]:
    return [StoreSettings(url=f"sqlite:///{folder / which}.db") for which in ("few", "many")]


def _measure(
    report: Report, database: str, stores: Sequence[StoreSettings], many: int, rounds: int
) -> None:
    began = time.perf_counter()
    for settings, count in zip(stores, (_FEW, many), strict=True):
        filling.fill(settings, count)
    report.notes.append(f"{database} was filled in {time.perf_counter() - began:.0f} s")
    for state in ("waiting", "delivered"):
        if state == "delivered":
            for settings in stores:
                filling.deliver(settings)
        _take_turns(report, f"{database}, {state}", stores, rounds)


def _take_turns(report: Report, where: str, stores: Sequence[StoreSettings], rounds: int) -> None:
    few, many = subjects = [Subject(settings) for settings in stores]
    try:
        for each in subjects:
            each.work()  # caches, and statements compiled
            each.seconds.clear()
        for _ in range(rounds * 10):
            for each in subjects:
                each.work()
        for _ in range(rounds * 3):
            for each in subjects:
                each.start()
        _compare(report, where, few.seconds, many.seconds)
    finally:
        for each in subjects:
            each.close()


def _compare(
    report: Report, where: str, few: Mapping[str, list[float]], many: Mapping[str, list[float]]
) -> None:
    for name, times in many.items():
        ours, beside = min(times), min(few[name])
        ratio = ours / beside
        report.lines.append(
            Line(
                f"{where}: {name}, ms", f"{ours * 1000:.2f}", f"{beside * 1000:.2f}",
                f"{ratio:.2f}×", f"≤ {_MOST}×", ratio <= _MOST,
            )
        )  # fmt: skip
        report.numbers[f"{where}: {name}"] = {"many": times, "few": few[name]}

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, event

from bridge.config.settings import StoreSettings
from bridge.errors import StoreError, StoreFull, StoreUnavailable
from bridge.model import ArrivalOutcome
from tests.store.making import (
    arrival,
    attempt,
    audited,
    identity,
    many,
    opened,
    plan,
    sms,
    sqlite_settings,
    unreadable,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "bridge.db"


async def test_locked_database_is_unavailable_and_then_works(path: Path) -> None:
    """While another process holds the lock nothing is taken, and afterwards all of it is."""
    async with opened(sqlite_settings(path)) as store:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            results = await asyncio.gather(
                *(store.ingest(item) for item in many(20)), return_exceptions=True
            )
            assert {type(each) for each in results} == {StoreUnavailable}
            assert "another process holds its lock" in str(results[0])
            assert "bridge.db" in str(results[0])
            assert await store.next_due("crm") is None
            other.execute("ROLLBACK")
        for item in many(20):
            assert (await store.ingest(item)).outcome is ArrivalOutcome.MESSAGE
    assert audited(sqlite_settings(path)).ok


@contextmanager
def _transactions() -> Iterator[list[Connection]]:
    """Note every transaction that begins, and so waits for the lock."""
    begun: list[Connection] = []

    def note(connection: Connection) -> None:
        begun.append(connection)

    event.listen(Engine, "begin", note)
    try:
        yield begun
    finally:
        event.remove(Engine, "begin", note)


async def test_locked_batch_waits_once(path: Path) -> None:
    """A batch that finds the lock taken is not run again item by item, each with its own wait."""
    async with opened(sqlite_settings(path, busy_timeout=0.3)) as store:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with _transactions() as begun:
                await asyncio.gather(
                    *(store.ingest(item) for item in many(50)), return_exceptions=True
                )
            assert 1 <= len(begun) <= 3
            other.execute("ROLLBACK")


async def test_file_that_is_made_read_only_is_unavailable_until_it_is_not(path: Path) -> None:
    """An operator's chmod stops the writing, also of root and of descriptors that are open."""
    async with opened(sqlite_settings(path)) as store:
        path.chmod(0o400)
        with pytest.raises(StoreUnavailable, match="read-only"):
            await store.ingest(sms())
        with pytest.raises(StoreUnavailable, match="read-only"):
            await store.probe()
        path.chmod(0o600)
        await store.probe()
        assert (await store.ingest(sms())).outcome is ArrivalOutcome.MESSAGE


@pytest.mark.parametrize("how", ["deleted", "replaced"])
async def test_file_that_is_gone_is_noticed(path: Path, how: str) -> None:
    """What would be written to a deleted or replaced file would be lost, so it is refused."""
    async with opened(sqlite_settings(path)) as store:
        await store.ingest(sms())
        moved = path.rename(path.with_name("moved.db"))
        if how == "replaced":
            shutil.copy(moved, path)
        with pytest.raises(StoreUnavailable, match="moved, deleted or replaced"):
            await store.ingest(sms(identity("b", email="b")))
        moved.rename(path)
        assert (await store.ingest(sms())).outcome is ArrivalOutcome.DUPLICATE


async def test_low_water_mark_stops_intake_but_not_delivery(path: Path) -> None:
    """Under the mark arrivals are refused as full, and attempts are still recorded."""
    async with opened(sqlite_settings(path)) as store:
        for item in many(2):
            await store.ingest(item)
        claims = await store.claim("crm", 1)
    low = sqlite_settings(path, min_free=10**18)
    async with opened(low) as store:
        results = await asyncio.gather(
            store.ingest(sms(identity("b", email="b"))),
            store.probe(),
            store.record(attempt(claims[0])),
            store.claim("crm", 1),
            return_exceptions=True,
        )
        assert [type(each) for each in results] == [StoreFull, StoreFull, type(None), list]
        assert "min_free" in str(results[0])
        with closing(sqlite3.connect(path)) as beside:  # the probe's write passed nevertheless
            assert beside.execute("SELECT owner FROM heartbeat").fetchone() == ("us",)
        assert await store.free_bytes() > 0
    report = audited(sqlite_settings(path))
    assert report.ok
    assert (report.totals["arrivals"], report.totals["deliveries.delivered"]) == (2, 1)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk of 3 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting a tmpfs needs root")
    command = ["mount", "-t", "tmpfs", "-o", "size=3m", "smsbridge-test", str(folder)]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("a tmpfs cannot be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.processes
async def test_full_disk_loses_nothing_and_recovers(small_disk: Path) -> None:
    """On a full disk what is refused was not written, what was taken stays, and it goes on."""
    settings = sqlite_settings(small_disk / "bridge.db")
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 1_000_000)
    raw = b"x" * 20_000
    stored: list[str | None] = []
    full: list[StoreFull] = []
    async with opened(settings) as store:
        for number in range(200):
            item = sms(identity(str(number), email=f"M{number}"), arrived=arrival(raw))
            try:
                stored.append((await store.ingest(item)).message_id)
            except StoreFull as error:
                full.append(error)
            if len(full) == 3:
                break
        assert len(full) == 3
        assert "disk is full" in str(full[0])
        assert stored
        ballast.unlink()
        receipt = await store.ingest(sms(identity("later", email="later"), arrived=arrival(raw)))
        stored.append(receipt.message_id)
    report = audited(settings)
    assert report.ok, report
    assert report.totals["messages"] == len(stored)


async def test_poisoned_item_fails_alone(settings: StoreSettings) -> None:
    """One row that cannot be written does not take its batch along."""
    good = many(10)
    async with opened(settings) as store:
        receipts = await asyncio.gather(*(store.ingest(item) for item in good))
        claims = await store.claim("crm", 10)
        broken = attempt(claims[0])
        object.__setattr__(broken, "started_at", broken.started_at.replace(tzinfo=None))
        results = await asyncio.gather(
            store.record(broken),
            *(store.record(attempt(claim)) for claim in claims[1:]),
            return_exceptions=True,
        )
    assert len({receipt.message_id for receipt in receipts}) == 10
    assert type(results[0]) is StoreError
    assert results[1:] == [None] * 9
    report = audited(settings)
    assert report.ok
    assert report.totals["deliveries.delivered"] == 9


async def test_message_that_the_database_refuses_goes_to_quarantine(
    settings: StoreSettings,
) -> None:
    """A message with an impossible plan is stored raw, so that its sender does not try for ever."""
    poison = sms(identity("p", email="p"))
    twice = poison.messages[0].deliveries * 2
    object.__setattr__(poison.messages[0], "deliveries", twice)
    async with opened(settings) as store:
        results = await asyncio.gather(
            *(store.ingest(item) for item in [*many(5), poison, *many(5, first=5)])
        )
    outcomes = [each.outcome for each in results]
    assert outcomes.pop(5) is ArrivalOutcome.QUARANTINE
    assert set(outcomes) == {ArrivalOutcome.MESSAGE}
    report = audited(settings)
    assert report.ok
    assert report.totals["arrivals.quarantine"] == 1


@pytest.mark.parametrize("poisoned", [0, 1])
async def test_one_message_that_the_database_refuses_keeps_its_whole_mail(
    settings: StoreSettings, poisoned: int
) -> None:
    """Of a mail with several messages nothing is written but the mail, raw, in quarantine."""
    items = [sms(identity(name, email=name)) for name in ("p", "q")]
    object.__setattr__(items[poisoned].messages[0], "deliveries", plan("crm", "crm"))
    async with opened(settings) as store:
        receipt = await store.ingest(
            replace(items[0], result=(*items[0].messages, *items[1].messages))
        )
    assert receipt.outcome is ArrivalOutcome.QUARANTINE
    report = audited(settings)
    assert report.ok
    assert (report.totals["arrivals"], report.totals["messages"]) == (1, 0)


async def test_lost_connection_is_unavailable_and_then_works(postgres) -> None:
    """When the server drops us the batch is refused, and the next one connects again."""
    settings = StoreSettings(url=postgres.create_database())
    name = settings.url.rsplit("/", 1)[1]
    async with opened(settings) as store:
        await store.ingest(sms())
        await store.next_due("crm")
        postgres.execute(
            "postgres",
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'",
        )
        with pytest.raises(StoreUnavailable):
            await store.ingest(unreadable())
        await store.probe()
        receipt = await store.ingest(sms())
        assert receipt.outcome is ArrivalOutcome.DUPLICATE
        assert await store.next_due("crm") is not None
    assert audited(settings).ok


async def test_postgres_that_takes_no_writes_is_unavailable(postgres) -> None:
    """A server that turned read-only is an outage, not a poisoned row."""
    settings = StoreSettings(url=postgres.create_database())
    name = settings.url.rsplit("/", 1)[1]
    async with opened(settings) as store:
        postgres.execute(
            "postgres",
            f"ALTER DATABASE {name} SET default_transaction_read_only TO on",
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'",
        )
        for _ in range(2):  # the first finds the connection gone
            with pytest.raises(StoreUnavailable) as caught:
                await store.ingest(sms())
        assert "takes no writes" in str(caught.value)


async def test_a_reader_leaves_the_servers_guard_against_writes(postgres) -> None:
    """A server under `default_transaction_read_only` takes no write on a reader's connection.

    It is set before a dump and a switch to another server: what was acknowledged after it would
    be lost.
    """
    settings = StoreSettings(url=postgres.create_database())
    name = settings.url.rsplit("/", 1)[1]
    async with opened(settings) as store:
        postgres.execute(
            "postgres",
            f"ALTER DATABASE {name} SET default_transaction_read_only TO on",
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'",
        )
        with pytest.raises(StoreUnavailable):
            await store.ingest(sms())  # finds the writer's connection gone
        with suppress(StoreUnavailable):
            await store.next_due("crm")  # may find the readers' gone
        await store.next_due("crm")
        with pytest.raises(StoreUnavailable, match="takes no writes"):
            await store.ingest(sms())

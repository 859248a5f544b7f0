"""Each endpoint's deliveries have the numbers from 1 on: none twice, and none missing."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Connection, event, select, text

from bridge.config.settings import StoreSettings
from bridge.errors import NotFound, StoreUnavailable
from bridge.model import Claim, DeliveryState
from bridge.operations import replay
from bridge.operations.replay import Replayer
from bridge.operations.retention import Retention
from bridge.store import Store, hold_endpoint, queries
from bridge.store.backup import backup, restore
from bridge.store.replays import Selection
from bridge.store.search import MessageFilter
from bridge.store.stream_tables import deleted_numbers, sequences
from bridge.store.tables import deliveries
from tests.store.making import (
    START,
    Clock,
    at_revision,
    attempt,
    audited,
    identity,
    later,
    many,
    opened,
    plan,
    planned_message,
    sms,
    sqlite_settings,
    unreadable,
)
from tests.store.test_replays import endpoint

DAY = 86400.0


async def numbers(store: Store, name: str = "crm") -> list[int | None]:
    """Read an endpoint's numbers in the order in which the deliveries were written."""
    query = select(deliveries.c.sequence).where(deliveries.c.endpoint == name)
    found = query.order_by(deliveries.c.id)
    return await store.read(lambda connection: list(connection.execute(found).scalars()))


async def rest(_: float) -> None:
    """Rest for no time."""


async def deliver(store: Store, name: str = "crm") -> list[Claim]:
    claims = await store.claim(name, 100)
    await asyncio.gather(*(store.record(attempt(each)) for each in claims))
    return claims


async def forget(store: Store, clock: Clock) -> None:
    """Let retention delete all that is old enough and at rest."""
    await Retention(store, {"records": DAY}, clock, rest).sweep()


async def test_numbers_are_counted_up_for_each_endpoint(settings: StoreSettings) -> None:
    """Every delivery has the next number of its endpoint, and whoever sends it gets it."""
    async with opened(settings) as store:
        await store.ingest(many(1, "crm", "erp")[0])
        items = many(3, "crm", claimed=True, first=1)
        receipts = await asyncio.gather(*(store.ingest(each) for each in items))
        assert [claim.sequence for each in receipts for claim in each.claims] == [2, 3, 4]
        assert await numbers(store) == [1, 2, 3, 4]
        assert await numbers(store, "erp") == [1]
        assert [each.sequence for each in await store.claim("crm", 5)] == [1]
        rows = await store.read(lambda connection: queries.list_deliveries(connection))
        assert [row.sequence for row in rows if row.endpoint == "crm"] == [4, 3, 2, 1]
    assert audited(settings).ok


async def test_only_what_goes_out_has_a_number(settings: StoreSettings) -> None:
    """What is filtered, repeated, unread or refused uses no number up; what is held has one."""
    async with opened(settings) as store:
        await store.change(lambda each: hold_endpoint(each, "crm", "closed", START))
        first = sms()
        works = [
            store.ingest(first),
            store.ingest(first),
            store.ingest(unreadable()),
            store.ingest(sms(identity("r", email="r"), reparse_of=99)),
            store.ingest(sms(identity("b", email="b"))),
            store.ingest(sms(identity("f", email="f"), plan("crm", state=DeliveryState.FILTERED))),
        ]
        results = await asyncio.gather(*works, return_exceptions=True)
        assert [type(each) for each in results if isinstance(each, Exception)] == [NotFound]
        assert await numbers(store) == [1, 2, None]
    assert audited(settings).ok


async def test_refused_batch_leaves_no_hole(settings: StoreSettings) -> None:
    """What one poisoned row undoes is written again one by one, with the same numbers."""
    async with opened(settings) as store:
        await store.ingest(many(1)[0])
        poisoned = sms(identity("p", email="p"), plan("crm"), body="x" * 10)
        fine = many(2, first=1)

        def refuse(connection: Connection) -> None:
            """Let the database refuse one text, whoever writes it."""
            columns = "INSERT ON messages WHEN NEW.body = 'xxxxxxxxxx' BEGIN"
            if connection.dialect.name == "sqlite":
                connection.exec_driver_sql(
                    f"CREATE TRIGGER poison BEFORE {columns} SELECT RAISE(ABORT, 'no'); END"
                )
            else:
                connection.exec_driver_sql(
                    "ALTER TABLE messages ADD CHECK (body <> 'xxxxxxxxxx') NOT VALID"
                )

        await store.change(refuse)
        works = [store.ingest(each) for each in (fine[0], poisoned, fine[1])]
        outcomes = [each.outcome.value for each in await asyncio.gather(*works)]
        assert outcomes == ["message", "quarantine", "message"]
        assert await numbers(store) == [1, 2, 3]
    assert audited(settings).ok


async def test_number_stays_on_every_try_and_over_a_restart(settings: StoreSettings) -> None:
    """A delivery that is tried again is the same number, and the next one goes on after it."""
    clock = Clock()
    async with opened(settings, clock=clock) as store:
        for item in many(2):
            await store.ingest(item)
        [claim] = await store.claim("crm", 1)
        await store.record(attempt(claim, later(10)))
    clock.forward(20)
    async with opened(settings, clock=clock) as store:
        again = await store.claim("crm", 5)
        assert sorted((each.sequence, each.attempt) for each in again) == [(1, 2), (2, 1)]
        await store.ingest(many(1, first=2)[0])
        assert await numbers(store) == [1, 2, 3]


async def test_replay_takes_new_numbers(settings: StoreSettings) -> None:
    """A replayed message is a new delivery, also to an endpoint that was added later."""
    clock = Clock()
    async with opened(settings, clock=clock, endpoints=("crm", "new")) as store:
        for item in many(2):
            await store.ingest(item)
        await deliver(store)
        for each in (endpoint("crm"), endpoint("new")):
            selection = Selection(filter=MessageFilter(provider="agile"))
            await replay.start(store, each, selection, clock, rate=100.0)
        replayer = Replayer(store, (endpoint("crm"), endpoint("new")), clock, rest)
        for _ in range(3):
            clock.forward(1.0)
            await replayer.step()
        assert await numbers(store) == [1, 2, 3, 4]
        assert await numbers(store, "new") == [1, 2]
        assert [each.sequence for each in await store.claim("new", 5)] == [1, 2]
    assert audited(settings, clock.now).ok


@pytest.mark.processes
async def test_bridges_beside_each_other_take_different_numbers(postgres: object) -> None:
    """Two bridges on one PostgreSQL write at the same time, and the numbers have no hole."""
    settings = StoreSettings(url=postgres.create_database())  # type: ignore[attr-defined]
    async with opened(settings) as one, opened(settings, owner="they") as two:
        items = many(60, "crm", "erp")
        works = [(one, two)[index % 2].ingest(item) for index, item in enumerate(items)]
        await asyncio.gather(*works)
        for name in ("crm", "erp"):
            assert sorted(filter(None, await numbers(one, name))) == list(range(1, 61))
    assert audited(settings).ok


async def test_deleted_numbers_are_noted_in_ranges(settings: StoreSettings) -> None:
    """Retention deletes deliveries, and their numbers stay known: the audit finds no hole."""
    clock = Clock()
    async with opened(settings, clock=clock) as store:

        async def come(first: int, last: int) -> None:
            for item in many(last - first, first=first):
                await store.ingest(item)

        await come(0, 3)
        await deliver(store)
        await come(3, 4)  # waits, and so it stays
        clock.forward(2 * DAY)
        await come(4, 6)
        [waiting, *others] = await store.claim("crm", 10)
        for each in others:
            await store.record(attempt(each))
        await forget(store, clock)
        assert await ranges(store) == [("crm", 1, 3), ("crm", 5, 5)]
        assert audited(settings, clock.now).ok
        await store.record(attempt(waiting))
        clock.forward(2 * DAY)
        await come(6, 7)
        await deliver(store)
        await forget(store, clock)
        assert await ranges(store) == [("crm", 1, 6)]
        assert await numbers(store) == [7]
    report = audited(settings, clock.now)
    assert report.ok, report


async def ranges(store: Store) -> list[tuple[str, int, int]]:
    query = select(deleted_numbers).order_by(deleted_numbers.c.first)
    return await store.read(lambda each: [tuple(row) for row in each.execute(query)])


async def test_counter_goes_back_and_forth_with_the_backup(tmp_path: Path) -> None:
    """What is restored goes on where the backup ended: its numbers are whole in themselves."""
    settings = sqlite_settings(tmp_path / "bridge.db")
    async with opened(settings) as store:
        for item in many(2):
            await store.ingest(item)
    backup(settings, tmp_path / "saved.db", lambda: START, lambda *_: None)
    async with opened(settings) as store:
        await store.ingest(many(1, first=2)[0])
    restore(settings, tmp_path / "saved.db", lambda: START, lambda *_: None, replace=True)
    async with opened(settings) as store:
        await store.ingest(many(1, first=3)[0])
        assert await numbers(store) == [1, 2, 3]
    assert audited(settings).ok


async def test_older_deliveries_have_no_number(settings: StoreSettings) -> None:
    """What was written before there were numbers keeps none; the first new one is 1."""
    with at_revision(settings, "0009") as connection:
        connection.execute(
            text(
                "INSERT INTO events (id, format, type, planned, created_at, body)"
                " VALUES ('msg_old', 'sms.received', 'sms.received', 1, 0, :body)"
            ),
            {"body": b"{}"},
        )
        connection.execute(
            text(
                "INSERT INTO deliveries (event_id, endpoint, state, attempts, step, schedule_from,"
                " due_at, created_at, changed_at)"
                " VALUES ('msg_old', 'crm', 'pending', 0, 0, 0, 0, 0, 0)"
            )
        )
    async with opened(settings) as store:
        await store.ingest(many(1)[0])
        assert await numbers(store) == [None, 1]
        assert [each.sequence for each in await store.claim("crm", 5)] == [None, 1]
    without = "every delivery that goes out has a number"
    assert [each.ok for each in audited(settings).checks if each.name == without] == [True]


async def test_counting_costs_two_statements_a_transaction(settings: StoreSettings) -> None:
    """However many deliveries a batch has: the counters are read once and written once."""
    async with opened(settings) as store:
        await store.ingest(many(1)[0])
        found: list[tuple[str, bool]] = []

        def note(_c: object, _u: object, sql: str, _p: object, _x: object, several: bool) -> None:
            if "sequences" in sql and "pg_" not in sql:
                found.append((sql.split()[0], several))

        engine = store._database._engine
        event.listen(engine, "before_cursor_execute", note)
        try:
            message = tuple(
                planned_message(identity(f"{each}", email=f"m{each}"), plan("crm", "erp"))
                for each in range(10, 40)
            )
            first = sms(identity("x", email="x"))
            await store.ingest(type(first)(first.arrival, message))
        finally:
            event.remove(engine, "before_cursor_execute", note)
    assert [verb for verb, _ in found] == ["SELECT", "UPDATE", "INSERT"]  # erp's counter is new


async def test_failed_commit_uses_no_number(
    settings: StoreSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transaction that is undone takes its numbers back with it."""
    async with opened(settings) as store:
        dialect = store._database._engine.dialect
        real = type(dialect).do_commit

        def fail(*_: object) -> None:
            raise StoreUnavailable("the disk is gone")

        monkeypatch.setattr(type(dialect), "do_commit", fail)
        with pytest.raises(StoreUnavailable):
            await store.ingest(many(1)[0])
        monkeypatch.setattr(type(dialect), "do_commit", real)
        await store.ingest(many(1, first=1)[0])
        assert await numbers(store) == [1]
        query = select(sequences.c.last)
        assert await store.read(lambda each: each.execute(query).scalars().all()) == [1]
    assert audited(settings, START + timedelta(seconds=1)).ok

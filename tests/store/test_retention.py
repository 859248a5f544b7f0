"""Retention removes what is old enough and delivered, in pieces, and the ledger still adds up."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from functools import partial
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, Pool, event

from bridge.config.retention import RetentionSettings
from bridge.config.settings import StoreSettings
from bridge.errors import NotPossible
from bridge.model import (
    Arrival,
    ArrivalOutcome,
    Claim,
    DeliveryState,
    Envelope,
    Hold,
    MailFile,
    RetryAt,
)
from bridge.operations import quarantine
from bridge.operations.retention import Retention, next_rows
from bridge.store import Ingest, Store, queries
from tests.store.making import (
    GIVE_UP,
    START,
    Clock,
    attempt,
    audited,
    identity,
    ignored,
    opened,
    plan,
    sms,
    sqlite_settings,
    unreadable,
)

DAY = 86400.0
ALL = {"raw": DAY, "bodies": DAY, "attempts": DAY, "messages": DAY, "quarantine": DAY}
TEXT = "the one-time password is 4711"
ENVELOPE = Envelope("192.0.2.1", "sender@example.com", ("secret@example.org",))


async def pause(_: float) -> None:
    """Rest for no time."""


def retention(store: Store, ages: Mapping[str, float], clock: Clock) -> Retention:
    return Retention(store, ages, clock, pause)


def message(name: str, *endpoints: str, clock: Clock) -> Ingest:
    arrived = Arrival(ENVELOPE, "x", f"Subject: SMS\r\n\r\n{TEXT} {name}".encode(), clock())
    return sms(identity(name, email=name), plan(*endpoints or ("crm",)), body=TEXT, arrived=arrived)


async def deliver(store: Store, endpoint: str = "crm") -> list[Claim]:
    claims = await store.claim(endpoint, 100)
    await asyncio.gather(*(store.record(attempt(claim)) for claim in claims))
    return claims


async def test_each_kind_goes_at_its_age(settings: StoreSettings) -> None:
    """Raw mail first, then the text, then everything but what a repeat is recognised by."""
    clock = Clock()
    async with opened(settings, clock=clock) as store:
        receipt = await store.ingest(message("a", clock=clock))
        await deliver(store)
        ages = {"raw": DAY, "bodies": 2 * DAY, "attempts": 3 * DAY, "messages": 4 * DAY}
        sweeper = retention(store, ages, clock)
        assert await sweeper.sweep() == {}
        clock.forward(DAY + 1)
        assert await sweeper.sweep() == {"raw": 1}
        shown = await store.read(lambda c: queries.show_message(c, str(receipt.message_id)))
        assert shown.row.message.sms.body == TEXT
        assert (shown.arrivals[0].size, shown.arrivals[0].purged_at) == (0, clock())
        assert shown.arrivals[0].origin == Envelope(None, "", ())
        clock.forward(DAY)
        assert await sweeper.sweep() == {"bodies": 1}
        shown = await store.read(lambda c: queries.show_message(c, str(receipt.message_id)))
        sms_ = shown.row.message.sms
        assert (sms_.body, sms_.sender, shown.row.purged_at) == ("", "+393301234567", clock())
        delivery = await store.read(lambda c: queries.show_delivery(c, shown.deliveries[0].id))
        assert delivery.event.body == b""
        assert delivery.attempts[0].answer
        clock.forward(DAY)
        assert await sweeper.sweep() == {"attempts": 1}
        clock.forward(DAY)
        assert await sweeper.sweep() == {"messages": 1}
        shown = await store.read(lambda c: queries.show_message(c, str(receipt.message_id)))
        sms_ = shown.row.message.sms
        assert (sms_.sender, sms_.recipient, sms_.raw.sender) == ("", "", "")
        delivery = await store.read(lambda c: queries.show_delivery(c, shown.deliveries[0].id))
        assert (delivery.attempts[0].answer, delivery.attempts[0].status) == (b"", 200)
        assert await sweeper.sweep() == {}
    assert audited(settings, clock()).ok


async def test_a_purged_message_is_still_recognised(settings: StoreSettings) -> None:
    """The provider sends it again after a year: a duplicate, and no second webhook."""
    clock = Clock()
    async with opened(settings, clock=clock) as store:
        first = await store.ingest(message("a", clock=clock))
        await deliver(store)
        clock.forward(2 * DAY)
        await retention(store, ALL, clock).sweep()
        again = await store.ingest(message("a", clock=clock))
        assert (again.outcome, again.message_id) == (ArrivalOutcome.DUPLICATE, first.message_id)
        assert await store.claim("crm", 10) == []
        # The repeat has an age of its own.
        assert await retention(store, ALL, clock).sweep() == {}
        clock.forward(2 * DAY)
        assert await retention(store, ALL, clock).sweep() == {"raw": 1}
    assert audited(settings, clock()).ok


@pytest.mark.parametrize(
    "decision",
    [None, RetryAt(START + timedelta(days=9), 1), Hold("no"), GIVE_UP],
    ids=["pending", "retry", "held", "dead"],
)
async def test_nothing_undelivered_is_touched(
    settings: StoreSettings, decision: RetryAt | Hold | None
) -> None:
    """Also a message of which only one endpoint of two has had its webhook."""
    clock = Clock()
    async with opened(settings, clock=clock) as store:
        receipt = await store.ingest(message("a", "crm", "erp", clock=clock))
        await deliver(store, "erp")
        if decision:
            (claim,) = await store.claim("crm", 1)
            await store.record(attempt(claim, decision))
        clock.forward(2 * DAY)
        swept = await retention(store, ALL, clock).sweep()
        assert swept == {"attempts": 1}  # erp's answer, which that endpoint needs no more
        shown = await store.read(lambda c: queries.show_message(c, str(receipt.message_id)))
        assert shown.row.message.sms.body == TEXT
        assert shown.arrivals[0].size > 0
    assert audited(settings, clock()).ok


async def test_what_was_waiting_goes_once_it_is_delivered(settings: StoreSettings) -> None:
    """One that waits among many is found by a later sweep of the same process."""
    clock = Clock()
    async with opened(settings, clock=clock) as store:
        for number in range(130):
            await store.ingest(message(f"{number}", "erp" if number == 7 else "crm", clock=clock))
        for _ in range(2):
            await deliver(store)
        clock.forward(2 * DAY)
        sweeper = retention(store, {"bodies": DAY}, clock)
        assert await sweeper.sweep() == {"bodies": 129}
        assert await sweeper.sweep() == {}
        await deliver(store, "erp")
        assert await sweeper.sweep() == {"bodies": 1}
    assert audited(settings, clock()).ok


async def test_failed_attempts_go_and_the_proof_stays(settings: StoreSettings) -> None:
    """What failed before the delivery is deleted; the delivery still says how many there were."""
    clock = Clock()
    async with opened(settings, clock=clock) as store:
        await store.ingest(message("a", clock=clock))
        (claim,) = await store.claim("crm", 1)
        await store.record(attempt(claim, RetryAt(START, 1)))
        await deliver(store)
        clock.forward(2 * DAY)
        assert await retention(store, {"attempts": DAY}, clock).sweep() == {"attempts": 2}
        shown = await store.read(lambda c: queries.show_delivery(c, claim.delivery_id))
        assert [each.number for each in shown.attempts] == [2]
        assert (shown.delivery.attempts, shown.delivery.state) == (2, DeliveryState.DELIVERED)
        assert shown.event.body
    assert audited(settings, clock()).ok


async def test_quarantine_waits_for_its_own_age(settings: StoreSettings) -> None:
    """Without one it stays, whatever else goes; with one it is discarded, and says so."""
    clock = Clock()
    async with opened(settings, clock=clock) as store:
        kept = await store.ingest(unreadable())
        await store.ingest(ignored())
        clock.forward(2 * DAY)
        ages = {name: age for name, age in ALL.items() if name != "quarantine"}
        assert await retention(store, ages, clock).sweep() == {"raw": 1}
        assert await quarantine.raw_arrival(store, kept.arrival_id) == b"?"
        assert await retention(store, ALL, clock).sweep() == {"quarantine": 1, "raw": 1}
        shown = await quarantine.show_arrival(store, kept.arrival_id)
        assert (shown["outcome"], shown["discarded_because"]) == (
            "discarded",
            "its age, by [retention] quarantine",
        )
        with pytest.raises(NotPossible, match="purged"):
            await quarantine.raw_arrival(store, kept.arrival_id)
    assert audited(settings, clock()).ok


async def test_a_reparsed_arrival_ages_too(settings: StoreSettings) -> None:
    """Its id lies below what was swept already; the first sweep of a day begins at the start."""
    clock = Clock()
    async with opened(settings, clock=clock) as store:
        early = await store.ingest(unreadable())
        await store.ingest(message("a", clock=clock))
        await deliver(store)
        clock.forward(2 * DAY)
        sweeper = retention(store, {"raw": DAY}, clock)
        assert await sweeper.sweep() == {"raw": 1}
        item = message("b", clock=clock)
        await store.ingest(replace(item, reparse_of=early.arrival_id))
        await deliver(store)
        swept = [await sweeper.sweep() for _ in range(24)]
        assert [each for each in swept if each] == [{"raw": 1}]
    assert audited(settings, clock()).ok


async def test_a_file_name_goes_with_the_mail(settings: StoreSettings) -> None:
    """It may be named after its sender."""
    clock = Clock()
    async with opened(settings, clock=clock) as store:
        arrived = Arrival(MailFile(), "/mails/+393301234567.eml", b"x", clock())
        receipt = await store.ingest(sms(arrived=arrived))
        await deliver(store)
        clock.forward(2 * DAY)
        await retention(store, {"raw": DAY}, clock).sweep()
        shown = await quarantine.show_arrival(store, receipt.arrival_id)
        assert shown["source_name"] == ""


async def test_the_writer_is_shared(settings: StoreSettings) -> None:
    """After each piece retention rests, mail comes in and goes out, and no piece is large."""
    clock = Clock()
    rests: list[float] = []
    took = count(step=0.0015)  # as each piece should
    unsynced: list[str] = []

    def look(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.endswith(("synchronous=NORMAL", "synchronous_commit TO off")):
            unsynced.append(statement)

    async def rest(seconds: float) -> None:
        rests.append(seconds)
        await store.ingest(message(f"new {len(rests)}", clock=clock))
        assert len(await deliver(store)) == 1

    async with opened(settings, clock=clock) as store:
        for number in range(120):
            await store.ingest(message(f"{number}", clock=clock))
        while await deliver(store):
            pass
        clock.forward(2 * DAY)
        sweeper = Retention(store, {"bodies": DAY}, clock, rest, lambda: next(took))
        event.listen(Engine, "before_cursor_execute", look)
        try:
            assert await sweeper.sweep() == {"bodies": 120}
        finally:
            event.remove(Engine, "before_cursor_execute", look)
        listed = await store.read(partial(queries.list_messages, limit=200))
        assert sum(row.message.sms.body == TEXT for row in listed) == 12
    assert rests == pytest.approx([19 * 0.0015] * 12)
    assert len(unsynced) == 12  # and of the mails' commits, none
    assert audited(settings, clock()).ok


@pytest.mark.parametrize(
    ("rows", "seconds", "following"),
    [(20, 0.0015, 20), (20, 0.0, 25), (100, 0.003, 50), (40, 9.0, 10), (190, 0.0001, 200)],
    ids=["fits", "quick", "twice as long", "a stall", "bounded"],
)
def test_a_piece_has_as_many_rows_as_it_has_time_for(
    rows: int, seconds: float, following: int
) -> None:
    """The line waits for a piece: large mails or a slow disk make it smaller, at once."""
    assert next_rows(rows, seconds) == following


async def test_a_sweep_takes_as_many_steps_for_each_row_of_many(tmp_path: Path) -> None:
    """SQLite counts its own steps: it read all of a part anew for each piece of rows."""
    few, many = [await _steps_of_a_row(tmp_path, count) for count in (60, 600)]
    assert few > 100
    assert many < 1.5 * few


async def _steps_of_a_row(folder: Path, count: int) -> float:
    clock = Clock()
    hundreds = 0

    def step() -> None:
        nonlocal hundreds
        hundreds += 1

    def connect(driver: sqlite3.Connection, _: object) -> None:
        driver.set_progress_handler(step, 100)

    event.listen(Pool, "connect", connect)
    try:
        async with opened(sqlite_settings(folder / f"{count}.db"), clock=clock) as store:
            new = (store.ingest(message(f"{number}", clock=clock)) for number in range(count))
            await asyncio.gather(*new)
            while await deliver(store):
                pass
            clock.forward(2 * DAY)
            hundreds = 0
            ages = {"raw": DAY, "attempts": DAY, "messages": DAY, "records": DAY}
            sweeper = Retention(store, ages, clock, pause, lambda: 0.0)
            assert set(await sweeper.sweep()) == set(ages)
            return hundreds * 100 / count
    finally:
        event.remove(Pool, "connect", connect)


async def test_records_go_with_all_that_belongs_to_them(settings: StoreSettings) -> None:
    """What was deleted is counted; the same mail after that is a new message."""
    clock = Clock()
    async with opened(settings, clock=clock) as store:
        first = await store.ingest(message("a", clock=clock))
        await store.ingest(ignored())
        await store.ingest(message("waits", "erp", clock=clock))
        await deliver(store)
        clock.forward(DAY)
        await store.ingest(message("a", clock=clock))  # the newest arrival, a repeat
        sweeper = retention(store, {"records": 1.5 * DAY}, clock)
        assert await sweeper.sweep() == {}
        clock.forward(DAY)
        # The message stays until its repeat is old, and what waits for as long as it waits.
        assert (await sweeper.sweep())["records"] == 1
        await store.ingest(unreadable())
        clock.forward(DAY)
        assert await sweeper.sweep() == {"records": 1}
        assert await sweeper.sweep() == {"records": 1}
        again = await store.ingest(message("a", clock=clock))
        assert (again.outcome, again.message_id) == (ArrivalOutcome.MESSAGE, first.message_id)
        assert len(await store.claim("crm", 10)) == 1
    report = audited(settings, clock())
    assert report.ok, report
    assert {name: count for name, count in report.totals.items() if "deleted" in name} == {
        "deleted.arrivals": 3,
        "deleted.messages": 1,
        "deleted.events": 1,
        "deleted.deliveries": 1,
        "deleted.attempts": 1,
    }
    assert (report.totals["arrivals"], report.totals["messages"]) == (3, 2)


async def test_no_id_is_given_twice(settings: StoreSettings) -> None:
    """SQLite would: ids are what operators, lists and sweeps go by."""
    clock = Clock()
    async with opened(settings, clock=clock) as store:
        for name in "ab":
            await store.ingest(message(name, clock=clock))
        newest = await store.ingest(ignored())
        deliveries = [claim.delivery_id for claim in await deliver(store)]
        clock.forward(2 * DAY)
        assert (await retention(store, {"records": DAY}, clock).sweep()) == {"records": 1}
        new = await store.ingest(message("c", clock=clock))
        assert new.arrival_id > newest.arrival_id
        assert (await deliver(store))[0].delivery_id > max(deliveries)


SWEEPS_AND_DIES = """
import asyncio, os, signal, sys
from datetime import datetime, timedelta
from itertools import count
from sqlalchemy import Engine, event
from bridge.config.settings import StoreSettings
from bridge.operations.retention import Retention
from tests.store.making import Clock, audited, opened
from tests.store.test_retention import ALL, DAY, pause

settings, later = StoreSettings(url=sys.argv[1], min_free=0), float(sys.argv[2])

def die_at(step):
    steps = count(1)
    def write(connection, cursor, statement, *_):
        if statement.startswith(("DELETE", "INSERT", "UPDATE")):
            look()
    def look(*_):
        if next(steps) == step:
            os.kill(os.getpid(), signal.SIGKILL)
    event.listen(Engine, "before_cursor_execute", write)
    event.listen(Engine, "commit", look)

async def sweep(step):
    clock = Clock()
    async with opened(settings, clock=clock) as store:
        clock.forward(later)
        assert audited(settings, clock()).ok
        die_at(step)
        await Retention(store, ALL | {"records": DAY}, clock, pause).sweep()

for deaths, step in enumerate(count(1, 5)):
    child = os.fork()
    if child == 0:
        asyncio.run(sweep(step))
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status):
        sys.exit(f"{deaths} deaths" if status == 0 else "the sweep failed")
"""


@pytest.mark.processes
async def test_a_kill_at_any_write_of_a_sweep_loses_nothing(settings: StoreSettings) -> None:
    """Whatever it had removed adds up, and the next sweep goes on; what waits is all there."""
    clock = Clock()
    async with opened(settings, clock=clock) as store:
        for number in range(24):  # more than one transaction has
            await store.ingest(message(f"{number}", clock=clock))
        await deliver(store)
        waits = await store.ingest(message("waits", clock=clock))
        await store.ingest(ignored())
    died = subprocess.run(
        [sys.executable, "-c", SWEEPS_AND_DIES, settings.url, str(2 * DAY)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    ).stderr
    deaths, _, word = died.strip().partition(" ")
    assert word == "deaths", died
    assert int(deaths) > 3
    clock.forward(2 * DAY)
    report = audited(settings, clock())
    assert report.ok, report
    assert (report.totals["messages"], report.totals["deleted.messages"]) == (1, 24)
    async with opened(settings, clock=clock) as store:
        shown = await store.read(lambda c: queries.show_message(c, str(waits.message_id)))
        assert shown.row.message.sms.body == TEXT
        assert len(await deliver(store)) == 1


async def test_a_file_under_retention_does_not_grow(tmp_path: Path) -> None:
    """As many mails each day as the day before need no page more, however small they are."""
    settings = sqlite_settings(tmp_path / "bridge.db")
    clock = Clock()
    pages: list[int] = []
    emptied = {"raw": DAY, "bodies": DAY, "attempts": DAY, "messages": DAY}
    deleted = emptied | {"records": 2 * DAY}
    async with opened(settings, clock=clock) as store:
        for ages in (emptied, emptied, *[deleted] * 4):
            items = [message(f"{len(pages)} {number}", clock=clock) for number in range(100)]
            small = [replace(each.arrival, raw=each.arrival.raw + bytes(2000)) for each in items]
            new = (
                store.ingest(replace(each, arrival=arrived))
                for each, arrived in zip(items, small, strict=True)
            )
            await asyncio.gather(*new)
            await deliver(store)
            clock.forward(DAY + 1)
            await retention(store, ages, clock).sweep()
            pages.append(await store.read(_pages))
    assert pages[1] - pages[0] < pages[0] / 3  # emptied rows share their pages
    assert max(pages[3:]) <= pages[2]  # two days' records and one day's mails
    assert audited(settings, clock()).ok


def _pages(connection: Connection) -> int:
    return int(connection.exec_driver_sql("PRAGMA page_count").scalar_one())


def test_a_later_stage_includes_the_earlier() -> None:
    """An operator who wants texts gone after 30 days has them in no raw mail either."""
    assert RetentionSettings().ages == {}
    assert RetentionSettings(bodies="30d").ages == {"raw": 30 * DAY, "bodies": 30 * DAY}
    assert RetentionSettings(raw="90d", messages="60d").ages == {
        "raw": 60 * DAY,
        "bodies": 60 * DAY,
        "attempts": 60 * DAY,
        "messages": 60 * DAY,
    }
    assert set(RetentionSettings(messages="60d", records="30d").ages.values()) == {30 * DAY}
    with pytest.raises(ValueError, match="must be 30d or more"):
        RetentionSettings(records="29d")
    assert RetentionSettings(quarantine="1095d").ages == {"quarantine": 1095 * DAY}

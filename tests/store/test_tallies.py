"""The counts of what is open are kept by the database, and are right whatever happened."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from bridge.config.settings import StoreSettings
from bridge.model import DeliveryState, Hold, Reason
from bridge.store import Database, hold_endpoint, resume_endpoint, retry_deliveries
from bridge.store.counting import count_open, recount
from bridge.store.discard import QuarantineFilter, discard
from bridge.store.endpoints import BEHIND, match_config
from bridge.store.erase import erase_messages, find_messages
from bridge.store.snapshot import take_snapshot
from bridge.store.tables import metadata
from bridge.store.tallies import Counts, read_counts
from bridge.store.types import microseconds
from tests.store.making import (
    GIVE_UP,
    START,
    Clock,
    at_revision,
    attempt,
    audited,
    later,
    many,
    opened,
    plan,
    sms,
    unreadable,
    writing,
)


def both(connection: Connection) -> tuple[Counts, Counts]:
    return read_counts(connection), {key: n for key, n in count_open(connection).items() if n}


async def test_every_operation_keeps_the_counts(settings: StoreSettings) -> None:
    """Ingest, claim, each kind of record, hold, resume, retry, erase, discard and reparse."""
    clock = Clock()
    async with opened(settings, clock=clock) as store:

        async def agree(expected: Counts) -> None:
            kept, counted = await store.read(both)
            assert kept == counted == expected

        for item in many(6, "crm", "erp", "gone"):
            await store.ingest(item)
        await store.ingest(many(1)[0])  # a duplicate
        first = await store.ingest(unreadable(raw=b"1"))
        await store.ingest(unreadable(raw=b"2"))
        await store.ingest(unreadable(Reason.UNTRUSTED, raw=b"3"))
        quarantine = {("quarantine", "unreadable"): 2, ("quarantine", "untrusted"): 1}
        pending = {("pending", "crm"): 6, ("pending", "erp"): 6, ("pending", "gone"): 6}
        await agree({**pending, **quarantine})

        claims = await store.claim("crm", 5)
        await agree({**pending, **quarantine})
        for claim, decision in zip(
            claims, (None, GIVE_UP, Hold("no secret"), later(9)), strict=False
        ):
            await store.record(attempt(claim, decision))
        crm = {("pending", "crm"): 3, ("held", "crm"): 1, ("dead", "crm"): 1}
        await agree({**pending, **crm, **quarantine})

        await store.change(lambda c: match_config(c, ["crm", "erp"], START))
        await store.change(lambda c: hold_endpoint(c, "erp", "paused", START))
        stopped = {("held", "gone"): 6, ("held", "erp"): 6}
        await agree({**crm, **stopped, **quarantine})
        await store.change(lambda c: resume_endpoint(c, "erp", START))
        await store.change(lambda c: match_config(c, ["crm", "erp", "gone"], START))
        await agree({**pending, **crm, **quarantine})

        def again(connection: Connection) -> int:
            return retry_deliveries(connection, now=START, state=DeliveryState.DEAD)

        assert await store.change(again) == 1
        await agree({**pending, ("pending", "crm"): 4, ("held", "crm"): 1, **quarantine})

        ids = await store.read(lambda c: find_messages(c, "+393301234567"))
        clock.forward(3600)

        def erase(connection: Connection) -> int:
            return erase_messages(connection, ids, clock(), even_undelivered=True)

        assert await store.change(erase) == 6
        await agree(quarantine)

        await store.ingest(sms(reparse_of=first.arrival_id, deliveries=plan("crm")))
        everything = QuarantineFilter(reason=Reason.UNTRUSTED)
        await store.change(lambda c: discard(c, everything, "spam", START, 10))
        await agree({("quarantine", "unreadable"): 1})
        snapshot = await store.read(take_snapshot)
        assert snapshot.quarantine == {Reason.UNREADABLE: 1}
    assert audited(settings).ok


PARKED = microseconds(BEHIND)
MESSAGE = (
    "INSERT INTO messages (id, provider, sender, recipient, received_at, bridged_at, content_key)"
    " VALUES ('m', 'p', '', '', 0, 0, 'k')"
)
EVENT = (
    "INSERT INTO events (id, message_id, format, type, planned, created_at, body)"
    " VALUES ('m', 'm', 'f', 't', 2, 0, '')"
)
DELIVERY = (
    "INSERT INTO deliveries (event_id, endpoint, state, attempts, step, schedule_from, due_at,"
    " created_at, changed_at) VALUES ('m', :endpoint, :state, 0, 0, 0, 0, 0, 0)"
)


def write_by_hand(connection: Connection, states: Mapping[str, str]) -> None:
    """Write a message with deliveries, each endpoint with its state."""
    connection.execute(text(MESSAGE))
    connection.execute(text(EVENT))
    for endpoint, state in states.items():
        connection.execute(text(DELIVERY), {"endpoint": endpoint, "state": state})


def test_rows_changed_by_hand_are_counted(settings: StoreSettings) -> None:
    """Whoever writes: the triggers are the database's own."""
    Database.open(settings, migrate=True).close()
    changes: Sequence[tuple[str, Counts]] = (
        ("UPDATE deliveries SET endpoint = 'e3' WHERE endpoint = 'e0'", {("pending", "e3"): 1}),
        (f"UPDATE deliveries SET due_at = {PARKED} WHERE endpoint = 'e3'", {("parked", "e3"): 1}),
        ("UPDATE deliveries SET state = 'held' WHERE endpoint = 'e3'", {("held", "e3"): 1}),
        ("UPDATE deliveries SET state = 'pending' WHERE endpoint = 'e3'", {("parked", "e3"): 1}),
        ("UPDATE deliveries SET due_at = 1 WHERE endpoint = 'e3'", {("pending", "e3"): 1}),
        ("UPDATE deliveries SET state = 'filtered' WHERE endpoint = 'e3'", {}),
        ("UPDATE deliveries SET state = 'dead' WHERE endpoint = 'e3'", {("dead", "e3"): 1}),
        ("DELETE FROM deliveries WHERE endpoint = 'e3'", {}),
    )
    rest = {("pending", "e1"): 1, ("pending", "e2"): 1}
    with writing(settings) as connection:
        write_by_hand(connection, dict.fromkeys(("e0", "e1", "e2"), "pending"))
        for statement, expected in changes:
            connection.execute(text(statement))
            kept, counted = both(connection)
            assert kept == counted == {**rest, **expected}


def test_what_an_older_release_wrote_is_counted(settings: StoreSettings) -> None:
    """A migration counts what is there, and the triggers are those of a new database."""
    with at_revision(settings, "0006") as connection:
        write_by_hand(connection, {"crm": "pending", "erp": "held"})
    Database.open(settings, migrate=True).close()
    with writing(settings) as connection:
        expected = {("pending", "crm"): 1, ("held", "erp"): 1}
        assert both(connection) == (expected, expected)
        migrated = triggers(connection)
        metadata.drop_all(connection)
        connection.execute(text("DROP TABLE smsbridge_revision"))
    Database.open(settings, migrate=True).close()
    with writing(settings) as connection:
        assert triggers(connection) == migrated
        assert len(migrated) == 6


def triggers(connection: Connection) -> dict[str, str]:
    if connection.dialect.name == "sqlite":
        query = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"
    else:
        query = "SELECT tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal"
    return {row[0]: row[1] for row in connection.execute(text(query))}


async def test_recount_mends_what_was_spoiled(settings: StoreSettings) -> None:
    async with opened(settings) as store:
        await store.ingest(sms())
    with writing(settings) as connection:
        connection.execute(text("UPDATE tallies SET count = 7"))
        recount(connection)
        assert both(connection)[0] == {("pending", "crm"): 1}


DIES = """
import os, signal, sys
from datetime import datetime, UTC
from bridge.config.settings import StoreSettings
from bridge.store import Database, hold_endpoint
database = Database.open(StoreSettings(url=sys.argv[1], min_free=0))
with database.begin() as connection:
    assert hold_endpoint(connection, "crm", "paused", datetime.now(UTC)) == 3
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.processes
async def test_a_kill_before_the_commit_leaves_counts_and_rows_as_they_were(
    settings: StoreSettings,
) -> None:
    async with opened(settings) as store:
        for item in many(3):
            await store.ingest(item)
    died = subprocess.run(
        [sys.executable, "-c", DIES, settings.url], cwd=Path(__file__).parents[2], check=False
    )
    assert died.returncode == -signal.SIGKILL
    with writing(settings) as connection:
        assert both(connection) == ({("pending", "crm"): 3},) * 2
    assert audited(settings).ok

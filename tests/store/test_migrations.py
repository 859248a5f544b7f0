"""Databases of earlier revisions are brought up, with everything that is in them."""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, create_engine, make_url, text

from bridge.config.settings import StoreSettings
from bridge.formats import sms_received
from bridge.model import DeliveryState
from bridge.store import Database, hold_endpoint, migrations, queries
from tests.store.making import START, audited, opened, plan, planned_message, sms

DIGEST = "1da3238392f3310109dc45f70cad5391550dfa3dac2733a7760cedfaa588072f"
DUMP = Path(__file__).parent / "fixtures" / "revision_0002.sql"


@contextmanager
def dumped() -> Iterator[sqlite3.Connection]:
    """Give the old database as the release with that revision wrote it, in memory."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(DUMP.read_text())
        connection.row_factory = sqlite3.Row
        yield connection


def load(settings: StoreSettings) -> None:
    """Make the old database on the settings' server."""
    url = make_url(settings.url)
    if url.get_backend_name() == "sqlite":
        with closing(sqlite3.connect(url.database or "")) as connection:
            connection.executescript(DUMP.read_text())
        return
    engine = create_engine(url.set(drivername="postgresql+psycopg"))
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.set_main_option("path_separator", "os")
    with engine.begin() as connection, dumped() as old:
        config.attributes["connection"] = connection
        command.upgrade(config, "0002")
        connection.execute(text("DELETE FROM heartbeat"))
        tables = (
            "messages", "events", "arrivals", "deliveries", "attempts", "endpoints", "mailboxes",
            "heartbeat",
        )  # fmt: skip
        for table in tables:
            for row in old.execute(f"SELECT * FROM {table}"):
                copy(connection, table, dict(row))
        for table in ("arrivals", "deliveries", "attempts"):
            connection.execute(
                text(
                    f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), max(id)) FROM {table}"
                )
            )
    engine.dispose()


def copy(connection: Connection, table: str, row: dict[str, Any]) -> None:
    if "lease_lost" in row:
        row["lease_lost"] = bool(row["lease_lost"])
    names = ", ".join(row)
    values = ", ".join(f":{name}" for name in row)
    connection.execute(text(f"INSERT INTO {table} ({names}) VALUES ({values})"), row)


@pytest.fixture
def migrated(settings: StoreSettings) -> Iterator[Database]:
    load(settings)
    database = Database.open(settings, migrate=True)
    yield database
    database.close()


def test_every_message_is_what_its_event_says(migrated: Database) -> None:
    """All of an old webhook's data comes from columns now, character for character."""
    with dumped() as old, migrated.read() as connection:
        events = {row["id"]: row["body"] for row in old.execute("SELECT * FROM events")}
        assert len(events) > 5
        assert any("👍".encode() in body for body in events.values())
        for message_id, body in events.items():
            shown = queries.show_message(connection, message_id)
            assert sms_received.data(shown.row.message) == json.loads(body)["data"]


def test_what_was_waiting_is_sent_as_it_was(migrated: Database) -> None:
    """Deliveries keep state and event; the event keeps its id and bytes."""
    with dumped() as old, migrated.read() as connection:
        for row in old.execute(
            "SELECT d.*, e.body FROM deliveries d JOIN events e ON e.id = d.event_id"
        ):
            found = queries.show_delivery(connection, row["id"])
            assert found.delivery.state is DeliveryState(row["state"])
            assert found.delivery.message_id == row["event_id"]
            assert (found.event.id, found.event.format) == (row["event_id"], "sms.received")
            assert found.event.body == row["body"]


def test_every_arrival_keeps_its_bytes(migrated: Database) -> None:
    with dumped() as old, migrated.read() as connection:
        for row in old.execute("SELECT * FROM arrivals"):
            assert queries.show_arrival(connection, row["id"]).raw == row["raw"]


async def test_the_ledger_adds_up_and_goes_on(settings: StoreSettings) -> None:
    """The daemon opens it, knows the old mails again, and gives a message a second format."""
    load(settings)
    async with opened(settings) as store:
        known = await store.read(
            lambda connection: connection.execute(
                text("SELECT email_key FROM messages WHERE email_key IS NOT NULL LIMIT 1")
            ).scalar_one()
        )
        assert known
        both = (
            *plan("crm"),
            *(type(each)(each.endpoint, each.state, format="other") for each in plan("erp")),
        )
        item = sms()
        new = planned_message(item.messages[0].identity, both)
        receipt = await store.ingest(type(item)(item.arrival, (new,)))
        assert receipt.message_id == new.message.id
        await store.change(lambda connection: hold_endpoint(connection, "erp", "test", START))
    report = audited(settings)
    assert report.ok, report
    assert report.totals["events"] == report.totals["messages"] + 1


def test_a_spoiled_event_does_not_keep_the_daemon_from_starting(settings: StoreSettings) -> None:
    """Its message is shown with what is known of it, and the audit names it."""
    load(settings)
    url = make_url(settings.url)
    driver = "sqlite" if url.get_backend_name() == "sqlite" else "postgresql+psycopg"
    engine = create_engine(url.set(drivername=driver))
    with engine.begin() as connection:
        spoiled = connection.execute(text("SELECT min(id) FROM events")).scalar_one()
        connection.execute(
            text("UPDATE events SET body = :body WHERE id = :id"), {"body": b"{", "id": spoiled}
        )
    engine.dispose()
    with closing(Database.open(settings, migrate=True)) as database, database.read() as connection:
        shown = queries.show_message(connection, spoiled)
        assert (shown.row.message.id, shown.row.message.sms.body) == (spoiled, "")
        assert len(queries.list_messages(connection)) > 5
    (failed,) = (check for check in audited(settings).checks if not check.ok)
    assert spoiled in failed.detail


DIES_AT_EVERY_STEP = """
import os, signal, sys
from itertools import count
import alembic.command  # once, for all lives
from sqlalchemy import Engine, event
from bridge.config.settings import StoreSettings
from bridge.store import Database

def die_at(step):
    steps = count(1)
    def look(*_):
        if next(steps) == step:
            os.kill(os.getpid(), signal.SIGKILL)
    event.listen(Engine, "before_cursor_execute", look)
    event.listen(Engine, "commit", look)

for step in count(1):
    child = os.fork()
    if child == 0:
        die_at(step)
        Database.open(StoreSettings(url=sys.argv[1], min_free=0), migrate=True).close()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status):
        sys.exit(f"{step - 1} deaths" if status == 0 else "the migration failed")
"""


@pytest.mark.processes
def test_a_kill_at_any_statement_of_a_migration_loses_nothing(settings: StoreSettings) -> None:
    """The next start finds the old database as it was, or the new one whole."""
    load(settings)
    died = subprocess.run(
        [sys.executable, "-c", DIES_AT_EVERY_STEP, settings.url],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    ).stderr
    deaths, _, word = died.strip().partition(" ")
    assert word == "deaths", died
    assert int(deaths) > 30  # statements and commits, each once
    with closing(Database.open(settings)) as database, database.read() as connection:
        with dumped() as old:
            events = {row["id"]: row["body"] for row in old.execute("SELECT * FROM events")}
        for message_id, body in events.items():
            shown = queries.show_message(connection, message_id)
            assert sms_received.data(shown.row.message) == json.loads(body)["data"]
    assert audited(settings).ok


def test_the_fixture_is_the_one_that_was_written() -> None:
    """An edited dump would prove nothing about databases in the field."""
    written = re.sub(r"^--.*\n", "", DUMP.read_text(), flags=re.MULTILINE)
    assert hashlib.sha256(written.encode()).hexdigest() == DIGEST

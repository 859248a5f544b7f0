"""Mailboxes in the ledger: cursors that never pass a mail, leases, mails that are read again."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, make_url, text

import bridge.store.migrations as shipped
from bridge.config.settings import StoreSettings
from bridge.errors import StoreError, StoreUnavailable
from bridge.model import ArrivalOutcome, Cursor, Envelope, MailboxPlace, Reason, Receipt
from bridge.store import (
    LEAD_SECONDS,
    Database,
    Ingest,
    Mailboxes,
    MailboxRow,
    Store,
    mailboxes,
    queries,
)
from tests.store.making import (
    START,
    Clock,
    arrival,
    audited,
    identity,
    ignored,
    opened,
    sms,
    sqlite_settings,
    unreadable,
)

INBOX = ("inbox", "INBOX")


def place(
    uid: int, uidvalidity: int = 7, mailbox: str = "inbox", settled: int | None = None
) -> MailboxPlace:
    return MailboxPlace(mailbox, "INBOX", uidvalidity, uid, settled)


def fetched(uid: int, uidvalidity: int = 7, settled: int | None = None) -> Ingest:
    """Make a message that was read from the mailbox."""
    lies = place(uid, uidvalidity, settled=settled)
    found = arrival(origin=lies)
    return sms(identity(f"{uid:06}", email=f"M{uid}"), arrived=found)


def nonsense(
    uid: int, uidvalidity: int = 7, raw: bytes = b"no SMS", settled: int | None = None
) -> Ingest:
    """Make a mail of the mailbox that became no message."""
    lies = place(uid, uidvalidity, settled=settled)
    found = arrival(raw, origin=lies)
    return Ingest(found, unreadable().result)


def boxes(store: Store, owner: str = "us", clock: Clock | None = None) -> Mailboxes:
    """Give the mailboxes' part of a store, as the sources use it."""
    return Mailboxes(store, owner, clock or Clock())


async def row_of(store: Store) -> MailboxRow | None:
    return await store.read(lambda connection: mailboxes.find_mailbox(connection, *INBOX))


async def take(store: Store, *items: Ingest) -> list[Receipt | BaseException]:
    """Take mails in together."""
    return await asyncio.gather(*(store.ingest(item) for item in items), return_exceptions=True)


async def uid_of(store: Store) -> int | None:
    row = await row_of(store)
    return None if row is None or row.cursor is None else row.cursor.uid


async def test_the_cursor_is_committed_with_the_mail(settings: StoreSettings) -> None:
    """After a receipt the cursor stands where it says, also for whoever opens the store anew."""
    async with opened(settings) as store:
        assert await boxes(store).cursor(*INBOX) is None
        await take(store, fetched(3))
        assert await boxes(store).cursor(*INBOX) is None
        await take(store, nonsense(9, settled=3))
        assert await boxes(store).cursor("inbox", "Other") is None
    async with opened(settings) as store:
        assert await boxes(store).cursor(*INBOX) == Cursor(7, 3)
    with closing(Database.open(settings)) as database, database.read() as connection:
        assert mailboxes.known_uids(connection, *INBOX, 7) == {3, 9}
        assert mailboxes.known_uids(connection, *INBOX, 8) == set()
    assert audited(settings).ok


async def test_the_place_comes_back_with_the_arrival(settings: StoreSettings) -> None:
    """An arrival of a mailbox is shown and parsed again with its place, one of SMTP without."""
    async with opened(settings) as store:
        receipt = await store.ingest(fetched(3))
        other = await store.ingest(sms())
    with closing(Database.open(settings)) as database, database.read() as connection:
        assert queries.show_arrival(connection, receipt.arrival_id).arrival == fetched(3).arrival
        assert queries.show_arrival(connection, other.arrival_id).arrival == sms().arrival


async def test_a_batch_moves_each_cursor_to_its_highest(settings: StoreSettings) -> None:
    """Many mails of two mailboxes at once leave each at the last of its own."""
    others = [
        sms(
            identity(f"o{uid}", email=f"O{uid}"),
            arrived=arrival(origin=place(uid, 1, "other", uid)),
        )
        for uid in (40, 41)
    ]
    async with opened(settings) as store:
        await take(store, fetched(1, settled=1), *others, fetched(2, settled=0))
        assert await boxes(store).cursor(*INBOX) == Cursor(7, 1)
        assert await boxes(store).cursor("other", "INBOX") == Cursor(1, 41)


async def test_the_cursor_goes_back_only_with_another_uidvalidity(
    settings: StoreSettings,
) -> None:
    """What is settled stays so, whatever comes late; under a new UIDVALIDITY UIDs begin anew."""
    async with opened(settings) as store:
        await take(store, fetched(500, settled=499))
        await take(store, fetched(498, settled=400))
        assert await uid_of(store) == 499
        await boxes(store).advance(*INBOX, Cursor(7, 300))
        assert await uid_of(store) == 499
        await take(store, fetched(2, 8, settled=1))
        assert await boxes(store).cursor(*INBOX) == Cursor(8, 1)


async def refuse_rows(settings: StoreSettings, uid: int | None) -> None:
    """Let the database refuse every arrival with this UID, whatever it became."""
    with closing(Database.open(settings)) as database, database.begin() as connection:
        if settings.url.startswith("sqlite"):
            connection.execute(text("DROP TRIGGER IF EXISTS poison"))
            if uid is not None:
                connection.execute(
                    text(
                        f"CREATE TRIGGER poison BEFORE INSERT ON arrivals WHEN new.uid = {uid} "
                        "BEGIN SELECT RAISE(ABORT, 'poison'); END"
                    )
                )
        else:
            connection.execute(text("ALTER TABLE arrivals DROP CONSTRAINT IF EXISTS poison"))
            if uid is not None:
                connection.execute(
                    text(
                        "ALTER TABLE arrivals ADD CONSTRAINT poison "
                        f"CHECK (uid IS NULL OR uid <> {uid})"
                    )
                )


async def test_a_refused_mail_is_not_passed_by_its_neighbours(settings: StoreSettings) -> None:
    """Of a batch that is split all others are stored, and the cursor stays where they say."""
    async with opened(settings) as store:
        await take(store, fetched(1, settled=1))
        await refuse_rows(settings, 3)
        batch = [nonsense(uid, raw=b"%d" % uid, settled=1) for uid in (2, 3, 4, 5)]
        outcomes = await take(store, *batch)
        assert [isinstance(each, StoreError) for each in outcomes] == [False, True, False, False]
        assert await uid_of(store) == 1
    await refuse_rows(settings, None)
    async with opened(settings) as store:
        assert await boxes(store).cursor(*INBOX) == Cursor(7, 1)
        await take(store, *batch)
        await take(store, fetched(6, settled=5))
        assert await uid_of(store) == 5
    report = audited(settings)
    assert (report.ok, report.totals["arrivals"]) == (True, 6)


async def test_what_is_not_committed_moves_no_cursor(tmp_path: Path) -> None:
    """An arrival that fails takes its word about the cursor with it."""
    settings = sqlite_settings(tmp_path / "bridge.db", busy_timeout=0.01)
    async with opened(settings) as store:
        await take(store, fetched(1, settled=0))
        with closing(sqlite3.connect(tmp_path / "bridge.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            (failed,) = await take(store, fetched(2, settled=1))
            assert isinstance(failed, StoreUnavailable)
            other.execute("ROLLBACK")
        assert await uid_of(store) == 0


async def test_a_sync_moves_the_cursor_without_a_mail(settings: StoreSettings) -> None:
    """A first start that takes only new mail has its cursor and horizon before any mail came."""
    clock = Clock()
    async with opened(settings, clock=clock) as store:
        await boxes(store).advance(*INBOX, Cursor(7, 99), horizon=100)
        await take(store, fetched(101, settled=100))
        clock.forward(60)
        await boxes(store, clock=clock).advance(*INBOX, Cursor(7, 100))
        row = await row_of(store)
        assert (row.cursor, row.horizon, row.synced_at) == (Cursor(7, 100), 100, clock.now)
        assert await boxes(store).horizon(*INBOX) == 100
        assert await boxes(store).horizon("inbox", "Other") is None
        await boxes(store).advance(*INBOX, Cursor(8, 5))
        assert (await row_of(store)).horizon is None


async def test_a_reparse_moves_no_cursor(settings: StoreSettings) -> None:
    """A mailbox's arrival that is parsed again is no reading of the mailbox."""
    async with opened(settings) as store:
        first = await store.ingest(nonsense(1))
        await boxes(store).advance(*INBOX, Cursor(8, 5))
        again = fetched(1, settled=1)
        receipt = await store.ingest(Ingest(again.arrival, again.result, first.arrival_id))
        assert receipt.outcome is ArrivalOutcome.MESSAGE
        assert (await row_of(store)).cursor == Cursor(8, 5)


@pytest.mark.parametrize("together", [True, False], ids=["one batch", "one by one"])
async def test_mail_that_is_no_message_is_stored_once(
    settings: StoreSettings, together: bool
) -> None:
    """A mailbox that is read again from its beginning doesn't fill the quarantine once more."""
    items = [nonsense(5), nonsense(6, raw=b"other"), nonsense(2, 8)]
    async with opened(settings) as store:
        if together:
            first, other, again = await asyncio.gather(*(store.ingest(item) for item in items))
        else:
            first, other, again = [await store.ingest(item) for item in items]
    assert (again.arrival_id, again.outcome, again.repeated) == (
        first.arrival_id, ArrivalOutcome.QUARANTINE, True,
    )  # fmt: skip
    assert not first.repeated
    assert other.arrival_id != first.arrival_id
    with closing(Database.open(settings)) as database, database.read() as connection:
        assert queries.show_arrival(connection, first.arrival_id).row.origin == place(2, 8)
    assert audited(settings).totals["arrivals"] == 2


async def test_what_came_by_smtp_is_stored_each_time(settings: StoreSettings) -> None:
    """Each SMTP transmission is an arrival of its own, and so is another outcome."""
    async with opened(settings) as store:
        await store.ingest(unreadable(raw=b"x"))
        await store.ingest(unreadable(raw=b"x"))
        await store.ingest(nonsense(1, raw=b"x"))
        found = nonsense(2, raw=b"x").arrival
        await store.ingest(Ingest(found, ignored().result))
    assert audited(settings).totals["arrivals"] == 4


async def test_on_sqlite_we_always_lead(tmp_path: Path) -> None:
    """The only daemon of a file needs no lease, and writes none."""
    async with opened(sqlite_settings(tmp_path / "bridge.db")) as store:
        assert await boxes(store).lead(*INBOX)
        assert await row_of(store) is None


async def test_one_of_two_bridges_leads_and_the_other_takes_over(postgres) -> None:
    """Only one reads a mailbox; when it renews no more, the other has it once the lease ended."""
    settings = StoreSettings(url=postgres.create_database())
    clock = Clock()
    async with (
        opened(settings, owner="one", clock=clock) as one,
        opened(settings, owner="two", clock=clock) as two,
    ):
        ours, theirs = boxes(one, "one", clock), boxes(two, "two", clock)
        assert await ours.lead(*INBOX)
        assert not await theirs.lead(*INBOX)
        assert await theirs.lead("other", "INBOX")
        clock.forward(LEAD_SECONDS - 1)
        assert await ours.lead(*INBOX)
        clock.forward(LEAD_SECONDS - 1)
        assert not await theirs.lead(*INBOX)
        clock.forward(1)
        assert await theirs.lead(*INBOX)
        assert not await ours.lead(*INBOX)
        # The cursor is the mailbox's, whoever reads it.
        await take(two, fetched(5, settled=5))
        assert (await row_of(one)).cursor == Cursor(7, 5)
        assert (await row_of(one)).leader == "two"


async def test_a_bridge_that_closes_gives_up_its_mailboxes(postgres) -> None:
    """After an orderly end the other bridge need not wait for the lease's end."""
    settings = StoreSettings(url=postgres.create_database())
    async with opened(settings, owner="two") as two, opened(settings, owner="one") as one:
        ours, theirs = boxes(one, "one"), boxes(two, "two")
        assert await ours.lead(*INBOX)
        assert not await theirs.lead(*INBOX)
        await ours.step_down()
        assert await theirs.lead(*INBOX)


async def test_of_many_who_ask_at_once_one_leads(postgres) -> None:
    """Bridges that start together never lead the same mailbox both."""
    settings = StoreSettings(url=postgres.create_database())
    async with opened(settings, owner="one") as one, opened(settings, owner="two") as two:
        for number in range(20):
            both = (boxes(one, "one"), boxes(two, "two"))
            asked = (each.lead(f"box{number}", "INBOX") for each in both)
            assert sorted(await asyncio.gather(*asked)) == [False, True]


def at_first_revision(settings: StoreSettings, statements: Sequence[str]) -> None:
    """Make the database that the first release made, with rows in it."""
    url = make_url(settings.url)
    if url.get_backend_name() == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    engine = create_engine(url)
    config = Config()
    config.set_main_option("script_location", str(Path(shipped.__file__).parent))
    config.set_main_option("path_separator", "os")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()


async def test_a_database_of_the_first_revision_is_brought_up(settings: StoreSettings) -> None:
    """What was in it stays, reads and audits as before, and mailboxes work on it."""
    now = int(START.timestamp() * 1_000_000)
    at_first_revision(
        settings,
        [
            "INSERT INTO arrivals (source, source_name, received_at, outcome, reason, recipients, "
            f"raw) VALUES ('smtp', 's', {now}, 'quarantine', 'unreadable', '[]', "
            + ("x'00ff'" if settings.url.startswith("sqlite") else "'\\x00ff'")
            + ")"
        ],
    )
    async with opened(settings) as store:
        assert await boxes(store).cursor(*INBOX) is None
        await take(store, fetched(3, settled=3))
        assert await boxes(store).cursor(*INBOX) == Cursor(7, 3)
    with closing(Database.open(settings)) as database, database.read() as connection:
        (old,) = queries.list_quarantine(connection)
        assert (old.reason, old.origin) == (Reason.UNREADABLE, Envelope(None, "", ()))
        assert queries.show_arrival(connection, old.id).raw == b"\0\xff"
    assert audited(settings).ok

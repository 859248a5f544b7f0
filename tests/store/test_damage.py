"""What flips on the disk is seen: never sent altered, and no acknowledged mail is lost unseen."""

from __future__ import annotations

import random
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from zlib import crc32

import pytest

from benchmarks import flips
from bridge.config.settings import StoreSettings
from bridge.errors import NotPossible
from bridge.model import DeliveryState, Order
from bridge.store import Database, Store, checksums, damage, retry_deliveries
from bridge.store.audit import audit
from bridge.store.queries import list_deliveries
from bridge.store.stream import Gone, read_page
from bridge.store.types import microseconds
from bridge.store.unaltered import altered_messages, require_unaltered
from bridge.store.witness import Witness
from tests.store.making import (
    START,
    Clock,
    arrival,
    audited,
    identity,
    many,
    opened,
    sms,
    sqlite_settings,
    unreadable,
)
from tests.store.test_audit import filled, tamper

UNALTERED = "every arrival, message and event is what was stored"
THERE = "nothing is altered or missing that nobody has accepted"
INDEXED = "every row is in the indexes as it is in its table"


def failed(settings: StoreSettings) -> dict[str, str]:
    """Return the checks of an audit that fail, with what they say."""
    with closing(Database.open(settings)) as database, database.read() as connection:
        report = audit(connection, START)
    return {check.name: check.detail for check in report.checks if not check.ok}


@pytest.mark.parametrize("order", [Order.NONE, Order.BLOCK])
async def test_an_altered_event_is_held_and_the_others_go(
    settings: StoreSettings, order: Order
) -> None:
    """It is noted, named by the audit, and never claimed, also not after a retry."""
    items = many(3)
    async with opened(settings) as store:
        for item in items:
            await store.ingest(item)
    altered = items[1].messages[0].events[0].id
    tamper(settings, [f"UPDATE events SET type = 'sms.receiveD' WHERE id = '{altered}'"])
    async with opened(settings) as store:
        claimed = await store.claim("crm", 10, order)
        assert {each.event.id for each in claimed} == {
            each.messages[0].events[0].id for each in (items[0], items[2])
        }
        (held,) = await store.read(
            lambda connection: list_deliveries(connection, limit=9, state=DeliveryState.HELD)
        )
        assert held.reason == damage.ALTERED
        (found,) = await store.read(damage.list_damage)
        assert (found.kind, found.event_id) == (damage.EVENT, altered)
        await store.change(lambda c: retry_deliveries(c, now=START, ids=[held.id]))
        assert await store.claim("crm", 10, order) == []
        page = await store.read(lambda connection: read_page(connection, "crm", 0, 9, 10**6))
        assert page.gone == (Gone(2, 2, "damaged"),)
    wrong = failed(settings)
    assert wrong[UNALTERED] == f"1: events {altered}"
    assert wrong.keys() == {UNALTERED, THERE}
    async with opened(settings) as store:
        await store.change(lambda c: damage.accept(c, found.id, "it was a test", START))
        with pytest.raises(NotPossible, match="accepted before"):
            await store.change(lambda c: damage.accept(c, found.id, "again", START))
    assert failed(settings) == {}


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE events SET body = CAST(body AS TEXT)",
        "UPDATE events SET format = CAST(x'ff' AS TEXT)",
        "UPDATE events SET created_at = x'00'",
        "UPDATE deliveries SET step = x''",
        "UPDATE deliveries SET attempts = 'a'",
        "UPDATE deliveries SET lived_from = 'a'",
        "UPDATE events SET checksum = NULL",
    ],
)
async def test_what_cannot_be_read_any_more_holds_up_nobody(tmp_path: Path, change: str) -> None:
    """A value of another kind than its column's is as good as an altered one."""
    settings = sqlite_settings(tmp_path / "bridge.db")
    async with opened(settings) as store:
        for item in many(3):
            await store.ingest(item)
    table = change.split()[1]
    tamper(settings, [f"{change} WHERE rowid = (SELECT min(rowid) FROM {table})"])
    async with opened(settings) as store:
        assert len(await store.claim("crm", 10)) == 2
        assert len(await store.read(damage.list_damage)) == 1
    assert failed(settings)


async def test_what_was_altered_is_not_read_again(settings: StoreSettings) -> None:
    """A mail would become another SMS, and a message another event."""
    async with opened(settings) as store:
        stranger = (await store.ingest(unreadable(raw=b"From: x"))).arrival_id
        message = (await store.ingest(sms())).message_id
        assert message is not None
        await store.read(lambda connection: require_unaltered(connection, stranger))
        assert await store.read(lambda c: altered_messages(c, [message])) == set()
    tamper(
        settings,
        [
            f"UPDATE arrivals SET envelope_from = 'y' WHERE id = {stranger}",
            "UPDATE arrivals SET trust_by = 'dkim' WHERE message_id IS NOT NULL",
        ],
    )
    async with opened(settings) as store:
        with pytest.raises(NotPossible, match="was altered on the disk"):
            await store.read(lambda connection: require_unaltered(connection, stranger))
        assert await store.read(lambda c: altered_messages(c, [message])) == {message}
    assert failed(settings) == {UNALTERED: f"2: arrivals {stranger}, messages {message}"}


async def test_any_text_is_what_was_stored(settings: StoreSettings) -> None:
    """Databases keep neither half a surrogate pair nor NUL, and no two write a flag alike."""
    odd = "a\ud83d\0é\N{GRINNING FACE}\x01'\"\\"
    item = sms(sender=odd, body=odd, arrived=arrival(b"\0\xff", source_name=odd))
    async with opened(settings) as store:
        await store.ingest(item)
        await store.ingest(unreadable(raw=b""))
    report = audited(settings)
    assert report.ok, report
    assert report.notes == ()


async def test_rows_older_than_checksums_are_told_apart(settings: StoreSettings) -> None:
    """An arrival without one is older, unless one before it has one."""
    await filled(settings)
    tamper(settings, ["UPDATE arrivals SET checksum = NULL", "UPDATE messages SET checksum = NULL"])
    report = audited(settings)
    assert report.ok
    assert report.notes == ("17 rows are older than checksums: nobody can tell of those",)
    async with opened(settings) as store:
        await store.ingest(sms(identity("new", email="new")))
        newest = (await store.ingest(unreadable(raw=b"new"))).arrival_id
    tamper(settings, [f"UPDATE arrivals SET checksum = NULL WHERE id = {newest}"])
    assert failed(settings) == {UNALTERED: f"1: arrivals {newest}"}


async def test_mails_that_are_missing_are_named_until_accepted(tmp_path: Path) -> None:
    """Their numbers are never given again; the daemon goes on."""
    settings = sqlite_settings(tmp_path / "bridge.db")
    async with opened(settings) as store:
        for item in many(5):
            await store.ingest(item)
        for suffix in ("", "-wal"):
            shutil.copy(tmp_path / f"bridge.db{suffix}", tmp_path / f"copy.db{suffix}")
        for item in many(3, first=5):
            await store.ingest(item)
    for suffix in ("", "-wal"):
        (tmp_path / f"bridge.db{suffix}").unlink(missing_ok=True)
        (tmp_path / f"copy.db{suffix}").rename(tmp_path / f"bridge.db{suffix}")
    store = await Store.beside(settings, owner="audit", clock=Clock())
    assert await store.acknowledged() == 8
    assert await store.read(lambda c: damage.find_missing(c, 8)) == (6, 8)
    await store.close()
    async with opened(settings) as store:
        (found,) = await store.read(damage.list_damage)
        assert "the mails 6 to 8 were acknowledged and are missing" in str(found)
        assert (await store.ingest(many(1, first=9)[0])).arrival_id == 9
    assert "the mails 6 to 8" in failed(settings)[THERE]
    async with opened(settings) as store:
        assert len(await store.read(damage.list_damage)) == 1  # not found once more
        await store.change(lambda c: damage.accept(c, found.id, "taken in again", START))
    assert failed(settings) == {}


async def test_the_witness_gives_no_false_alarm(tmp_path: Path) -> None:
    """Missing, behind, flipped or unwritable: it says less, and mail goes on."""
    settings = sqlite_settings(tmp_path / "bridge.db")
    witness = Witness(tmp_path / "bridge.db")
    assert witness.read() is None
    async with opened(settings) as store:
        for item in many(3):
            await store.ingest(item)
    assert witness.read() == 3
    witness.note(2)
    assert witness.read() == 3
    line = witness.path.read_bytes()
    assert witness.path.stat().st_mode & 0o777 == 0o600
    for bit in range(8 * len(line)):
        flipped = bytearray(line)
        flipped[bit // 8] ^= 1 << bit % 8
        witness.path.write_bytes(flipped)
        assert witness.read() in {None, 3}
    witness.close()
    witness.path.unlink()
    witness.path.mkdir()
    async with opened(settings) as store:
        assert (await store.ingest(many(1, first=3)[0])).arrival_id == 4
        assert await store.read(damage.list_damage) == []


async def test_the_number_is_written_before_anybody_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And behind the commit: what it names was committed."""
    told: list[str] = []
    settings = sqlite_settings(tmp_path / "bridge.db")
    noted = Witness.note

    def note(witness: Witness, newest: int) -> None:
        with closing(sqlite3.connect(tmp_path / "bridge.db")) as connection:
            (committed,) = connection.execute("SELECT max(id) FROM arrivals").fetchone()
        told.append(f"{newest} noted, {committed} committed")
        noted(witness, newest)

    monkeypatch.setattr(Witness, "note", note)
    async with opened(settings) as store:
        await store.ingest(sms())
        told.append("acknowledged")
    assert told == ["1 noted, 1 committed", "acknowledged"]


@pytest.mark.parametrize("value", [b"content 000002", b"email M2", b"msg_"])
async def test_a_flip_in_a_table_or_its_index_is_found(tmp_path: Path, value: bytes) -> None:
    """Each has what the other one had: every place that holds the value, one by one."""
    settings = sqlite_settings(tmp_path / "bridge.db")
    async with opened(settings) as store:
        for item in many(4):
            await store.ingest(item)
    whole = (tmp_path / "bridge.db").read_bytes()
    places = [at for at in range(len(whole)) if whole.startswith(value, at)]
    assert len(places) >= 2
    places = [places[0], places[-1]]
    for at in places:
        (tmp_path / "bridge.db").write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert failed(settings), f"at {at}"
    (tmp_path / "bridge.db").write_bytes(whole)
    assert failed(settings) == {}


def test_a_row_that_its_index_lacks_is_named(tmp_path: Path) -> None:
    """Only the comparison sees it: by the index, nobody ever comes to the row."""
    settings = sqlite_settings(tmp_path / "bridge.db")
    Database.open(settings, migrate=True).close()
    with closing(sqlite3.connect(tmp_path / "bridge.db")) as connection:
        connection.execute("INSERT INTO endpoints (name) VALUES ('crm')")
        connection.commit()
    whole = (tmp_path / "bridge.db").read_bytes()
    at = whole.rindex(b"crm")
    for place in (whole.index(b"crm"), at):
        flipped = bytearray(whole)
        flipped[place] ^= 1
        (tmp_path / "bridge.db").write_bytes(flipped)
        found = failed(settings)
        assert found == {INDEXED: "1: endpoints row 1 (sqlite_autoindex_endpoints_1)"}


@pytest.mark.parametrize("file", flips.FILES)
async def test_no_flip_is_sent_or_loses_a_mail_unseen(tmp_path: Path, file: str) -> None:
    """Twenty bits of each file, the same ones each time; without the checks, some are not seen."""
    ledger = await flips.fill(tmp_path)

    async def flipped(number: int) -> tuple[int, int]:
        rng = random.Random(f"7:{file}:{number}")
        found = await flips.flip(ledger, file, rng, tmp_path / "work")
        return found["altered"], found["unseen"]

    for number in range(20):
        assert await flipped(number) == (0, 0), number
    with flips.without_checks():
        for number in range(100):
            if any(await flipped(number)):
                return
    pytest.fail("without the checks, every flip is seen just as well")


def test_a_checksum_is_the_same_for_good() -> None:
    """It stands in databases: another program or database must come to the same."""
    row = {
        "id": "msg_1", "message_id": None, "format": "sms.received", "created_at": START,
        "type": "\N{GRINNING FACE} è\0", "body": b"{}",
    }  # fmt: skip
    values = f"('msg_1', None, 'sms.received', '\\U0001f600 \\xe8\\\\x00', {microseconds(START)})"
    assert checksums.of_event(row) == crc32(b"{}", crc32(values.encode()))

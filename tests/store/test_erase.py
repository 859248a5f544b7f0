"""A person's number is erased, from every row and every byte of the files."""

from __future__ import annotations

import base64
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from bridge.config.settings import StoreSettings
from bridge.errors import NotPossible
from bridge.model import Arrival, ArrivalOutcome, Envelope, MailFile, Reason, Unreadable
from bridge.numbers import pattern_of
from bridge.operations import purge, quarantine
from bridge.store import Ingest, Store, queries
from tests.store.making import (
    Clock,
    attempt,
    audited,
    identity,
    opened,
    plan,
    planned_message,
    sms,
    sqlite_settings,
)

NUMBER = "+393307654321"
DIGITS = b"3307654321"
OTHER = "+393301112223"
TEXT = "a person's own words"


def message(number: str, name: str, endpoint: str = "crm", text: str = TEXT) -> Ingest:
    raw = f"Subject: SMS\r\n\r\nFrom: {number}\r\nBody: {text} {name}".encode()
    arrived = Arrival(
        Envelope("192.0.2.1", f"{number}@example.com", ("a@example.org",)), "x", raw, Clock()()
    )
    return sms(
        identity(name, email=name), plan(endpoint), sender=number, body=text, arrived=arrived
    )


def encoded(number: str) -> bytes:
    """Make a mail whose text only decoding shows."""
    text = base64.b64encode(f"From: {number}\r\nBody: hello".encode())
    return (
        b"From: a@example.com\r\nContent-Type: text/plain; charset=utf-8\r\n"
        b"Content-Transfer-Encoding: base64\r\n\r\n" + text + b"\r\n"
    )


def unread(raw: bytes) -> Ingest:
    return Ingest(
        Arrival(MailFile(), "x", raw, Clock()()), Unreadable(Reason.UNTRUSTED, "no evidence")
    )


async def deliver(store: Store, endpoint: str = "crm") -> None:
    while claims := await store.claim(endpoint, 100):
        for claim in claims:
            await store.record(attempt(claim))


async def test_everything_of_a_number_goes_and_nothing_else(settings: StoreSettings) -> None:
    """Its messages, raw mails, quarantined mails, encoded ones too; others' stay as they were."""
    clock = Clock()
    async with opened(settings, clock=clock) as store:
        mine = [await store.ingest(message(NUMBER, f"m{n}")) for n in range(60)]
        theirs = await store.ingest(message(OTHER, "other"))
        quoting = await store.ingest(message(OTHER, "quoting", text="call 3307654321"))
        await deliver(store)
        plain = await store.ingest(unread(b"Subject: x\r\n\r\n0039 330 765-4321 wrote"))
        hidden = await store.ingest(unread(encoded(NUMBER)))
        kept = await store.ingest(unread(encoded(OTHER)))
        counted = await purge.preview(store, NUMBER)
        assert counted == {
            "messages": 60,
            "undelivered": 0,
            "arrivals": 63,
            "quarantined": 2,
            "waiting": 0,
            "answers": 0,
            "mentioned": 1,
        }
        assert await purge.purge(store, "0039 330 7654321", clock) == counted
        assert await purge.preview(store, NUMBER) == counted | {
            "messages": 0,
            "arrivals": 0,
            "quarantined": 0,
        }
        for receipt in mine[:3]:
            shown = await store.read(
                lambda c, wanted=str(receipt.message_id): queries.show_message(c, wanted)
            )
            assert (shown.row.message.sms.sender, shown.row.message.sms.body) == ("", "")
        for receipt in (plain, hidden):
            document = await quarantine.show_arrival(store, receipt.arrival_id)
            assert document["discarded_because"] == purge.BECAUSE
        assert await quarantine.raw_arrival(store, kept.arrival_id) == encoded(OTHER)
        for receipt, text in ((theirs, TEXT), (quoting, "call 3307654321")):
            shown = await store.read(
                lambda c, wanted=str(receipt.message_id): queries.show_message(c, wanted)
            )
            assert (shown.row.message.sms.sender, shown.row.message.sms.body) == (OTHER, text)
        again = await store.ingest(message(NUMBER, "m0"))
        assert again.outcome is ArrivalOutcome.DUPLICATE
    assert audited(settings, clock()).ok


async def test_a_mail_of_several_messages_goes_with_one_of_them(settings: StoreSettings) -> None:
    """Its raw bytes are stored with each message, and name both senders."""
    clock = Clock()
    arrived = Arrival(MailFile(), "x", encoded(NUMBER) + b"and others", clock())
    both = (
        planned_message(identity("1", email="1"), sender=NUMBER, arrived=arrived),
        planned_message(identity("2", email="2"), sender=OTHER, arrived=arrived),
    )
    async with opened(settings, clock=clock) as store:
        await store.ingest(Ingest(arrived, both))
        await deliver(store)
        await purge.purge(store, NUMBER, clock)
        for arrival_id in (1, 2):
            document = await quarantine.show_arrival(store, arrival_id)
            assert (document["outcome"], document["size"]) == ("message", 0)
        shown = await store.read(lambda c: queries.show_message(c, both[1].message.id))
        assert shown.row.message.sms.sender == OTHER
    assert audited(settings, clock()).ok


async def test_what_is_not_delivered_stays_unless_asked(settings: StoreSettings) -> None:
    """Then its deliveries end, no retry brings them back, and an attempt in flight is let end."""
    clock = Clock()
    async with opened(settings, clock=clock) as store:
        for name, endpoint in (("waiting", "crm"), ("flying", "erp"), ("done", "old")):
            await store.ingest(message(NUMBER, name, endpoint))
        await deliver(store, "old")
        (flying,) = await store.claim("erp", 1)
        first = await purge.purge(store, NUMBER, clock)
        assert (first["messages"], first["undelivered"]) == (1, 2)
        second = await purge.purge(store, NUMBER, clock, even_undelivered=True)
        assert (second["messages"], second["undelivered"]) == (1, 1)
        assert await store.claim("crm", 10) == []
        await store.record(attempt(flying))
        third = await purge.purge(store, NUMBER, clock, even_undelivered=True)
        assert (third["messages"], third["undelivered"]) == (1, 0)
    report = audited(settings, clock())
    assert report.ok, report
    assert report.totals["deliveries.filtered"] == 1


async def test_the_raw_mail_of_what_is_not_delivered_stays(settings: StoreSettings) -> None:
    """It is the evidence of what somebody is still to get; once they got it, it goes as well.

    So does that of other people's messages, which mention the number.
    """
    clock = Clock()
    async with opened(settings, clock=clock) as store:
        waiting = message(NUMBER, "waiting")
        kept = await store.ingest(waiting)
        repeat = await store.ingest(message(NUMBER, "waiting"))
        mention = await store.ingest(message(OTHER, "other", text="call 3307654321"))
        done = await store.ingest(message(NUMBER, "done", "old"))
        await deliver(store, "old")
        left = [kept.arrival_id, repeat.arrival_id, mention.arrival_id]
        assert (await purge.preview(store, NUMBER))["waiting"] == 3
        first = await purge.purge(store, NUMBER, clock)
        assert (first["messages"], first["undelivered"]) == (1, 1)
        assert (first["arrivals"], first["waiting"]) == (1, 3)
        assert await sizes(store, done.arrival_id) == [0]
        assert await quarantine.raw_arrival(store, kept.arrival_id) == waiting.arrival.raw
        assert 0 not in await sizes(store, *left)
        (flying,) = [
            each for each in await store.claim("crm", 10) if each.event.id == kept.message_id
        ]
        second = await purge.purge(store, NUMBER, clock, even_undelivered=True)
        assert (second["messages"], second["waiting"]) == (0, 3)
        await store.record(attempt(flying))
        third = await purge.purge(store, NUMBER, clock)
        assert (third["messages"], third["arrivals"], third["waiting"]) == (1, 2, 1)
        assert await sizes(store, *left[:2]) == [0, 0]
        clock.forward(3600.0)
        await deliver(store)
        fourth = await purge.purge(store, NUMBER, clock)
        assert (fourth["arrivals"], fourth["waiting"]) == (1, 0)
        assert await sizes(store, *left) == [0, 0, 0]
    assert audited(settings, clock()).ok


async def sizes(store: Store, *arrivals: int) -> list[object]:
    return [(await quarantine.show_arrival(store, each))["size"] for each in arrivals]


async def test_only_a_whole_number_is_taken(settings: StoreSettings) -> None:
    """A part of one, or a name, would erase other people's messages."""
    async with opened(settings) as store:
        for wrong in ("", "330", "MyBank", "+39", "3307654321"):
            with pytest.raises(NotPossible, match="international number"):
                await purge.purge(store, wrong, Clock())


def test_a_number_is_found_however_it_is_written() -> None:
    """With and without country code and spacing, and never as a part of another number."""
    pattern = pattern_of(NUMBER)
    for written in (
        b"+393307654321", b"00393307654321", b"393307654321", b"3307654321", b"03307654321",
        b"+39 330 765 4321", b"(330) 765-43.21", b"%2B393307654321", b"tel:+39-330-7654321;",
    ):  # fmt: skip
        assert pattern.search(b"x " + written + b" x"), written
    for other in (b"33076543210", b"13307654321", b"+393307654322", b"330765432"):
        assert not pattern.search(b"x " + other + b" x"), other


async def test_no_byte_is_left_in_the_files(tmp_path: Path) -> None:
    """Neither in the database, nor in its log, nor in a backup made afterwards.

    Beside a running daemon, whose connections stay open, and with what was already deleted from
    pages that are still in the file.
    """
    clock = Clock()
    path = tmp_path / "bridge.db"
    settings = sqlite_settings(path, busy_timeout=30.0)

    def found(needle: bytes) -> list[str]:
        files = sorted(tmp_path.iterdir())
        return [each.name for each in files if needle in each.read_bytes()]

    async with opened(settings, clock=clock) as daemon:
        for number in range(400):
            whose = NUMBER if number % 7 == 0 else OTHER
            text = TEXT if whose == NUMBER else "somebody else's"
            await daemon.ingest(message(whose, f"{number}", text=text * 20))
        await deliver(daemon)
        await daemon.ingest(unread(b"Subject: x\r\n\r\n+39 3307654321 " + TEXT.encode()))
        assert "bridge.db" in found(DIGITS)
        store = await Store.beside(settings, owner="purge", clock=clock)
        try:
            document = await purge.purge(store, NUMBER, clock)
        finally:
            await store.close()
        assert (document["messages"], document["undelivered"]) == (58, 0)
        with (
            closing(sqlite3.connect(path)) as live,
            closing(sqlite3.connect(tmp_path / "backup.db")) as copy,
        ):
            live.backup(copy)
        assert (tmp_path / "backup.db").stat().st_size > 100_000
        for needle in (DIGITS, TEXT.encode(), TEXT[::-1].encode()):
            assert found(needle) == []
        assert "bridge.db" in found(b"somebody else's")
        # The daemon goes on.
        await daemon.ingest(message(OTHER, "later"))
        await deliver(daemon)
    assert audited(settings, clock()).ok

"""The straight line: an arrival becomes a receipt, whatever it is."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bridge import app, providers
from bridge.config.settings import ProviderSettings, Settings, StoreSettings, TrustSettings
from bridge.errors import StoreUnavailable
from bridge.intake import Intake
from bridge.model import (
    Arrival,
    ArrivalOutcome,
    Claim,
    DeliveryState,
    Email,
    Envelope,
    MailFile,
    Message,
    PlannedDelivery,
    Reason,
    Receipt,
    SmsMessage,
    Trust,
    Unreadable,
)
from bridge.reader import Reader, Reading
from bridge.store import Database, Ingest, Store, queries
from bridge.store.audit import audit
from tests.store.making import Clock

LEASE_SECONDS = 60
NOW = datetime(2026, 4, 8, 12, 30, 53, tzinfo=UTC)
SECRET = "sms-7f3k9q2m8x4v6t1w5z@bridge.test"
AGILE = ProviderSettings(
    name="agile",
    time_zone="Europe/Rome",
    region="IT",
    trust=TrustSettings(recipients=(SECRET,)),
)


def clock() -> datetime:
    return NOW


def mail(number: int = 1, sender: str = "smsin@agiletelecom.com", text: str = "News ON") -> bytes:
    """Make a mail as Agile Telecom sends it."""
    lines = [
        f"From: {sender}",
        "Subject: Agile Telecom -- SMS received",
        f"Message-ID: <{number}@agiletelecom.com>",
        "",
        "From: +393301234567",
        "To: +393331234333",
        "Date/Time: 20260408143052",
        f"Body: {text}",
        "",
    ]
    return "\r\n".join(lines).encode()


def arrival(raw: bytes, to: str = SECRET) -> Arrival:
    return Arrival(Envelope("127.0.0.1", "", (to,)), "127.0.0.1:2525", raw, NOW)


class Slots:
    """A dispatcher with one endpoint, that counts its reserved slots."""

    def __init__(self) -> None:
        self.reserved = 0
        self.started: list[Claim] = []

    def plan(self, message: Message) -> tuple[PlannedDelivery, ...]:
        self.reserved += 1
        return (PlannedDelivery("crm", DeliveryState.PENDING, claimed=True),)

    def release(self, planned: Sequence[PlannedDelivery]) -> None:
        self.reserved -= len(planned)

    def start(self, claims: Sequence[Claim]) -> None:
        self.started += claims


class Line:
    """Intake, store and slots, put together."""

    def __init__(self, store: Store, settings: StoreSettings, clock: Clock) -> None:
        self.store = store
        self.clock = clock
        self.settings = settings
        self.slots = Slots()
        self.reader = app.reader_of(Settings(providers=(AGILE,)))
        self.intake = Intake(self.reader, store, self.slots)

    def quarantine(self) -> list[queries.ArrivalRow]:
        database = Database.open(self.settings)
        with database.read() as connection:
            found = list(queries.list_quarantine(connection, limit=100))
        database.close()
        return found


@pytest.fixture
async def line(tmp_path: Path) -> AsyncIterator[Line]:
    settings = StoreSettings.model_validate(
        {"url": f"sqlite:///{tmp_path}/bridge.db", "min_free": 0}
    )
    ticking = Clock()
    store = await Store.open(
        settings, owner="test", lease_seconds=LEASE_SECONDS, endpoints=["crm"], clock=ticking
    )
    yield Line(store, settings, ticking)
    await store.close()


async def test_a_message_is_stored_and_its_delivery_started(line: Line) -> None:
    """A readable, trusted mail becomes a message whose webhook body is ready and leased."""
    receipt = await line.intake.accept(arrival(mail()))
    assert receipt.outcome is ArrivalOutcome.MESSAGE
    (claim,) = line.slots.started
    data = json.loads(claim.event.body)["data"]
    assert data["id"] == receipt.message_id == claim.event.id
    assert (data["from"], data["to"], data["body"]) == (
        "+393301234567",
        "+393331234333",
        "News ON",
    )
    assert data["trust"]["by"] == "recipients"
    assert SECRET not in claim.event.body.decode()
    assert line.slots.reserved == 1  # given back by the lane once it ran


@pytest.mark.parametrize(
    ("end", "in_a_file", "told"),
    [(b"\n", False, True), (b"\r\n", False, False), (b"\n", True, False)],
)
async def test_a_client_that_ends_lines_with_a_bare_lf_is_told(
    end: bytes, in_a_file: bool, told: bool
) -> None:
    """The next relay may refuse its mail; a file has the line ends of its system."""
    raw = mail().replace(b"\r\n", end) + b"\r\n"
    arrived = arrival(raw)
    if in_a_file:
        arrived = replace(arrived, origin=MailFile())
    reader = app.reader_of(Settings(providers=(AGILE,)), vouched=Trust("operator", "me"))
    reading = await reader.read(arrived)
    assert isinstance(reading, Reading)
    (message,) = reading.messages
    assert ("bare_line_feeds" in message.message.sms.warnings) is told


async def test_the_same_mail_again_starts_nothing(line: Line) -> None:
    """A repeated mail gets its receipt and gives its slot back."""
    first = await line.intake.accept(arrival(mail()))
    second = await line.intake.accept(arrival(mail()))
    assert second.outcome is ArrivalOutcome.DUPLICATE
    assert second.message_id == first.message_id
    assert len(line.slots.started) == 1
    assert line.slots.reserved == 1


async def test_a_second_one_in_a_second_is_a_second_message(line: Line) -> None:
    """Two mails that differ in their Message-ID alone are two messages."""
    one = await line.intake.accept(arrival(mail(1, text="1")))
    two = await line.intake.accept(arrival(mail(2, text="1")))
    assert two.outcome is ArrivalOutcome.MESSAGE
    assert one.message_id != two.message_id


@pytest.mark.parametrize(
    ("raw", "to", "reason"),
    [
        (mail(), "info@bridge.test", Reason.UNTRUSTED),
        (mail(sender="someone@example.org"), SECRET, Reason.NO_PROVIDER),
        (mail(sender="smsin@agiletelecom.com <evil@example.org>"), SECRET, Reason.NO_SENDER),
        (mail().replace(b"Date/Time:", b"When:"), SECRET, Reason.UNREADABLE),
        (b"\xff\xfe\x00 no mail at all", SECRET, Reason.UNDECODABLE),
    ],
)
async def test_what_becomes_no_message_is_quarantined_raw(
    line: Line, raw: bytes, to: str, reason: Reason
) -> None:
    """Untrusted, foreign and unreadable arrivals are stored with their reason, and acknowledged."""
    receipt = await line.intake.accept(arrival(raw, to))
    assert receipt.outcome is ArrivalOutcome.QUARANTINE
    (row,) = line.quarantine()
    assert (row.reason, row.id) == (reason, receipt.arrival_id)
    assert line.slots.reserved == 0
    assert not line.slots.started


ACME = ProviderSettings.model_validate({
    "name": "acme",
    "senders": ["sms@acme.example"],
    "trust": {"recipients": [SECRET]},
    "template": {
        "from": {"label": "From"},
        "to": {"label": "To"},
        "body": {"label": "Text"},
        "split": "^-{5,}$",
    },
})  # fmt: skip


def several(*texts: str) -> bytes:
    """Make one mail with an SMS for each text, all else being equal."""
    parts = [f"From: 12345\r\nTo: 54321\r\nText: {text}\r\n" for text in texts]
    head = "From: sms@acme.example\r\nDate: Wed, 08 Apr 2026 12:30:52 +0000\r\n"
    return f"{head}Message-ID: <7@acme.example>\r\n\r\n{'-----'.join(['', *parts])}".replace(
        "-----", "-----\r\n"
    ).encode()


@pytest.fixture
def split_line(line: Line) -> Line:
    """Put a provider in the line whose mails carry several SMS."""
    line.reader = app.reader_of(Settings(providers=(ACME,)))
    line.intake = Intake(line.reader, line.store, line.slots)
    return line


async def test_every_sms_of_a_mail_is_a_message_of_its_own(split_line: Line) -> None:
    """Equal ones too: somebody did write "1" twice. All are stored and started together."""
    receipt = await split_line.intake.accept(arrival(several("1", "1", "2")))
    assert receipt.outcome is ArrivalOutcome.MESSAGE
    bodies = [json.loads(claim.event.body)["data"]["body"] for claim in split_line.slots.started]
    assert bodies == ["1", "1", "2"]
    ids = {claim.event.id for claim in split_line.slots.started}
    assert len(ids) == 3
    assert receipt.message_id in ids
    assert split_line.slots.reserved == 3
    database = Database.open(split_line.settings)
    with database.read() as connection:
        report = audit(connection, NOW)
        arrivals = queries.show_message(connection, min(ids)).arrivals
    database.close()
    assert report.ok, report
    assert (report.totals["messages"], report.totals["arrivals"]) == (3, 3)
    assert len(arrivals) == 1


async def test_the_same_mail_of_several_sms_again_starts_nothing(split_line: Line) -> None:
    """Each part is known again by its place in the mail; one that is new is started."""
    first = await split_line.intake.accept(arrival(several("1", "1")))
    again = await split_line.intake.accept(arrival(several("1", "1")))
    assert (again.outcome, again.message_id) == (ArrivalOutcome.DUPLICATE, first.message_id)
    assert len(split_line.slots.started) == 2
    more = await split_line.intake.accept(arrival(several("1", "1", "1")))
    assert more.outcome is ArrivalOutcome.MESSAGE
    assert more.message_id not in {first.message_id, again.message_id}
    assert len(split_line.slots.started) == split_line.slots.reserved == 3


async def test_the_first_sms_of_several_has_the_id_that_it_would_have_alone(
    split_line: Line,
) -> None:
    """So that a `split` that is added to a config later makes no message twice."""
    alone = await split_line.reader.read(arrival(several("1")))
    three = await split_line.reader.read(arrival(several("1", "2", "3")))
    assert isinstance(alone, Reading)
    assert isinstance(three, Reading)
    assert alone.messages[0].identity == three.messages[0].identity
    assert (len(alone.messages), len(three.messages)) == (1, 3)


async def test_a_part_that_cannot_be_read_keeps_the_whole_mail(split_line: Line) -> None:
    """It waits in quarantine as it came; nothing of it goes out by half."""
    raw = several("1", "2").replace(b"Text: 2", b"Txt: 2")
    receipt = await split_line.intake.accept(arrival(raw))
    assert receipt.outcome is ArrivalOutcome.QUARANTINE
    (row,) = split_line.quarantine()
    assert row.detail is not None
    assert row.detail.startswith("part 2 of 2: nothing for 'body'")
    assert not split_line.slots.started


class Hanging:
    """A store that never answers."""

    async def ingest(self, item: Ingest) -> Receipt:
        await asyncio.Event().wait()
        raise AssertionError


async def test_a_store_that_hangs_is_a_store_that_is_down(line: Line) -> None:
    """The source hears of it in time, while the other side still waits; the slot is free."""
    intake = Intake(line.reader, Hanging(), line.slots, deadline=0.05)
    with pytest.raises(StoreUnavailable):
        await intake.accept(arrival(mail()))
    assert line.slots.reserved == 0


async def test_a_commit_that_ends_after_its_deadline_is_a_duplicate_when_the_mail_returns(
    line: Line,
) -> None:
    """Told "not stored", the other side sends again: one message, one delivery, nothing lost."""
    intake = Intake(line.reader, line.store, line.slots, deadline=0.1)
    file = line.settings.url.removeprefix("sqlite:///")
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")  # the writer waits for it, longer than the deadline
        with pytest.raises(StoreUnavailable, match="did not commit"):
            await intake.accept(arrival(mail()))
        assert line.slots.reserved == 0
        other.execute("ROLLBACK")
    again = await line.intake.accept(arrival(mail()))
    assert again.outcome is ArrivalOutcome.DUPLICATE
    assert line.slots.reserved == 0
    assert line.slots.started == []
    # Nobody has the delivery in hand; its lease ends, and it is claimed as after a crash.
    line.clock.forward(LEASE_SECONDS + 1)
    (claim,) = await line.store.claim("crm", 10)
    assert claim.event.id == again.message_id


async def test_a_big_mail_is_not_copied_often(split_line: Line) -> None:
    """The raw mail is kept with each message, so many of them in a big mail are refused."""
    raw = several(*["1"] * 50) + b"-----\r\n" + b"\r\n" * 100_000
    result = await split_line.reader.read(arrival(raw))
    assert isinstance(result, Unreadable)
    assert result.detail.startswith("50 SMS in a mail of")


class Broken:
    """A provider with a bug."""

    name = "agile"

    def matches(self, email: Email) -> bool:
        return True

    def read_email(self, email: Email) -> SmsMessage:
        raise KeyError(email.text)


async def test_a_bug_in_a_provider_costs_no_mail(line: Line) -> None:
    """A provider that raises leaves the mail in quarantine, its text in no sentence."""
    reader = Reader([Broken()], {"agile": AGILE.trust}, clock)
    receipt = await Intake(reader, line.store, line.slots).accept(arrival(mail()))
    assert receipt.outcome is ArrivalOutcome.QUARANTINE
    (row,) = line.quarantine()
    assert row.reason == Reason.INTERNAL
    assert row.detail is not None
    assert "KeyError" in row.detail
    assert "News ON" not in row.detail


class OutOfMemory(Broken):
    """A provider that there is no memory for."""

    def read_email(self, email: Email) -> SmsMessage:
        raise MemoryError


async def test_a_shortage_leaves_the_mail_with_its_sender(line: Line) -> None:
    """What could not be read for want of memory is not stored as a bug, but comes again."""
    reader = Reader([OutOfMemory()], {"agile": AGILE.trust}, clock)
    with pytest.raises(StoreUnavailable, match="out of memory"):
        await Intake(reader, line.store, line.slots).accept(arrival(mail()))
    assert line.quarantine() == []


class Down:
    """A store that takes nothing."""

    async def ingest(self, item: Ingest) -> Receipt:
        raise StoreUnavailable("the database is locked")


async def test_a_store_that_is_down_is_told_and_the_slot_is_free(line: Line) -> None:
    """The store's fault reaches the source, which keeps the mail with its sender."""
    intake = Intake(line.reader, Down(), line.slots)
    with pytest.raises(StoreUnavailable):
        await intake.accept(arrival(mail()))
    assert line.slots.reserved == 0


async def test_a_big_mail_is_read_like_a_small_one(line: Line) -> None:
    """A mail that is decoded in a thread gives the same message."""
    text = "a" * 20_000
    result = await line.reader.read(arrival(mail(text=text)))
    assert isinstance(result, Reading)
    assert result.messages[0].message.sms.body == text


async def test_without_policies_nothing_is_asked_for(line: Line) -> None:
    """Reading a file asks for no evidence, and says so by the missing trust."""
    reader = Reader(providers.build([AGILE]), None, clock)
    result = await reader.read(arrival(mail(), to="info@bridge.test"))
    assert isinstance(result, Reading)
    assert result.messages[0].message.trust is None

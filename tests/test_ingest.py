"""The straight line: an arrival becomes a receipt, whatever it is."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bridge import providers
from bridge.config.settings import ProviderSettings, StoreSettings, TrustSettings
from bridge.errors import StoreUnavailable
from bridge.ingest import Intake, Reader, Reading
from bridge.model import (
    Arrival,
    ArrivalOutcome,
    Claim,
    DeliveryState,
    Email,
    PlannedDelivery,
    Reason,
    Receipt,
    SmsMessage,
    SourceKind,
)
from bridge.store import Database, Ingest, Store, queries

NOW = datetime(2026, 4, 8, 12, 30, 53, tzinfo=UTC)
SECRET = "sms-7f3k9q@bridge.test"
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
    return Arrival(SourceKind.SMTP, "127.0.0.1:2525", raw, NOW, "127.0.0.1", "", (to,))


class Slots:
    """A dispatcher with one endpoint, that counts its reserved slots."""

    def __init__(self) -> None:
        self.reserved = 0
        self.started: list[Claim] = []

    def plan(self, message: SmsMessage) -> tuple[PlannedDelivery, ...]:
        self.reserved += 1
        return (PlannedDelivery("crm", DeliveryState.PENDING, claimed=True),)

    def release(self, planned: Sequence[PlannedDelivery]) -> None:
        self.reserved -= len(planned)

    def start(self, claims: Sequence[Claim]) -> None:
        self.started += claims


class Line:
    """Intake, store and slots, put together."""

    def __init__(self, store: Store, settings: StoreSettings) -> None:
        self.store = store
        self.settings = settings
        self.slots = Slots()
        self.reader = Reader(providers.build([AGILE]), {"agile": AGILE.trust}, clock)
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
    store = await Store.open(
        settings, owner="test", lease_seconds=60, endpoints=["crm"], clock=clock
    )
    yield Line(store, settings)
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
    assert result.message.body == text


async def test_without_policies_nothing_is_asked_for(line: Line) -> None:
    """Reading a file asks for no evidence, and says so by the missing trust."""
    reader = Reader(providers.build([AGILE]), None, clock)
    result = await reader.read(arrival(mail(), to="info@bridge.test"))
    assert isinstance(result, Reading)
    assert result.trust is None

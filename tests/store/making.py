"""Makes what the store takes: arrivals, parsed messages, identities, attempts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, create_engine, make_url

from bridge import clock
from bridge.config.settings import StoreSettings
from bridge.event import event_id
from bridge.model import (
    SMS_RECEIVED,
    Arrival,
    Attempt,
    Claim,
    Dead,
    Decision,
    Delivered,
    DeliveryState,
    EmailSummary,
    Envelope,
    Event,
    Identity,
    Ignored,
    Message,
    Order,
    Origin,
    Outcome,
    PlannedDelivery,
    RawFields,
    Reason,
    RetryAt,
    SmsMessage,
    Trust,
    Unreadable,
)
from bridge.store import Database, Ingest, PlannedMessage, Store, migrations
from bridge.store.audit import AuditReport, audit

START = datetime(2026, 4, 8, 12, 30, 52, tzinfo=UTC)
SMS_TIME = datetime(2026, 4, 8, 14, 30, 52, tzinfo=UTC)
LEASE = 60.0


class Clock(clock.Clock):
    """A clock that stands still until it is told to move on; nobody sets it."""

    def __init__(self) -> None:
        self.now = START
        super().__init__(lambda: self.now, self._seconds, self._seconds, alone=True)

    def _seconds(self) -> float:
        return (self.now - START).total_seconds()

    def forward(self, seconds: float) -> datetime:
        self.now += timedelta(seconds=seconds)
        return self.now


class SettableClock(clock.Clock):
    """A machine whose clock goes on, is set, and is suspended, as a test says."""

    def __init__(self) -> None:
        self.says = START
        self.seconds = 0.0
        self.lost = 0.0  # of those, while it was suspended
        super().__init__(
            lambda: self.says, lambda: self.seconds, lambda: self.seconds - self.lost, alone=True
        )

    def forward(self, seconds: float) -> None:
        """Let time go by."""
        self.says += timedelta(seconds=seconds)
        self.seconds += seconds

    def suspend(self, seconds: float) -> None:
        """Let time go by that nobody lives."""
        self.forward(seconds)
        self.lost += seconds

    def put(self, by: timedelta) -> None:
        """Set it."""
        self.says += by


def sqlite_settings(path: Path, **more: object) -> StoreSettings:
    return StoreSettings(url=f"sqlite:///{path}", **{"min_free": 0, "busy_timeout": 0.2} | more)


@asynccontextmanager
async def opened(
    settings: StoreSettings,
    *,
    clock: clock.Clock | None = None,
    owner: str = "us",
    endpoints: Sequence[str] = ("crm", "erp"),
    orders: Mapping[str, Order] = MappingProxyType({}),
) -> AsyncIterator[Store]:
    store = await Store.open(
        settings,
        owner=owner,
        lease_seconds=LEASE,
        endpoints=endpoints,
        orders=orders,
        clock=clock or Clock(),
    )
    try:
        yield store
    finally:
        await store.close()


@contextmanager
def at_revision(settings: StoreSettings, revision: str) -> Iterator[Connection]:
    """Make the database as an earlier revision left it, and give a transaction on it."""
    url = make_url(settings.url)
    driver = "sqlite" if url.get_backend_name() == "sqlite" else "postgresql+psycopg"
    engine = create_engine(url.set(drivername=driver))
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.set_main_option("path_separator", "os")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        yield connection
    engine.dispose()


def audited(settings: StoreSettings, now: datetime = START) -> AuditReport:
    """Audit a ledger, as a whole and in the smallest parts: both find the same."""
    database = Database.open(settings)
    try:
        with database.read() as connection:
            report = audit(connection, now)
            in_parts = audit(connection, now, rows=2)
            assert in_parts == report, (in_parts, report)
            return report
    finally:
        database.close()


ENVELOPE = Envelope("192.0.2.1", "smsin@example.com", ("sms@example.org",))


def arrival(
    raw: bytes = b"Subject: SMS\r\n\r\nNews ON",
    *,
    origin: Origin = ENVELOPE,
    source_name: str = "127.0.0.1:2525",
    received_at: datetime = START,
) -> Arrival:
    return Arrival(origin, source_name, raw, received_at)


def identity(content: str = "a", email: str | None = None, provider: str | None = None) -> Identity:
    strongest = f"{content}/{email}/{provider}"
    return Identity(
        message_id="msg_" + hashlib.sha256(strongest.encode()).hexdigest()[:26],
        content=f"content {content}",
        email=None if email is None else f"email {email}",
        provider=None if provider is None else f"provider {provider}",
    )


def plan(
    *endpoints: str, claimed: bool = False, state: DeliveryState = DeliveryState.PENDING
) -> tuple[PlannedDelivery, ...]:
    return tuple(PlannedDelivery(each, state, claimed=claimed) for each in endpoints)


def sms(
    known: Identity | None = None,
    deliveries: tuple[PlannedDelivery, ...] | None = None,
    *,
    body: str = "News ON",
    sender: str = "+393301234567",
    arrived: Arrival | None = None,
    reparse_of: int | None = None,
) -> Ingest:
    """Make an arrival that became a message."""
    known = known or identity("a", email="M1")
    arrived = arrived or arrival()
    planned = planned_message(known, deliveries, body=body, sender=sender, arrived=arrived)
    return Ingest(arrived, (planned,), reparse_of)


def planned_message(
    known: Identity,
    deliveries: tuple[PlannedDelivery, ...] | None = None,
    *,
    body: str = "News ON",
    sender: str = "+393301234567",
    arrived: Arrival | None = None,
) -> PlannedMessage:
    """Make a message with its deliveries, and an event for each format that they name."""
    arrived = arrived or arrival()
    deliveries = plan("crm") if deliveries is None else deliveries
    message = Message(
        id=known.message_id,
        sms=SmsMessage(
            provider="agile",
            sender=sender,
            recipient="+393331234333",
            body=body,
            received_at=SMS_TIME,
            raw=RawFields(sender, "+393331234333", "20260408143052"),
        ),
        source=arrived.source,
        email=EmailSummary("<1@example.com>", "SMS", "utf-8"),
        sha256=hashlib.sha256(arrived.raw).hexdigest(),
        trust=Trust("networks", "192.0.2.0/24"),
        bridged_at=START,
    )
    formats = dict.fromkeys(each.format for each in deliveries) or (SMS_RECEIVED,)
    data = json.dumps({"type": SMS_RECEIVED, "data": {"id": known.message_id, "body": body}})
    events = tuple(
        Event(event_id(message.id, name), name, SMS_RECEIVED, data.encode()) for name in formats
    )
    return PlannedMessage(message, known, events, deliveries)


def many(count: int, *endpoints: str, claimed: bool = False, first: int = 0) -> list[Ingest]:
    """Make that many different messages."""
    return [
        sms(
            identity(f"{number:06}", email=f"M{number}"),
            plan(*endpoints or ("crm",), claimed=claimed),
        )
        for number in range(first, first + count)
    ]


def unreadable(reason: Reason = Reason.UNREADABLE, raw: bytes = b"?", **more: object) -> Ingest:
    return Ingest(arrival(raw), Unreadable(reason, "the label From is missing", "agile"), **more)


def ignored(**more: object) -> Ingest:
    return Ingest(arrival(b"voicemail"), Ignored("a voicemail notice", "agile"), **more)


def attempt(claim: Claim, decision: Decision | None = None, status: int | None = None) -> Attempt:
    decided = decision or Delivered()
    if status is None:
        status = 200 if isinstance(decided, Delivered) else 500
    return Attempt(claim, START, Outcome(status, 0.05, answer=b"\xff\0ok"), decided)


def later(seconds: float, step: int = 1) -> RetryAt:
    return RetryAt(START + timedelta(seconds=seconds), step)


@contextmanager
def writing(settings: StoreSettings) -> Iterator[Connection]:
    """Give a connection in a write transaction, as the CLI has it beside the daemon."""
    with closing(Database.open(settings)) as database, database.begin() as connection:
        yield connection


GIVE_UP = Dead("the schedule is over")

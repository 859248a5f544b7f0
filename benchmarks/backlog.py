"""Fills a store with deliveries that wait for a dead endpoint, as the store's own ingest writes.

    backlog.py CONFIG COUNT

Reading the mails is left out, since what is measured is the daemon beside the backlog; all rows
are those of the real line. Each delivery is due now: the daemon finds all of them at its start.
"""

from __future__ import annotations

import hashlib
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from bridge import event
from bridge.config.load import load
from bridge.formats import sms_received
from bridge.model import (
    Arrival,
    DeliveryState,
    Email,
    EmailSummary,
    Envelope,
    Message,
    PlannedDelivery,
    RawFields,
    SmsMessage,
    Trust,
)
from bridge.store import Database, Ingest, Lease, PlannedMessage, ingest_many

_BATCH: Final = 1000
_PLANNED: Final = (
    PlannedDelivery("crm", DeliveryState.FILTERED, reason="not for this endpoint"),
    PlannedDelivery("dead", DeliveryState.PENDING),
)
_TRUST: Final = Trust("networks", "127.0.0.0/8")


def ingest(number: int, moment: datetime) -> Ingest:
    """Make what one mail of about 1.2 kB becomes."""
    raw = f"Message-ID: <backlog-{number}@other.example>\r\nX-Filling: {'.' * 1100}".encode()
    text = f"Backlog, message {number:06d}: see you at the station at half past seven"
    fields = RawFields(f"+39330{number:07d}", "+393331234333", f"{moment:%Y%m%d%H%M%S}")
    message = SmsMessage("other", fields.sender, fields.recipient, text, moment, fields)
    email = Email(
        sender="sms@other.example",
        sender_defect=None,
        subject="Agile Telecom -- SMS received",
        message_id=f"<backlog-{number}@other.example>",
        date=moment,
        text=text,
        charset="utf-8",
        from_html=False,
        fingerprint=f"<backlog-{number}@other.example>",
    )
    envelope = Envelope("127.0.0.1", "sms@other.example", ("a@b.c",))
    arrival = Arrival(envelope, "127.0.0.1:25", raw, moment)
    identity = event.identity(message, email)
    stored = Message(
        id=identity.message_id,
        sms=message,
        source=arrival.source,
        email=EmailSummary(email.message_id, email.subject, email.charset),
        sha256=hashlib.sha256(raw).hexdigest(),
        trust=_TRUST,
        bridged_at=moment,
    )
    planned = PlannedMessage(stored, identity, (sms_received.event(stored),), _PLANNED)
    return Ingest(arrival, (planned,))


def main(config: Path, count: int) -> None:
    """Fill the store that the config names."""
    database = Database.open(load(config).store, migrate=True)
    try:
        now = datetime.now(UTC)
        for start in range(0, count, _BATCH):
            numbers = range(start, min(start + _BATCH, count))
            items = [ingest(each, now + timedelta(milliseconds=each)) for each in numbers]
            with database.begin() as connection:
                ingest_many(connection, items, Lease("backlog", now, now))
    finally:
        database.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))

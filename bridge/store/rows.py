"""What the values of the model look like as rows of the tables, and back."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Final

from sqlalchemy import RowMapping

from bridge.model import (
    Arrival,
    ArrivalOutcome,
    Caller,
    EmailSummary,
    Envelope,
    Event,
    Ignored,
    MailboxPlace,
    MailFile,
    Message,
    Origin,
    RawFields,
    Reason,
    SmsMessage,
    SourceKind,
    Trust,
    Unreadable,
)
from bridge.store import checksums
from bridge.store.dedupe import Known, place_columns

Row = dict[str, object]

# What an arrival became; the columns that a reparse writes anew.
RESULT: Final = (
    "outcome", "message_id", "provider", "reason", "detail", "trust_by", "trust_detail",
)  # fmt: skip


def result_of_message(message: Message, outcome: ArrivalOutcome, message_id: str) -> Row:
    """Return the result columns of an arrival that brought or repeats a message."""
    trust = message.trust
    assert trust is not None, "an arrival whose evidence was not weighed is never stored"
    return {
        "outcome": outcome,
        "message_id": message_id,
        "provider": message.sms.provider,
        "reason": None,
        "detail": None,
        "trust_by": trust.by,
        "trust_detail": trust.detail,
    }


def result_without_message(result: Unreadable | Ignored, outcome: ArrivalOutcome) -> Row:
    """Return the result columns of an arrival that became no message."""
    return {
        "outcome": outcome,
        "message_id": None,
        "provider": result.provider,
        "reason": result.reason if isinstance(result, Unreadable) else Reason.NOT_SMS,
        "detail": result.detail,
        "trust_by": None,
        "trust_detail": None,
    }


def arrival(arrived: Arrival, arrival_id: int, digest: bytes | None) -> Row:
    """Return the columns of an arrival as it came in."""
    origin = arrived.origin
    envelope = origin if isinstance(origin, Envelope) else Envelope(arrived.peer, "", ())
    place = origin if isinstance(origin, MailboxPlace) else None
    row: Row = {
        "id": arrival_id,
        "source": arrived.source.value,
        "source_name": arrived.source_name,
        "received_at": arrived.received_at,
        "peer": envelope.peer,
        "envelope_from": envelope.sender if isinstance(origin, Envelope) else None,
        "recipients": envelope.recipients,
        **place_columns(place),
        "digest": digest,
        "raw": arrived.raw,
    }
    row["checksum"] = checksums.of_arrival(row)
    return row


def origin(row: RowMapping) -> Origin:
    """Return where an arrival came from."""
    match SourceKind(row["source"]):
        case SourceKind.IMAP:
            return MailboxPlace(row["mailbox"], row["folder"], row["uidvalidity"], row["uid"])
        case SourceKind.FILE:
            return MailFile()
        case SourceKind.HTTP:
            return Caller(row["peer"])
        case _:
            return Envelope(row["peer"], row["envelope_from"] or "", row["recipients"])


def message(stored: Message, known: Known) -> Row:
    """Return the columns of a message, with its keys as this batch leaves them."""
    sms, email, trust = stored.sms, stored.email, stored.trust
    assert trust is not None, "a message whose evidence was not weighed is never stored"
    row: Row = {
        "id": stored.id,
        "provider": sms.provider,
        "sender": sms.sender,
        "recipient": sms.recipient,
        "received_at": sms.received_at,
        "bridged_at": stored.bridged_at,
        "provider_message_id": sms.provider_message_id,
        "content_key": known.content,
        "email_key": known.email,
        "provider_key": known.provider,
        "utc_offset": (sms.received_at.utcoffset() or timedelta()) // timedelta(seconds=1),
        "own_time": sms.has_own_time,
        "raw_sender": sms.raw.sender,
        "raw_recipient": sms.raw.recipient,
        "raw_date": sms.raw.date,
        "email_message_id": None if email is None else email.message_id,
        "email_subject": None if email is None else email.subject,
        "email_charset": None if email is None else email.charset,
        "sha256": bytes.fromhex(stored.sha256),
        "warnings": sms.warnings,
        "body": sms.body,
    }
    brought = {"source": stored.source.value, "trust_by": trust.by, "trust_detail": trust.detail}
    row["checksum"] = checksums.of_message(row | brought)
    return row


def as_message(row: RowMapping) -> Message:
    """Return a message from its row, joined with the arrival that brought it.

    A column that is not there (purged, or of an event that a migration could not read) is empty.
    """
    at = timezone(timedelta(seconds=row["utc_offset"] or 0))
    return Message(
        id=row["id"],
        sms=SmsMessage(
            provider=row["provider"],
            sender=row["sender"],
            recipient=row["recipient"],
            body=row["body"] or "",
            received_at=row["received_at"].astimezone(at),
            raw=RawFields(row["raw_sender"] or "", row["raw_recipient"] or "", row["raw_date"]),
            has_own_time=bool(row["own_time"]),
            provider_message_id=row["provider_message_id"],
            warnings=row["warnings"] or (),
        ),
        source=SourceKind(row["source"]),
        email=None
        if row["email_charset"] is None
        else EmailSummary(row["email_message_id"], row["email_subject"], row["email_charset"]),
        sha256=(row["sha256"] or b"").hex(),
        trust=Trust(row["trust_by"], row["trust_detail"]),
        bridged_at=row["bridged_at"],
    )


def event(made: Event, message_id: str | None, planned: int, now: datetime) -> Row:
    """Return the columns of an event; `planned` deliveries are written with it."""
    row: Row = {
        "id": made.id,
        "message_id": message_id,
        "format": made.format,
        "type": made.type,
        "planned": planned,
        "created_at": now,
        "body": made.body,
    }
    row["checksum"] = checksums.of_event(row)
    return row

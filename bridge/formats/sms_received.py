"""The canonical event, `sms.received`: JSON as `sms.received.schema.json` describes it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from importlib import resources
from typing import Any

from bridge import text
from bridge.event import event_id
from bridge.model import SMS_RECEIVED, Event, Message


def data(message: Message) -> dict[str, Any]:
    """Build the webhook's `data`."""
    sms, email, trust = message.sms, message.email, message.trust
    counted = text.segments(sms.body)
    return {
        "id": message.id,
        "provider": sms.provider,
        "source": message.source.value,
        "from": sms.sender,
        "to": sms.recipient,
        "body": sms.body,
        "received_at": sms.received_at.isoformat(timespec="seconds"),
        "bridged_at": _utc(message.bridged_at, "milliseconds"),
        "provider_message_id": sms.provider_message_id,
        "raw": {"from": sms.raw.sender, "to": sms.raw.recipient, "date": sms.raw.date},
        "opt": text.opt(sms.body),
        "segments": {"encoding": counted.encoding, "count": counted.count, "estimated": True},
        "email": None
        if email is None
        else {
            "message_id": email.message_id,
            "subject": email.subject,
            "charset": email.charset,
        },
        "sha256": message.sha256,
        "trust": None if trust is None else {"by": trust.by, "detail": trust.detail},
        "warnings": list(sms.warnings),
    }


def event(message: Message) -> Event:
    """Serialise the event."""
    envelope = {
        "type": SMS_RECEIVED,
        "timestamp": _utc(message.sms.received_at, "seconds"),
        "data": data(message),
    }
    written = json.dumps(envelope, ensure_ascii=False, separators=(",", ":"))
    # Lone surrogates cannot be encoded and no receiver could read them; nothing else changes.
    body = written.encode("utf-8", "replace")
    return Event(event_id(message.id, SMS_RECEIVED), SMS_RECEIVED, SMS_RECEIVED, body)


def schema() -> bytes:
    """Return the JSON Schema (draft 2020-12) of the body."""
    return resources.files("bridge.formats").joinpath("sms.received.schema.json").read_bytes()


def _utc(moment: datetime, precision: str) -> str:
    return moment.astimezone(UTC).isoformat(timespec=precision).replace("+00:00", "Z")

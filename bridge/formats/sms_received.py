"""The canonical event, `sms.received`: JSON as `sms.received.schema.json` describes it."""

from __future__ import annotations

from importlib import resources
from typing import Any, Final

from bridge import text
from bridge.formats import json_text
from bridge.formats.base import Format
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
        "bridged_at": json_text.utc(message.bridged_at, "milliseconds"),
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


def write(message: Message, _webhook_id: str) -> bytes:
    """Return the body."""
    return json_text.write(
        {
            "type": SMS_RECEIVED,
            "timestamp": json_text.utc(message.sms.received_at, "seconds"),
            "data": data(message),
        }
    )


FORMAT: Final = Format(SMS_RECEIVED, json_text.CONTENT_TYPE, write)


def event(message: Message) -> Event:
    """Serialise the event."""
    return FORMAT.event(message)


def schema() -> bytes:
    """Return the JSON Schema (draft 2020-12) of the body."""
    return resources.files("bridge.formats").joinpath("sms.received.schema.json").read_bytes()

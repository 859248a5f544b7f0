"""`mobile_api_connect`: Mobile API Connect's JSON, signed in `X-MAC-Signature`."""

from __future__ import annotations

from typing import Final

from bridge.formats import json_text
from bridge.formats.base import Format
from bridge.model import Message

_WE: Final = "smsbridge"


def write(message: Message, webhook_id: str) -> bytes:
    """Return the body; numbers have no plus in it."""
    sms = message.sms
    return json_text.write(
        {
            "event": "message.received",
            "from": sms.sender.removeprefix("+"),
            "to": sms.recipient.removeprefix("+"),
            "text": sms.body,
            "ref": webhook_id,
            "receivedAt": json_text.utc(sms.received_at, "milliseconds"),
            "deviceId": sms.provider,
            "tenantId": _WE,
            "tenantName": _WE,
        }
    )


FORMAT: Final = Format(
    "mobile_api_connect", json_text.CONTENT_TYPE, write, scheme="mobile-api-connect"
)

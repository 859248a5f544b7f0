"""`cloudevents`: CloudEvents 1.0 in structured mode, attributes and data in one JSON object."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote

from bridge.formats import json_text, sms_received
from bridge.formats.base import Format
from bridge.model import SMS_RECEIVED, Message

NAMES: Final = ("specversion", "id", "source", "type", "time")


def attributes(webhook_id: str, data: Mapping[str, Any]) -> dict[str, str]:
    """Return the attributes of an event in either mode, from its id and its data."""
    # An absolute URI of a scheme of its own: `source` and `id` together name one event.
    source = f"smsbridge:{quote(data['provider'], safe='')}"
    time = json_text.utc(datetime.fromisoformat(data["received_at"]), "seconds")
    return dict(zip(NAMES, ("1.0", webhook_id, source, SMS_RECEIVED, time), strict=True))


def write(message: Message, webhook_id: str) -> bytes:
    """Return the body."""
    data = sms_received.data(message)
    known = attributes(webhook_id, data)
    return json_text.write({**known, "datacontenttype": json_text.CONTENT_TYPE, "data": data})


FORMAT: Final = Format("cloudevents", "application/cloudevents+json", write)

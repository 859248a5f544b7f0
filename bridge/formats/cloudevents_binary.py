"""`cloudevents-binary`: CloudEvents 1.0 in binary mode, the attributes in `ce-` headers."""

from __future__ import annotations

import json
from typing import Final

from bridge.formats import json_text, sms_received
from bridge.formats.base import Format, Headers
from bridge.formats.cloudevents import NAMES, attributes
from bridge.model import Event, Message


def write(message: Message, _webhook_id: str) -> bytes:
    """Return the body: the data alone."""
    return json_text.write(sms_received.data(message))


def headers(event: Event) -> Headers:
    """Return the attributes, derived from the stored bytes and so the same for every attempt."""
    known = attributes(event.id, json.loads(event.body))
    return [(f"ce-{name}", value) for name, value in known.items()]


FORMAT: Final = Format(
    "cloudevents-binary",
    json_text.CONTENT_TYPE,
    write,
    headers=headers,
    header_names=frozenset(f"ce-{name}" for name in NAMES),
)

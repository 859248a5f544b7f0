"""`agile`: the form that Agile Telecom posts, acknowledged by the text `+OK` within 30 s."""

from __future__ import annotations

import re
from typing import Final
from zoneinfo import ZoneInfo

from bridge.config.endpoints import NO_SCHEME
from bridge.formats import form
from bridge.formats.base import Format
from bridge.model import Message, SmsMessage

_SUCCESS: Final = b"+OK"
_OWN_TIME: Final = re.compile(r"\d{14}", re.ASCII)
_ZONE: Final = ZoneInfo("Europe/Rome")


def write(message: Message, _webhook_id: str) -> bytes:
    """Return the body."""
    sms = message.sms
    return form.write(
        {
            "originator": sms.sender,
            "destination": sms.recipient,
            "date_time": _date_time(sms),
            "text": sms.body,
        }
    )


def problem(_status: int, answer: bytes) -> str | None:
    """Return why an answer is no success."""
    return None if answer == _SUCCESS else "its body is not +OK"


def _date_time(sms: SmsMessage) -> str:
    """Return the provider's own digits, whatever their zone; of other providers, Italian time."""
    written = sms.raw.date
    if written is not None and _OWN_TIME.fullmatch(written):
        return written
    return f"{sms.received_at.astimezone(_ZONE):%Y%m%d%H%M%S}"


FORMAT: Final = Format(
    "agile", form.CONTENT_TYPE, write, scheme=NO_SCHEME, timeout=30.0, problem=problem
)

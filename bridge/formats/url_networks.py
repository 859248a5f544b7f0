"""`url_networks`: the form that URL Networks posts; only the status 200 is a success."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from bridge.config.endpoints import NO_SCHEME
from bridge.formats import form
from bridge.formats.base import Format, stable_uuid
from bridge.model import Message

_SERVICE: Final = "0"  # the account's number there, which no other provider has


def write(message: Message, webhook_id: str) -> bytes:
    """Return the body; the fields that describe the provider's own settings are empty."""
    sms = message.sms
    return form.write(
        {
            "service_id": _SERVICE,
            "from": sms.sender,
            "sms_number": sms.recipient,
            "body": sms.body,
            "message_id": str(stable_uuid(webhook_id)),
            "timestamp": str(int(sms.received_at.timestamp())),
            "webhook_url": "",
            "webhook_url_fallback": "",
        }
    )


def problem(status: int, _answer: bytes) -> str | None:
    """Return why an answer is no success."""
    return None if status == HTTPStatus.OK else "only 200 counts"


FORMAT: Final = Format("url_networks", form.CONTENT_TYPE, write, scheme=NO_SCHEME, problem=problem)

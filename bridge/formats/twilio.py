"""`twilio`: the form that Twilio posts, signed in `X-Twilio-Signature`."""

from __future__ import annotations

from typing import Final

from bridge import text
from bridge.formats import form
from bridge.formats.base import Format, stable_uuid
from bridge.model import Message

_ACCOUNT: Final = "AC" + "0" * 32  # well-formed, and no account of Twilio's
_API: Final = "2010-04-01"


def write(message: Message, webhook_id: str) -> bytes:
    """Return the body."""
    sms = message.sms
    sid = f"SM{stable_uuid(webhook_id).hex}"
    return form.write(
        {
            "SmsMessageSid": sid,
            "NumMedia": "0",
            "SmsSid": sid,
            "SmsStatus": "received",
            "Body": sms.body,
            "To": sms.recipient,
            "NumSegments": str(text.segments(sms.body).count),
            "MessageSid": sid,
            "AccountSid": _ACCOUNT,
            "From": sms.sender,
            "ApiVersion": _API,
        }
    )


FORMAT: Final = Format("twilio", form.CONTENT_TYPE, write, scheme="twilio")

"""From a canonical message to what is signed and sent: its identity, its id, its body's bytes.

Pure. The body is serialised here once; everything later stores and sends these bytes.
"""

from __future__ import annotations

import hashlib
import json
import re
from datetime import UTC, datetime
from importlib import resources
from typing import Any, Final

from bridge import text
from bridge.model import Arrival, Email, Event, Identity, SmsMessage, Trust

TYPE: Final = "sms.received"

_CROCKFORD: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_TIME_BITS: Final = 48  # milliseconds since 1970: until the year 10889
_HASH_BITS: Final = 80
_ID_CHARACTERS: Final = 26  # 128 bits at 5 a character, as in a ULID
_BLANKS: Final = re.compile(r"[ \t]+")
_SEPARATOR: Final = b"\x1f"  # cannot be confused: lengths are hashed too


def identity(message: SmsMessage, email: Email | None, ordinal: int = 0) -> Identity:
    """Work out by what the message is known again, from the message alone.

    `ordinal` counts the messages of one mail from 0: two that are equal in it are two.

    The same input gives the same keys on every machine and after every restart, so that a mail
    which is sent again, or parsed again after a fix, becomes the same message.
    """
    # Without a time of the provider's own the clock that stands in may differ between two copies
    # of one message, so it is no part of the identity.
    moment = message.received_at.astimezone(UTC) if message.has_own_time else None
    stamp = "" if moment is None else str(_milliseconds(moment))
    prefix = "" if moment is None else f"{int(moment.timestamp()):010x}"

    def key(*parts: str) -> str:
        return prefix + _digest(message.provider, *parts).hex()[:32]

    written = (message.sender, message.recipient, stamp, message.body)
    content = key("content", *written)
    by_email = None
    if email is not None:
        place = () if ordinal == 0 else (str(ordinal),)
        seen = key("content", *map(_as_signed, written))
        by_email = key("email", seen, _as_signed(email.fingerprint), *place)
    by_provider = None
    if message.provider_message_id is not None:
        # No time in front: the two ways in may give the same id with times of other precision.
        by_provider = _digest(message.provider, "id", message.provider_message_id).hex()[:40]
    strongest = by_provider or by_email or content
    return Identity(
        message_id=_message_id(moment, _digest("message", strongest)),
        content=content,
        email=by_email,
        provider=by_provider,
    )


def _as_signed(written: str) -> str:
    """Drop what a signature does not see (RFC 6376, 3.4): whoever has a mail can change it.

    Else one mail could be sent again and again, each time with another blank in it.
    """
    return _BLANKS.sub(" ", written).replace(" \n", "\n").strip(" \n")


def data(
    message: SmsMessage,
    *,
    message_id: str,
    arrival: Arrival,
    email: Email | None,
    trust: Trust | None,
    bridged_at: datetime,
) -> dict[str, Any]:
    """Build the webhook's `data`, as `sms.received.schema.json` describes it."""
    counted = text.segments(message.body)
    warnings = [*(email.warnings if email is not None else ()), *message.warnings]
    return {
        "id": message_id,
        "provider": message.provider,
        "source": arrival.source.value,
        "from": message.sender,
        "to": message.recipient,
        "body": message.body,
        "received_at": message.received_at.isoformat(timespec="seconds"),
        "bridged_at": _utc(bridged_at, "milliseconds"),
        "provider_message_id": message.provider_message_id,
        "raw": {
            "from": message.raw.sender,
            "to": message.raw.recipient,
            "date": message.raw.date,
        },
        "opt": text.opt(message.body),
        "segments": {
            "encoding": counted.encoding,
            "count": counted.count,
            "estimated": True,
        },
        "email": None
        if email is None
        else {
            "message_id": email.message_id,
            "subject": email.subject,
            "charset": email.charset,
        },
        "sha256": hashlib.sha256(arrival.raw).hexdigest(),
        "trust": None if trust is None else {"by": trust.by, "detail": trust.detail},
        "warnings": list(dict.fromkeys(warnings)),
    }


def build(fields: dict[str, Any], received_at: datetime) -> Event:
    """Serialise the event's body, once."""
    envelope = {"type": TYPE, "timestamp": _utc(received_at, "seconds"), "data": fields}
    # Lone surrogates cannot be encoded and no receiver could read them; nothing else changes.
    body = json.dumps(envelope, ensure_ascii=False, separators=(",", ":"))
    return Event(id=fields["id"], type=TYPE, body=body.encode("utf-8", "replace"))


def schema() -> bytes:
    """Return the JSON Schema (draft 2020-12) of the body."""
    return resources.files("bridge").joinpath("sms.received.schema.json").read_bytes()


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def _utc(moment: datetime, precision: str) -> str:
    return moment.astimezone(UTC).isoformat(timespec=precision).replace("+00:00", "Z")


def _digest(*parts: str) -> bytes:
    hashed = hashlib.sha256()
    for part in parts:
        encoded = part.encode("utf-8", "surrogatepass")
        hashed.update(str(len(encoded)).encode() + _SEPARATOR + encoded)
    return hashed.digest()


def _message_id(moment: datetime | None, digest: bytes) -> str:
    """Make `msg_` and 26 characters that sort by time, where the provider gives one."""
    number = int.from_bytes(digest[:16]) & ((1 << _HASH_BITS + _TIME_BITS) - 1)
    if moment is not None:
        time_part = max(0, _milliseconds(moment)) & ((1 << _TIME_BITS) - 1)
        number = time_part << _HASH_BITS | number & ((1 << _HASH_BITS) - 1)
    characters = []
    for _ in range(_ID_CHARACTERS):
        number, digit = divmod(number, 32)
        characters.append(_CROCKFORD[digit])
    return "msg_" + "".join(reversed(characters))

"""By what a message is recognised, and the ids of the message and of its events. Pure."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime
from typing import Final

from bridge.model import SMS_RECEIVED, Email, Identity, SmsMessage
from bridge.text import without_end

_CROCKFORD: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS: Final = tuple(first + second for first in _CROCKFORD for second in _CROCKFORD)
_TIME_BITS: Final = 48  # milliseconds since 1970: until the year 10889
_HASH_BITS: Final = 80
_ID_CHARACTERS: Final = 26  # 128 bits at 5 a character, as in a ULID
_HASH_CHARACTERS: Final = 16
_BLANKS: Final = re.compile(r"[ \t]+")


def identity(
    message: SmsMessage, email: Email | None, ordinal: int = 0, arrival: str | None = None
) -> Identity:
    """Work out the keys by which a message is recognised, from the message alone.

    `arrival` names the post that brought it, for those without an id and a time of their own: two
    equal ones may be two messages, and nothing else tells them apart from one that came twice.
    `ordinal` counts the messages of one mail from 0, so that two equal ones stay two. The same
    input gives the same keys on every machine and after every restart: a mail that is sent
    again, or reparsed after a fix, becomes the same message.
    """
    # Without a time of the provider's own the clock that stands in may differ between two copies
    # of one message, so it is no part of the identity.
    moment = message.received_at.astimezone(UTC) if message.has_own_time else None
    stamp = "" if moment is None else str(_milliseconds(moment))
    prefix = "" if moment is None else f"{int(moment.timestamp()):010x}"

    def key(*parts: str) -> str:
        return prefix + _digest(message.provider, *parts).hex()[:32]

    written = (message.sender, message.recipient, stamp, message.body)
    # The same SMS by post may have kept the blanks that a mail cannot carry.
    content = key("content", *written[:-1], without_end(message.body))
    by_email = None
    if email is not None:
        place = () if ordinal == 0 else (str(ordinal),)
        body = words if email.is_flowed else as_signed
        seen = key("content", *map(as_signed, written[:-1]), body(message.body))
        by_email = key("email", seen, as_signed(email.fingerprint), *place)
    by_provider = None
    if message.provider_message_id is not None:
        # No time in front: the two ways in may give the same id with times of other precision.
        own = as_signed(message.provider_message_id)
        by_provider = _digest(message.provider, "id", own).hex()[:40]
    elif email is None and moment is None and arrival is not None:
        by_provider = _digest(message.provider, "arrival", arrival, str(ordinal)).hex()[:40]
    strongest = by_provider or by_email or content
    return Identity(
        message_id=_message_id(moment, _digest("message", strongest)),
        content=content,
        email=by_email,
        provider=by_provider,
    )


def as_signed(written: str) -> str:
    """Drop what a signature does not cover (RFC 6376, 3.4): anyone who has a mail can change it.

    Otherwise one mail could be replayed for ever, each time with another blank in it.
    """
    if "  " in written or "\t" in written:
        written = _BLANKS.sub(" ", written)
    return written.replace(" \n", "\n").strip(" \n")


def words(written: str) -> str:
    """Drop line ends too: in flowed text, blanks that no signature covers join and part lines."""
    return "".join(written.split())


def event_id(message_id: str, format_name: str) -> str:
    """Work out the id of a message's event in a format: its `webhook-id`.

    No two formats share an id, since one id must never come with two bodies. The default format
    has the message's own id. Ids of the same message sort together.
    """
    if format_name == SMS_RECEIVED:
        return message_id
    number = int.from_bytes(_digest("event", message_id, format_name)[: _HASH_BITS // 8])
    return message_id[:-_HASH_CHARACTERS] + _crockford(number, _HASH_CHARACTERS)


def digest_id(endpoint: str, number: int, now: datetime) -> str:
    """Make the id of an endpoint's digest: `dig_` and 26 characters that sort by time.

    The time is part of it, since after a restore the same number comes again.
    """
    made = _digest("digest", endpoint, str(number), str(_milliseconds(now)))
    return "dig_" + _message_id(now, made).removeprefix("msg_")


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def _digest(*parts: str) -> bytes:
    encoded = [part.encode("utf-8", "surrogatepass") for part in parts]
    # Lengths are hashed too, so that no two lists of parts are written alike.
    written = b"".join([b"%d\x1f%b" % (len(each), each) for each in encoded])
    return hashlib.sha256(written).digest()


def _message_id(moment: datetime | None, digest: bytes) -> str:
    """Make `msg_` and 26 characters that sort by time, where the provider gives one."""
    number = int.from_bytes(digest[:16]) & ((1 << _HASH_BITS + _TIME_BITS) - 1)
    if moment is not None:
        time_part = max(0, _milliseconds(moment)) & ((1 << _TIME_BITS) - 1)
        number = time_part << _HASH_BITS | number & ((1 << _HASH_BITS) - 1)
    return "msg_" + _crockford(number, _ID_CHARACTERS)


def _crockford(number: int, length: int) -> str:
    """Write a number in this many characters, an even count."""
    pairs = [_PAIRS[number >> shift & 1023] for shift in range(5 * length - 10, -1, -10)]
    return "".join(pairs)

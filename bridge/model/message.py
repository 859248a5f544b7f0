"""The message: the canonical SMS, what identifies it, and the events made from it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from bridge.model.arrival import SourceKind, Trust

SMS_RECEIVED: Final = "sms.received"  # the default format of events, and their type


@dataclass(frozen=True, slots=True)
class RawFields:
    """The provider's own strings, unparsed."""

    sender: str
    recipient: str
    date: str | None


@dataclass(frozen=True, slots=True)
class SmsMessage:
    """The canonical SMS as a provider read it.

    `sender` and `recipient` are E.164, or the sender ID or short code as given. `received_at` is
    the provider's time with its offset; `has_own_time` is False where the provider gave none and
    another clock (the mail's Date, our own) stands in.
    """

    provider: str
    sender: str
    recipient: str
    body: str
    received_at: datetime
    raw: RawFields
    has_own_time: bool = True
    provider_message_id: str | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Identity:
    """The keys that recognise a message seen before, each prefixed with its time if it has one.

    `content` covers provider, from, to, time and body; `email` adds the mail's fingerprint;
    `provider` is the provider's own message id. `message_id` is the webhook's id.
    """

    message_id: str
    content: str
    email: str | None
    provider: str | None


@dataclass(frozen=True, slots=True)
class EmailSummary:
    """What a message keeps of the mail that carried it."""

    message_id: str | None
    subject: str
    charset: str  # the one that was used


@dataclass(frozen=True, slots=True)
class Message:
    """A message as stored: everything that an event in any format is made from.

    The warnings in `sms` include those of decoding the mail.
    """

    id: str
    sms: SmsMessage
    source: SourceKind
    email: EmailSummary | None  # None if it came by HTTP
    sha256: str  # hex, of the raw arrival
    trust: Trust | None  # None only where no evidence was required
    bridged_at: datetime


@dataclass(frozen=True, slots=True)
class Event:
    """What is signed and sent: a stable id, and the body's bytes in one format, serialised once."""

    id: str
    format: str
    type: str
    body: bytes

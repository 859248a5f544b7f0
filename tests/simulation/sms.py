"""The SMS of a simulated run, as the mails of a provider, and what must come of them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

_FIRST: Final = datetime(2026, 4, 8, 12, 30, tzinfo=UTC)
_BARES: Final = ("1", "STOP")
_BARE: Final = 0.3  # of all SMS
_TEXTS: Final = ("Ja", "Grazie! Perché no?", "Ihr Code ist 4711", "ok 👍", "€ 5")


@dataclass(frozen=True, slots=True)
class Sms:
    """One SMS: the mail that brings it, and what a webhook must say of it.

    `key` is the mail's own; two SMS may be the same in all else, and are two all the same.
    """

    key: str
    sender: str
    recipient: str
    body: str
    raw: bytes

    @property
    def conversation(self) -> tuple[str, str]:
        """From whom to whom it is."""
        return self.sender, self.recipient

    @property
    def content(self) -> tuple[str, str, str]:
        """What a receiver is told of it."""
        return self.sender, self.recipient, self.body


def conversation(rng: random.Random, number: int, count: int) -> Iterator[Sms]:
    """Make the SMS of one conversation, in order; some say the same as one before."""
    sender, recipient = f"+3933012{number:05}", f"+39333123{rng.randrange(10):04}"
    for position in range(count):
        # Bare texts come twice in the same second: a genuine second "1".
        bare = rng.random() < _BARE
        body = rng.choice(_BARES) if bare else f"{rng.choice(_TEXTS)} {number}/{position}"
        at = _FIRST + timedelta(seconds=position // 2)
        key = f"{number}.{position}"
        yield Sms(key, sender, recipient, body, _mail(key, sender, recipient, body, at))


def _mail(key: str, sender: str, recipient: str, body: str, at: datetime) -> bytes:
    return (
        "From: smsin@agiletelecom.com\r\n"
        "To: sms@bridge.example\r\n"
        "Subject: Agile Telecom -- SMS received\r\n"
        f"Date: {at:%a, %d %b %Y %H:%M:%S} +0000\r\n"
        f"Message-ID: <{key}@agile.example>\r\n"
        "MIME-Version: 1.0\r\n"
        "Content-Type: text/plain; charset=utf-8\r\n"
        "Content-Transfer-Encoding: 8bit\r\n"
        "\r\n"
        f"From: {sender}\r\nTo: {recipient}\r\nDate/Time: {at:%Y%m%d%H%M%S}\r\nBody: {body}\r\n"
    ).encode()

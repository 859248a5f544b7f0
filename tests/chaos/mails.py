"""SMS mails for the storms: each with its own text, by both providers in turn."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email import policy
from email.message import EmailMessage
from typing import Final

from tests.servers.daemon import MAILBOX

_FIRST: Final = datetime(2026, 4, 8, 14, 30, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class SmsMail:
    """A mail with an SMS in it, and the SMS's text, by which it is known again."""

    sender: str
    raw: bytes
    text: str

    @property
    def envelope(self) -> tuple[str, Sequence[str], bytes]:
        """Sender, recipients and content, as SMTP wants them."""
        return self.sender, (MAILBOX,), self.raw


def sms_mails(label: str, count: int, padding: int = 0) -> Iterator[SmsMail]:
    """Make distinct mails; `padding` makes each this many bytes bigger."""
    for number in range(count):
        yield sms_mail(f"{label} {number}: perché no? 5 €{'.' * padding}", number)


def sms_mail(text: str, number: int = 0) -> SmsMail:
    """Make one mail; every second one is Agile Telecom's, the others are URL Networks'."""
    at = _FIRST + timedelta(seconds=number)
    if number % 2:
        lines = [
            "service_id: 4411",
            "from: +61412345678",
            "sms_number: +61480001122",
            f"message_id: {uuid.uuid5(uuid.NAMESPACE_URL, text)}",
            f"timestamp: {int(at.timestamp())}",
            f"body: {text}",
        ]
        return _mail("sms@pbx.example", "SMS received", lines, text)
    lines = [
        "From: +393301234567",
        "To: +393331234333",
        f"Date/Time: {at:%Y%m%d%H%M%S}",
        f"Body: {text}",
    ]
    return _mail("smsin@agiletelecom.com", "Agile Telecom -- SMS received", lines, text)


def _mail(sender: str, subject: str, lines: Sequence[str], text: str) -> SmsMail:
    mail = EmailMessage(policy=policy.SMTP)
    mail["From"] = sender
    mail["To"] = MAILBOX
    mail["Subject"] = subject
    mail["Message-ID"] = f"<{uuid.uuid5(uuid.NAMESPACE_OID, text)}@{sender.partition('@')[2]}>"
    mail.set_content("\n".join(lines) + "\n")
    return SmsMail(sender, mail.as_bytes(), text)

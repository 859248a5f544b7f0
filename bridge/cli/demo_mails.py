"""The mails that the demo sends, and the expected result of each."""

from __future__ import annotations

from dataclasses import dataclass
from email.message import EmailMessage
from typing import Final

MAILBOX: Final = "sms-7f3k9q2m8x4v6t1w5z@bridge.test"  # the secret address that is the evidence


@dataclass(frozen=True, slots=True)
class Sample:
    """A mail of the demo and its expected result."""

    title: str
    mail: EmailMessage
    text: str | None  # the webhook's body; None: no webhook is expected
    to: str = MAILBOX


def _mail(sender: str, subject: str, text: str, number: int) -> EmailMessage:
    mail = EmailMessage()
    mail["From"] = sender
    mail["To"] = MAILBOX
    mail["Subject"] = subject
    mail["Message-ID"] = f"<demo-{number}@{sender.partition('@')[2]}>"
    mail.set_content(text)
    return mail


def agile(number: int, sender: str, date: str, text: str) -> EmailMessage:
    """Return a mail as Agile Telecom sends it; `date` is YYYYMMDDHHMMSS."""
    body = f"From: {sender}\nTo: +393331234333\nDate/Time: {date}\nBody: {text}\n"
    return _mail("smsin@agiletelecom.com", "Agile Telecom -- SMS received", body, number)


def samples() -> tuple[Sample, ...]:
    """Return the demo's mails, in the order in which they are sent."""
    code = "Your code is 492817"
    lines = "Good morning,\nis the appointment on Friday still on?\n\nMaria"
    accents = "Perché no? Costa 5 € – va bene 👍"
    url_networks = (
        "service_id: 4411\nfrom: +61412345678\nsms_number: +61480001122\n"
        "message_id: 0c9f6a2e-5a0e-4a63-9a3e-0a2b1c4d5e6f\ntimestamp: 1775651452\n"
        "body: Please call me back\n"
    )
    first = agile(1, "MyBank", "20260408143052", code)
    reply = agile(2, "+393301234567", "20260408143110", lines)
    euro = agile(3, "3309876543", "20260408143111", accents)
    fallback = _mail("sms@pbx.example", "SMS received", url_networks, 4)
    one = agile(5, "+393301234567", "20260408143200", "1")
    again = agile(6, "+393301234567", "20260408143200", "1")
    forged = agile(7, "MyBank", "20260408143300", "Your code is 000000")
    private = _mail("someone@example.org", "Hello", "Hi there\n", 8)
    return (
        Sample("a one-time password (Agile Telecom)", first, code),
        Sample("a reply of several lines", reply, lines),
        Sample("accents, a euro sign, an emoji", euro, accents),
        Sample("a PBX's fallback mail (URL Networks)", fallback, "Please call me back"),
        Sample('a "1"', one, "1"),
        Sample('a second "1" in the same second', again, "1"),
        Sample("the first mail once more", first, None),
        Sample("a forged mail, not to the secret address", forged, None, to="info@bridge.test"),
        Sample("a mail that is no SMS", private, None),
    )

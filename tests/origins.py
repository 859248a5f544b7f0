"""Where arrivals of tests come from."""

from __future__ import annotations

from bridge.model import Envelope, MailboxPlace, MailFile

SMTP = Envelope(None, "", ())
IMAP = MailboxPlace("inbox", "INBOX", 1, 1)
FILE = MailFile()


def smtp(peer: str | None = None, recipients: tuple[str, ...] = ()) -> Envelope:
    return Envelope(peer, "", recipients)

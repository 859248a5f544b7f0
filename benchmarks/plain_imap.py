"""The baseline of the mailbox: imaplib in a loop, each mail fetched and read, nothing stored.

    plain_imap.py PORT USER PASSWORD POLICY SEEN     prints messages and seconds

POLICY is `default` or `compat32` of the standard library; SEEN 1 fetches so that the server marks
the mail as read.
"""

from __future__ import annotations

import imaplib
import re
import sys
import time
from email import message_from_bytes, policy
from email.utils import parseaddr
from typing import cast

LABELS = re.compile(
    r"^From: (?P<sender>.+?)\s*^To: (?P<to>.+?)\s*^Date/Time: (?P<date>\d{14})\s*"
    r"^Body: (?P<body>.*)",
    re.MULTILINE | re.DOTALL,
)


def modern(raw: bytes) -> bool:
    """Read a mail as the library's documentation shows it."""
    mail = message_from_bytes(raw, policy=policy.default)
    if mail["From"].addresses[0].addr_spec != "smsin@agiletelecom.com" or not mail["Message-ID"]:
        return False
    body = mail.get_body(("plain", "html"))
    return body is not None and LABELS.search(body.get_content()) is not None


def old(raw: bytes) -> bool:
    """Read a mail with the policy that is the library's default, which leaves more to do."""
    mail = message_from_bytes(raw, policy=policy.compat32)
    if parseaddr(mail["From"])[1] != "smsin@agiletelecom.com" or not mail["Message-ID"]:
        return False
    body = cast("bytes", mail.get_payload(decode=True))
    return LABELS.search(body.decode(mail.get_content_charset("utf-8"))) is not None


def main(port: int, user: str, password: str, how: str, seen: bool) -> None:
    """Read the whole mailbox once."""
    read = modern if how == "default" else old
    item = "(BODY[])" if seen else "(BODY.PEEK[])"
    messages = 0
    began = time.perf_counter()
    with imaplib.IMAP4("127.0.0.1", port, timeout=60) as client:
        client.login(user, password)
        client.select("INBOX", readonly=not seen)
        for uid in client.uid("SEARCH", "ALL")[1][0].split():
            (_, raw), *_ = client.uid("FETCH", uid.decode(), item)[1]
            messages += read(raw)
        ended = time.perf_counter()
    print(messages, ended - began)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4], sys.argv[5] == "1")

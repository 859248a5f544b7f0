"""Sends mails to port 25 until a file says stop; runs in a bare Debian, on its Python alone.

`python3 load.py LABEL STOP_FILE` prints the text of each mail that was accepted, and at the end how
many attempts were refused and repeated, as a mail server would.
"""

import pathlib
import smtplib
import sys
import time

MAILBOX = "in-6f1c0a93d2b84e57c9a1@sms.example.com"


def mail(text: str) -> str:
    """Return a mail as Agile Telecom sends it."""
    return (
        f"From: smsin@agiletelecom.com\r\nTo: {MAILBOX}\r\nSubject: SMS received\r\n"
        f"Message-ID: <{text.replace(' ', '-')}@agiletelecom.com>\r\n\r\n"
        f"From: +393301234567\r\nTo: +393331234333\r\nDate/Time: 20260408143052\r\nBody: {text}\r\n"
    )


def main() -> None:
    """Send one mail after the other."""
    label, stop = sys.argv[1], pathlib.Path(sys.argv[2])
    number = refused = 0
    while not stop.exists():
        text = f"{label} {number}"
        try:
            with smtplib.SMTP("127.0.0.1", 25, timeout=60) as client:
                client.sendmail("smsin@agiletelecom.com", [MAILBOX], mail(text))
        except (OSError, smtplib.SMTPException):
            refused += 1
            time.sleep(0.05)
            continue
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
        number += 1
    sys.stdout.write(f"refused {refused}\n")


if __name__ == "__main__":
    main()

"""Domains of mail services: what one of their customers sends looks like what any other sends.

Not complete, and needn't be: a domain that is missing gets no warning.
"""

from __future__ import annotations

from typing import Final

# Each customer has an address of his own and can write only that into From.
MAILBOXES: Final = frozenset({
    "126.com", "163.com", "aol.com", "fastmail.com", "free.fr", "gmail.com", "gmx.de", "gmx.net",
    "googlemail.com", "hey.com", "hotmail.com", "icloud.com", "laposte.net", "libero.it",
    "live.com", "mac.com", "mail.com", "mail.ru", "me.com", "msn.com", "naver.com", "orange.fr",
    "outlook.com", "proton.me", "protonmail.com", "qq.com", "t-online.de", "tiscali.it",
    "virgilio.it", "web.de", "yahoo.com", "yahoo.co.jp", "yandex.com", "yandex.ru", "ymail.com",
    "zoho.com",
})  # fmt: skip
# Customers write any From, and the service signs with its own domain too.
SENDERS: Final = frozenset({
    "amazonses.com", "brevo.com", "mailchimpapp.net", "mailersend.net",
    "mailgun.net", "mailgun.org", "mailjet.com", "mailjetapp.com", "mandrillapp.com",
    "mcsv.net", "mtasv.net", "postmarkapp.com", "sendgrid.me", "sendgrid.net",
    "sendinblue.com", "smtp2go.com", "sparkpostmail.com",
})  # fmt: skip


def is_within(domain: str, services: frozenset[str]) -> bool:
    """Return whether a domain is one of these services' or below one."""
    return any(domain == each or domain.endswith(f".{each}") for each in services)

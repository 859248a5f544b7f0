"""Tells two mails apart, and knows the same mail when it is sent again."""

from __future__ import annotations

import hashlib
from typing import Final

from bridge.mail.headers import HeaderBlock

# What the machines on a mail's way write into it: a second transmission has others.
_TRACE: Final = frozenset({
    "received", "x-received", "received-spf", "return-path", "delivered-to", "x-delivered-to",
    "x-original-to", "envelope-to", "x-envelope-to", "x-envelope-from", "delivery-date",
    "authentication-results", "x-authentication-results", "dkim-signature", "domainkey-signature",
    "x-dkim-result", "x-originating-ip", "x-virus-scanned", "x-scanned-by", "status", "x-status",
    "x-keywords", "x-uid", "x-uidl", "x-mozilla-status", "x-mozilla-status2",
})  # fmt: skip
_TRACE_PREFIXES: Final = (
    "arc-", "x-spam", "x-amavis", "x-mailscanner", "x-rspamd", "x-gm-", "x-google-",
    "x-ms-exchange-", "x-microsoft-antispam", "x-forefront-", "x-proofpoint-",
)  # fmt: skip


def of_content(block: HeaderBlock, content: bytes) -> str:
    """Hash a mail without its trace headers, whatever its line ends and folding."""
    digest = hashlib.sha256()
    for name in sorted(block.fields):
        if name in _TRACE or name.startswith(_TRACE_PREFIXES):
            continue
        for value in block.fields[name]:
            digest.update(b"%b:%b\n" % (name.encode("ascii"), b" ".join(value.split())))
    digest.update(b"\n")
    digest.update(content.replace(b"\r\n", b"\n").rstrip(b"\n"))
    return digest.hexdigest()

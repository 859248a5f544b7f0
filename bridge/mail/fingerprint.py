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


_AT_ONCE: Final = 64 * 1024  # a mail of 10 MB must not be copied three times for this


def of_content(block: HeaderBlock, raw: bytes, content: int) -> str:
    """Hash a mail without its trace headers, whatever its line ends and folding.

    The text begins at `content` in `raw`; line ends at its very end do not count.
    """
    digest = hashlib.sha256()
    for name in sorted(block.fields):
        if name in _TRACE or name.startswith(_TRACE_PREFIXES):
            continue
        for value in block.fields[name]:
            digest.update(b"%b:%b\n" % (name.encode("ascii"), b" ".join(value.split())))
    digest.update(b"\n")
    end = _without_line_ends(raw, content)
    for start in range(content, end, _AT_ONCE):
        piece = raw[start : min(start + _AT_ONCE, end)]
        # A pair that two pieces share is cut by its CR: the LF begins the next piece.
        if piece.endswith(b"\r") and raw.startswith(b"\n", start + len(piece)):
            piece = piece[:-1]
        digest.update(piece.replace(b"\r\n", b"\n"))
    return digest.hexdigest()


def _without_line_ends(raw: bytes, content: int) -> int:
    """Return where the text ends, without the LFs and CRLFs at its end."""
    end = len(raw)
    while end > content:
        start = max(content, end - _AT_ONCE)
        piece = raw[start:end].rstrip(b"\r\n")
        end = start + len(piece)
        if piece:
            break
    tail = raw[end:]
    return end + (len(tail) if tail.endswith(b"\r") else tail.rfind(b"\r\r") + 1)

"""The pure parts of SMTP: addresses, allowed recipients, status codes, the Received header."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime
from functools import lru_cache
from ipaddress import ip_address
from typing import Final

from bridge import letters
from bridge.remembered import remembered

# RFC 5321 §4.1.2, with UTF-8 (RFC 6531), a local part alone (postmaster), and dots anywhere. No
# control character, and no byte that is not UTF-8 (a surrogate here): no store can hold those.
_ATOMS: Final = r'[^\x00-\x20\x7f()<>@,;:\\"\[\]\ud800-\udfff]+'
_QUOTED: Final = r'"(?:[^\x00-\x1f\x7f"\\\ud800-\udfff]|\\[\x20-\x7e])*"'
_LITERAL: Final = r"\[[0-9A-Za-z:.\-]+\]"
_MAILBOX: Final = rf"(?:{_ATOMS}|{_QUOTED})(?:@(?:{_ATOMS}|{_LITERAL}))?"
_ROUTE: Final = rf"(?:@{_ATOMS}(?:,@{_ATOMS})*:)?"  # obsolete; a server must ignore it
_PATH: Final = re.compile(
    rf"\s*(?:<{_ROUTE}({_MAILBOX})>|({_MAILBOX})(?=\s|$)|(<>))(.*)", re.DOTALL
)
_MAX_PATH: Final = 512  # RFC 5321 says 256; with a long token in the local part it may be more

NULL_SENDER: Final = "<>"

_HELO_NAME: Final = re.compile(r"[0-9A-Za-z._:\[\]-]{1,255}")

# Enhanced status codes for replies that have none (RFC 3463, RFC 2034).
_ENHANCED: Final = {
    "221": "2.0.0",
    "250": "2.0.0",
    "252": "2.5.0",
    "421": "4.3.0",
    "451": "4.3.0",
    "452": "4.3.1",
    "500": "5.5.2",
    "501": "5.5.4",
    "502": "5.5.1",
    "503": "5.5.1",
    "552": "5.3.4",
    "553": "5.1.3",
    "554": "5.7.1",
    "555": "5.5.4",
}
_HAS_ENHANCED: Final = re.compile(r"\d{3} [245]\.\d{1,3}\.\d{1,3} ")


def read_path(argument: str) -> tuple[str, str] | None:
    """Split `<a@b> SIZE=1` into the address and its parameters; None if it is no address.

    The null sender is `<>`.
    """
    found = _PATH.fullmatch(argument)
    if found is None:
        return None
    address: str = found[1] or found[2] or found[3]
    if len(address) > _MAX_PATH:
        return None
    return address, found[4]


class Recipients:
    """The allowed recipients: addresses and `@domains`; an empty list allows all."""

    def __init__(self, allowed: Sequence[str]) -> None:
        self._addresses = frozenset(map(letters.lower, allowed))

    def allow(self, address: str) -> bool:
        """Return whether mail to this address is accepted; the case of ASCII letters is ignored."""
        if not self._addresses:
            return True
        folded = letters.lower(address)
        _, at, domain = folded.rpartition("@")
        return folded in self._addresses or at + domain in self._addresses


def with_enhanced_code(reply: str) -> str:
    """Add the enhanced status code to a reply that has none."""
    code, text = reply[:3], reply[4:]
    enhanced = _ENHANCED.get(code)
    if enhanced is None or _HAS_ENHANCED.match(reply):
        return reply
    return f"{code} {enhanced} {text}"


@dataclass(frozen=True, slots=True)
class ReceivedHeader:
    """The values of the Received header that we add to a mail."""

    greeting: str  # the name that the peer gave: any text
    peer: str | None
    hostname: str
    extended: bool
    tls: bool
    utf8: bool
    id: str
    at: datetime

    def to_bytes(self, line_end: bytes = b"\r\n") -> bytes:
        """Format the header (RFC 5321 §4.4, protocol names of RFC 3848 and 6531).

        `line_end` is the mail's own: headers with both kinds are not believed.

        It names no recipient: an address can be the secret that is a provider's evidence.
        """
        name = self.greeting if _HELO_NAME.fullmatch(self.greeting) else "unknown"
        origin = f"{name} ({_literal(self.peer)})" if self.peer else name
        protocol = ("UTF8SMTP" if self.utf8 else "ESMTP") if self.extended else "SMTP"
        return (
            (
                f"Received: from {origin}\r\n"
                f"\tby {self.hostname} with {protocol}{'S' if self.tls else ''} id {self.id};\r\n"
                f"\t{_date(self.at.replace(microsecond=0))}\r\n"
            )
            .encode("ascii")
            .replace(b"\r\n", line_end)
        )


@lru_cache(maxsize=2)  # what comes in the same second has the same one
def _date(at: datetime) -> str:
    return format_datetime(at)


@remembered(entries=1024, longest=64)
def _literal(peer: str) -> str:
    return f"[IPv6:{peer}]" if ip_address(peer).version == 6 else f"[{peer}]"

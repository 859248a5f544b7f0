"""Reads the mail server's replies: about a folder, about a mail, and why it refuses."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from bridge.errors import ImapError, ImapRefused, ImapUnavailable
from bridge.sources.imap.protocol import Reply
from bridge.sources.imap.wire import Fetched, read_date

# RFC 5530: a NO with one of these codes is temporary.
_TEMPORARY: Final = {"UNAVAILABLE", "INUSE", "LIMIT", "SERVERBUG", "THROTTLED", "EXPUNGEISSUED"}
# After a "+" also in groups, as people write numbers; otherwise dates and IP addresses would match.
_LONG_NUMBER: Final = re.compile(r"\+\d(?:[ ().-]{0,2}\d){5,}|\d{6,}")
_ADDRESS: Final = re.compile(r"(?<!\S)\S+@\S+")  # linear: tried only where a word begins
_NAMED: Final = re.compile(rb"\* OK \[(UIDVALIDITY|UIDNEXT) (\d+)\]", re.IGNORECASE)
_PERMANENT: Final = re.compile(rb"\* OK \[PERMANENTFLAGS \(([^)]*)\)\]", re.IGNORECASE)
_MY_RIGHTS: Final = re.compile(rb"\* MYRIGHTS ", re.IGNORECASE)
_EXISTS: Final = re.compile(rb"\* (\d+) EXISTS\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Mailbox:
    """A folder at the time of SELECT; `uidnext` is None where the server hides it.

    `permanent_flags` are in lower case; None where the server doesn't say, and all are.
    """

    uidvalidity: int
    uidnext: int | None
    exists: int
    readonly: bool
    permanent_flags: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Meta:
    """A mail's metadata; `size` is in bytes."""

    size: int
    internaldate: datetime | None


def read_mailbox(reply: Reply, *, readonly: bool) -> Mailbox:
    """Read the reply to SELECT or EXAMINE."""
    values: dict[bytes, int] = {}
    exists = 0
    flags: frozenset[str] | None = None
    for response in reply.untagged:
        if found := _NAMED.match(response[0]):
            values[found[1].upper()] = int(found[2])
        elif found := _EXISTS.match(response[0]):
            exists = int(found[1])
        elif found := _PERMANENT.match(response[0]):
            flags = frozenset(found[1].decode("ascii", "replace").lower().split())
    if b"UIDVALIDITY" not in values:
        raise ImapRefused("the mail server gives no UIDVALIDITY for the folder: it cannot be read")
    return Mailbox(
        uidvalidity=values[b"UIDVALIDITY"],
        uidnext=values.get(b"UIDNEXT"),
        exists=exists,
        readonly=readonly or reply.code == "READ-ONLY",
        permanent_flags=flags,
    )


def read_my_rights(reply: Reply) -> frozenset[str]:
    """Read the letters of the reply to MYRIGHTS, as RFC 4314 has them."""
    words = [
        response[-1].decode("ascii", "replace").split()
        for response in reply.untagged
        if _MY_RIGHTS.match(response[0])
    ]
    rights = frozenset(words[-1][-1]) if words and words[-1] else frozenset()
    if "d" in rights and not rights & {"t", "e", "x"}:  # of RFC 2086: one letter for all
        rights |= {"t", "e"}
    return rights


def read_meta(fetched: Fetched) -> Meta | None:
    """Read a mail's metadata from a FETCH; None if it holds none."""
    size, date = fetched.items.get(b"RFC822.SIZE"), fetched.items.get(b"INTERNALDATE")
    if not isinstance(size, bytes) or not size.isdigit():
        return None
    return Meta(int(size), read_date(date) if isinstance(date, bytes) else None)


def checked(what: str, reply: Reply) -> Reply:
    """Return a reply that is OK; raise the error that any other one means."""
    if not reply.ok:
        raise refusal(what, reply)
    return reply


def refusal(what: str, reply: Reply, secrets: Sequence[str] = ()) -> ImapError:
    """Translate NO or BAD into an error with the server's text, private data masked."""
    text = "".join(character for character in reply.text if character.isprintable())
    for secret in secrets:
        text = text.replace(secret, "***") if secret else text
    text = _LONG_NUMBER.sub("***", _ADDRESS.sub("***", text))[:200]
    code = f"[{reply.code}] " if reply.code else ""
    kind = ImapUnavailable if reply.code in _TEMPORARY else ImapRefused
    return kind(f"{what} was refused: {reply.status} {code}{text}".rstrip())

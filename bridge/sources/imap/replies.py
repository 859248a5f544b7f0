"""What the mail server's replies say: of a folder, of a mail, and why it says no."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from bridge.errors import ImapError, ImapRefused, ImapUnavailable
from bridge.sources.imap.protocol import Reply
from bridge.sources.imap.wire import Fetched, read_date

# RFC 5530: a NO with one of these is over after a while by itself.
_PASSING: Final = {"UNAVAILABLE", "INUSE", "LIMIT", "SERVERBUG", "THROTTLED", "EXPUNGEISSUED"}
# With a "+" in front also in groups, as people write them: a date or an address of a host is none.
_LONG_NUMBER: Final = re.compile(r"\+\d(?:[ ().-]{0,2}\d){5,}|\d{6,}")
_ADDRESS: Final = re.compile(r"\S+@\S+")
_NAMED: Final = re.compile(rb"\* OK \[(UIDVALIDITY|UIDNEXT) (\d+)\]", re.IGNORECASE)
_EXISTS: Final = re.compile(rb"\* (\d+) EXISTS\b", re.IGNORECASE)
_FLAGS: Final = re.compile(rb"\* FLAGS \(([^)]*)\)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Mailbox:
    """A folder as it was when it was selected; `uidnext` is None where the server hides it."""

    uidvalidity: int
    uidnext: int | None
    exists: int
    readonly: bool
    flags: frozenset[str]


@dataclass(frozen=True, slots=True)
class Meta:
    """What is known of a mail without reading it."""

    size: int
    internaldate: datetime | None
    flags: frozenset[str]


def read_mailbox(reply: Reply, *, readonly: bool) -> Mailbox:
    """Read what SELECT or EXAMINE told."""
    told: dict[bytes, int] = {}
    flags: frozenset[str] = frozenset()
    exists = 0
    for response in reply.untagged:
        if found := _NAMED.match(response[0]):
            told[found[1].upper()] = int(found[2])
        elif found := _EXISTS.match(response[0]):
            exists = int(found[1])
        elif found := _FLAGS.match(response[0]):
            flags = frozenset(found[1].decode("ascii", "replace").split())
    if b"UIDVALIDITY" not in told:
        raise ImapRefused("the mail server gives its folder no UIDVALIDITY: it cannot be read")
    return Mailbox(
        uidvalidity=told[b"UIDVALIDITY"],
        uidnext=told.get(b"UIDNEXT"),
        exists=exists,
        readonly=readonly or reply.code == "READ-ONLY",
        flags=flags,
    )


def read_meta(fetched: Fetched) -> Meta | None:
    """Read what a FETCH told of a mail; None if it was of something else."""
    size, date, flags = (
        fetched.items.get(name) for name in (b"RFC822.SIZE", b"INTERNALDATE", b"FLAGS")
    )
    if not isinstance(size, bytes) or not size.isdigit():
        return None
    return Meta(
        int(size),
        read_date(date) if isinstance(date, bytes) else None,
        frozenset(map(_word, flags)) if isinstance(flags, tuple) else frozenset(),
    )


def checked(what: str, reply: Reply) -> Reply:
    """Give a reply that is OK; raise what any other one means."""
    if not reply.ok:
        raise refusal(what, reply)
    return reply


def refusal(what: str, reply: Reply, secrets: Sequence[str] = ()) -> ImapError:
    """Translate NO and BAD, with what the server says to people, less all that is private."""
    said = "".join(character for character in reply.text if character.isprintable())
    for secret in secrets:
        said = said.replace(secret, "***") if secret else said
    said = _LONG_NUMBER.sub("***", _ADDRESS.sub("***", said))[:200]
    code = f"[{reply.code}] " if reply.code else ""
    kind = ImapUnavailable if reply.code in _PASSING else ImapRefused
    return kind(f"{what} was refused: {reply.status} {code}{said}".rstrip())


def _word(value: object) -> str:
    return value.decode("ascii", "replace") if isinstance(value, bytes) else ""

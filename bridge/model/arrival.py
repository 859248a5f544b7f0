"""What came in: the raw arrival, the decoded mail, and why it is trusted or not a message."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final


class SourceKind(StrEnum):
    """The kinds of source."""

    FILE = "file"  # `smsbridge import`
    SMTP = "smtp"
    IMAP = "imap"
    HTTP = "http"


@dataclass(frozen=True, slots=True)
class Envelope:
    """The SMTP envelope of a mail; the addresses are as the client sent them."""

    peer: str | None  # the client's IP address, never a name; None for a Unix socket
    sender: str  # "" is the null sender
    recipients: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MailboxPlace:
    """Where in a mailbox a mail was found; a UID is meaningless under another UIDVALIDITY.

    `settled`: every mail up to this UID is accounted for, and has been marked or moved as
    configured; the transaction that stores this arrival may move the folder's cursor there.
    """

    mailbox: str  # its name in the config
    folder: str
    uidvalidity: int
    uid: int
    settled: int | None = None


@dataclass(frozen=True, slots=True)
class MailFile:
    """A file that a mail was read from; `source_name` has its path."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who made a provider's post; which provider's, and what it was, is in the raw bytes.

    `believed` is why its source believed it; None for a stored one, which is judged again.
    """

    peer: str | None  # the client's IP address, behind proxies that the config names
    believed: Trust | None = field(default=None, compare=False)


# Where an arrival came from.
Origin = Envelope | MailboxPlace | MailFile | Caller

_SOURCES: Final[Mapping[type, SourceKind]] = {
    Envelope: SourceKind.SMTP,
    MailboxPlace: SourceKind.IMAP,
    MailFile: SourceKind.FILE,
    Caller: SourceKind.HTTP,
}


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a folder has been read: every mail up to this UID is accounted for."""

    uidvalidity: int
    uid: int


@dataclass(frozen=True, slots=True)
class Arrival:
    """What came in, raw, with where it came from."""

    origin: Origin
    source_name: str  # which listener, mailbox or file
    raw: bytes
    received_at: datetime  # when all of it had been received, UTC

    @property
    def source(self) -> SourceKind:
        """The kind of source, derived from the origin."""
        return _SOURCES[type(self.origin)]

    @property
    def peer(self) -> str | None:
        """The IP address of the client, where one connected to us."""
        return self.origin.peer if isinstance(self.origin, Envelope | Caller) else None

    @property
    def recipients(self) -> tuple[str, ...]:
        """The envelope's recipients as sent; empty where there was no envelope."""
        return self.origin.recipients if isinstance(self.origin, Envelope) else ()


@dataclass(frozen=True, slots=True)
class Text:
    r"""A text of a mail, with "\n" line ends only, and how it was come by.

    `cells` maps where each cell of an HTML text's tables begins to its end. `fixed` is what a
    relaxed signature leaves of a text in which blanks are more than blanks; None: the text itself.
    """

    text: str
    charset: str
    from_html: bool
    warnings: tuple[str, ...] = ()
    declared_charset: str | None = None  # as the mail names it
    cells: Mapping[int, int] = field(default_factory=dict)
    fixed: str | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a mail that can be read as text: a version of its text, or an attached file.

    `read` decodes it anew; it never raises, and returns None for a part that is over a bound.
    """

    is_html: bool
    is_flowed: bool  # with lines that blanks join which a relaxed signature doesn't see
    file: str | None  # an attached file's name
    read: Callable[[], Text | None] = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Email:
    r"""A mail, decoded within limits: what providers and trust read.

    `sender` is the address of the one clean From header, lower case, and never evidence; where
    there is none, it is None and `sender_defect` says why. Both are None where the From has no
    address, as in `From: SMS Gateway`. `text` has "\n" line ends only.
    `fingerprint` tells two mails apart: the Message-ID, or a hash of the mail without its trace
    headers. `cells` and `fixed` are as in Text. `parts` are all that can be read instead of `text`.
    """

    sender: str | None
    sender_defect: str | None
    subject: str
    message_id: str | None
    date: datetime | None
    text: str
    charset: str
    from_html: bool
    fingerprint: str
    headers: Mapping[str, tuple[str, ...]] = field(
        default_factory=dict
    )  # lower-case name → decoded values
    warnings: tuple[str, ...] = ()
    declared_charset: str | None = None  # as the mail names it
    cells: Mapping[int, int] = field(default_factory=dict)
    fixed: str | None = None
    parts: tuple[Part, ...] = ()

    @property
    def names_nobody(self) -> bool:
        """Whether its From is clean and has no address."""
        return self.sender is None and self.sender_defect is None

    @property
    def is_flowed(self) -> bool:
        """Whether lines may have been joined or parted since it was signed."""
        return any(part.is_flowed for part in self.parts)


class Reason(StrEnum):
    """Why an arrival became no message; a constant that metrics and the CLI group by."""

    UNDECODABLE = "undecodable"  # not a mail, or over a limit of mail.decode
    NO_SENDER = "no_sender"  # no single clean From, or no address in it where one is needed
    NO_PROVIDER = "no_provider"  # no configured provider sends from this address
    UNTRUSTED = "untrusted"  # the provider's evidence is missing
    UNREADABLE = "unreadable"  # the provider's format was not found
    NOT_SMS = "not_sms"  # the provider says this mail is no SMS (ignored)
    INTERNAL = "internal"  # a bug of ours; the raw mail waits for the fix


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An arrival that goes to quarantine: a constant reason and a sentence for the operator.

    `detail` may name headers, labels and limits, never a number or a message's text.
    """

    reason: Reason
    detail: str
    provider: str | None = None


@dataclass(frozen=True, slots=True)
class Ignored:
    """An arrival that is known not to be an SMS: stored and counted, not quarantined."""

    detail: str
    provider: str


@dataclass(frozen=True, slots=True)
class Trust:
    """Why an arrival is trusted: the kind of evidence and what it was.

    `covers` names the headers, in lower case, that the evidence authenticates; None means all of
    them. A provider must not read any other header: anybody could have written it.
    """

    by: str
    detail: str
    covers: frozenset[str] | None = None

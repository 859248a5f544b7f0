"""The words of the house as frozen values: arrival, email, trust, message, delivery, outcome.

Nothing here does I/O. Every datetime is aware; durations are seconds as float; raw bytes are
never changed after they came in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final


class SourceKind(StrEnum):
    """The ways in."""

    FILE = "file"  # `smsbridge import`
    SMTP = "smtp"
    IMAP = "imap"
    HTTP = "http"


@dataclass(frozen=True, slots=True)
class Envelope:
    """How a mail was handed over by SMTP; the addresses are as the client gave them."""

    peer: str | None  # the client's IP address, never a name; None for a Unix socket
    sender: str  # "" is the null sender
    recipients: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MailboxPlace:
    """Where in a mailbox a mail was found; a UID has no meaning under another UIDVALIDITY.

    `settled`: every mail up to this UID is accounted for, and its place in the mailbox is as
    configured; the transaction that stores this arrival may move the folder's cursor there.
    """

    mailbox: str  # as the config names it
    folder: str
    uidvalidity: int
    uid: int
    settled: int | None = None


@dataclass(frozen=True, slots=True)
class MailFile:
    """The file that a mail was read from; `source_name` has its path."""


SMS_RECEIVED: Final = "sms.received"  # the default format of events, and their type

# Where an arrival came from; a provider's post will be one more.
Origin = Envelope | MailboxPlace | MailFile

_SOURCES: Final[Mapping[type, SourceKind]] = {
    Envelope: SourceKind.SMTP,
    MailboxPlace: SourceKind.IMAP,
    MailFile: SourceKind.FILE,
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
    received_at: datetime  # when we had all of it, UTC

    @property
    def source(self) -> SourceKind:
        """The kind of source, which the origin implies."""
        return _SOURCES[type(self.origin)]

    @property
    def peer(self) -> str | None:
        """The IP address of whoever handed it over, where somebody did."""
        return self.origin.peer if isinstance(self.origin, Envelope) else None

    @property
    def recipients(self) -> tuple[str, ...]:
        """The envelope's recipients, as given; none where there was no envelope."""
        return self.origin.recipients if isinstance(self.origin, Envelope) else ()


@dataclass(frozen=True, slots=True)
class Email:
    r"""A mail, decoded within bounds: what providers and trust read.

    `sender` is the address of the one clean From header, lower case, and never evidence; where
    there is none, it is None and `sender_defect` says why. `text` has "\n" line ends only.
    `fingerprint` tells two mails apart: the Message-ID, or a hash of the mail without its trace
    headers. `cells` says where the cells of an HTML mail's tables stand in `text`: start → end.
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


class Reason(StrEnum):
    """Why an arrival became no message; the constant that metrics and the CLI group by."""

    UNDECODABLE = "undecodable"  # not a mail, or over a bound of mail.decode
    NO_SENDER = "no_sender"  # no single clean From
    NO_PROVIDER = "no_provider"  # no configured provider sends from this address
    UNTRUSTED = "untrusted"  # the provider's evidence is missing
    UNREADABLE = "unreadable"  # the provider's format was not found
    NOT_SMS = "not_sms"  # the provider says this mail is no SMS (ignored)
    INTERNAL = "internal"  # a bug of ours; the raw mail waits for the fix


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An arrival that goes to quarantine: a constant reason and a sentence for the operator.

    `detail` may name headers, labels and limits, never a number or a message's words.
    """

    reason: Reason
    detail: str
    provider: str | None = None


@dataclass(frozen=True, slots=True)
class Ignored:
    """An arrival that is known to be no SMS: stored, counted, not quarantined."""

    detail: str
    provider: str


@dataclass(frozen=True, slots=True)
class Trust:
    """Why an arrival is believed: the kind of evidence and what it was.

    `covers` names the headers, in lower case, that the evidence speaks for; None is all of them.
    A provider that reads another one would believe whoever wrote it.
    """

    by: str
    detail: str
    covers: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class RawFields:
    """The provider's own strings, before anything was made of them."""

    sender: str
    recipient: str
    date: str | None


@dataclass(frozen=True, slots=True)
class SmsMessage:
    """The canonical SMS as a provider read it.

    `sender` and `recipient` are E.164, or the sender ID or short code as given. `received_at` is
    the provider's time with its offset; `has_own_time` is False where the provider gave none and
    another clock (the mail's Date, our own) stands in.
    """

    provider: str
    sender: str
    recipient: str
    body: str
    received_at: datetime
    raw: RawFields
    has_own_time: bool = True
    provider_message_id: str | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Identity:
    """The keys by which a message is known again, each beginning with time where there is one.

    `content` says provider, from, to, time and body are equal; `email` adds the mail's
    fingerprint; `provider` is the provider's own message id. `message_id` is the webhook's id.
    """

    message_id: str
    content: str
    email: str | None
    provider: str | None


@dataclass(frozen=True, slots=True)
class EmailSummary:
    """What a message keeps of the mail that carried it."""

    message_id: str | None
    subject: str
    charset: str  # the one that was used


@dataclass(frozen=True, slots=True)
class Message:
    """A message as the ledger keeps it: all that an event in any format is made from.

    `sms` has the warnings of the whole way, the mail's included.
    """

    id: str
    sms: SmsMessage
    source: SourceKind
    email: EmailSummary | None  # None if it came by HTTP
    sha256: str  # hex, of the raw arrival
    trust: Trust | None  # None only where evidence was not asked for
    bridged_at: datetime


@dataclass(frozen=True, slots=True)
class Event:
    """What is signed and sent: a stable id, and the body's bytes in one format, serialised once."""

    id: str
    format: str
    type: str
    body: bytes


class DeliveryState(StrEnum):
    """Where a delivery stands; every delivery is in exactly one of these."""

    PENDING = "pending"
    DELIVERED = "delivered"
    HELD = "held"
    DEAD = "dead"
    FILTERED = "filtered"


@dataclass(frozen=True, slots=True)
class PlannedDelivery:
    """A delivery to be written with its message.

    `claimed`: the lane has a free slot, so the row is written as leased to us, attempt 1.
    """

    endpoint: str
    state: DeliveryState
    claimed: bool = False
    reason: str | None = None  # why it is held or filtered
    format: str = SMS_RECEIVED  # of the event that the endpoint gets


@dataclass(frozen=True, slots=True)
class Claim:
    """A delivery that is leased to us for one attempt, the attempt already counted in the store.

    `attempt` counts every HTTP call ever made for this delivery, from 1. `step` counts from 0 in
    the schedule that began at `schedule_from`; an operator's retry begins a new schedule.
    """

    delivery_id: int
    endpoint: str
    event: Event
    attempt: int
    step: int
    schedule_from: datetime
    lease: str  # the token that `record` must show


class ArrivalOutcome(StrEnum):
    """What an arrival became."""

    MESSAGE = "message"
    DUPLICATE = "duplicate"
    QUARANTINE = "quarantine"
    IGNORED = "ignored"


@dataclass(frozen=True, slots=True)
class Receipt:
    """The store's word that an arrival is committed and synced; only then is it acknowledged."""

    arrival_id: int
    outcome: ArrivalOutcome
    message_id: str | None = None  # of the message, or of the one it repeats
    claims: tuple[Claim, ...] = ()
    repeated: bool = False  # no message, and stored before with the same bytes: not stored again


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one HTTP call ended: a status, or the error that came instead of one.

    `answer` is at most 4 KiB of the response's body; `retry_after` is the header in seconds.
    `error` is a constant name (`timeout`, `connect`, `tls`, `protocol`), `detail` the sentence.
    """

    status: int | None
    duration: float
    error: str | None = None
    detail: str = ""
    retry_after: float | None = None
    answer: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Delivered:
    """The endpoint took it."""


@dataclass(frozen=True, slots=True)
class RetryAt:
    """Try again at this time, as this step of the schedule."""

    at: datetime
    step: int


@dataclass(frozen=True, slots=True)
class Hold:
    """Keep it until an operator says go; `whole_endpoint` holds all that the endpoint is due."""

    reason: str
    whole_endpoint: bool = False


@dataclass(frozen=True, slots=True)
class Dead:
    """The schedule is over; the payload is kept."""

    reason: str


Decision = Delivered | RetryAt | Hold | Dead


@dataclass(frozen=True, slots=True)
class Attempt:
    """One HTTP call, made and judged, to be recorded."""

    claim: Claim
    started_at: datetime
    outcome: Outcome
    decision: Decision


# How a running part does, for those who look: states, times in ISO 8601, seconds, counts.
Report = Mapping[str, str | float | None]

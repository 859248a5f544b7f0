"""The provider interface, and the reader that all providers with labelled mails share.

A provider's file declares its labels, time format and senders; the rest is here. Reading is
lenient where formats are unknown and exact where it matters: the last label takes the rest of the
mail, character for character.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, Protocol, Self, runtime_checkable

from bridge import letters, numbers
from bridge.config.settings import ProviderSettings
from bridge.model import Email, Ignored, RawFields, Reason, SmsMessage, Unreadable
from bridge.providers.labels import Field, LabelledFields, Labels
from bridge.providers.times import Moment, ReadTime

# Characters. A sender ID has 11, a UUID 36; the longest SMS is 255 parts of 153 letters.
MAX_FIELD: Final = 128
MAX_BODY: Final = 40_000
MAX_TEXT: Final = 128 * 1024  # of a mail's text, as much as is accepted in HTML

_WANTED: Final = (Field.SENDER, Field.RECIPIENT, Field.TIME, Field.BODY)
_KEYS: Final = {
    **{each: each.value for each in Field},
    Field.SENDER: "from",
    Field.RECIPIENT: "to",
    Field.TIME: "date",
}
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")

FOOTER_CUT: Final = "footer_cut"
# Placeholders for a missing id. Taken for an id, one would make every later message a duplicate of
# the first, and duplicates are not sent.
_NO_IDS: Final = frozenset({"", "n/a", "na", "nil", "none", "null", "undefined", "unknown"})
_ID_DECORATION: Final = " \t\xa0-_.,:;<>()[]{}'\"0"  # zeros alone are not an id

MAIL_SPLIT: Final = "mail_split"
PREAMBLE_LEFT_OUT: Final = "preamble_left_out"
SUBJECT_UNEXPECTED: Final = "subject_unexpected"
TIME_FROM_MAIL: Final = "time_from_mail"


class Provider(Protocol):
    """One company's e-mail format: pure, and never raises."""

    @property
    def name(self) -> str:
        """Its name in the config."""

    def matches(self, email: Email) -> bool:
        """Return whether a mail claims to be this provider's; that isn't evidence."""

    def read_email(
        self, email: Email
    ) -> SmsMessage | tuple[SmsMessage, ...] | Unreadable | Ignored:
        """Read the SMS in a mail of this provider, or all of them in order."""


@dataclass(frozen=True, slots=True)
class FieldLocation:
    """Where a value was found: in words, and its span if it is in the mail's text."""

    field: str  # as in the webhook: "from", "to", "date", "body", "message id" …
    where: str
    start: int | None = None
    end: int | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a provider matched a mail, and which fields it found and missed."""

    matched: str
    found: tuple[FieldLocation, ...]
    missing: tuple[str, ...]
    text: str | None = None  # in which the spans are; default: the mail's


@runtime_checkable
class Explains(Protocol):
    """A provider that can explain how it reads a mail; only commands ask, never the pipeline."""

    def explain(self, email: Email) -> Explanation:
        """Explain the results of `matches` and `read_email` for a mail."""


@runtime_checkable
class DeclaresHeaders(Protocol):
    """A provider that declares which headers it reads, so errors can name those not covered."""

    @property
    def headers_read(self) -> frozenset[str]:
        """The names of the headers that it reads from `Email.headers`, in lower case."""


def headers_read(provider: Provider) -> frozenset[str] | None:
    """Return the headers that a provider reads, in lower case; None if it doesn't declare them."""
    return provider.headers_read if isinstance(provider, DeclaresHeaders) else None


def number_warnings(sender: numbers.Number, recipient: numbers.Number) -> tuple[str, ...]:
    """Return the warnings about both numbers, each prefixed with its side."""
    if sender.warning is None and recipient.warning is None:
        return ()
    both = (("sender", sender.warning), ("recipient", recipient.warning))
    return tuple(f"{side}_{warning}" for side, warning in both if warning)


@runtime_checkable
class DeclaresNeedOfSender(Protocol):
    """A provider that declares whether it needs a mail's sender to tell the mail as its own."""

    @property
    def needs_sender(self) -> bool:
        """Whether a mail whose From names no address can't be its own."""


def needs_sender(provider: Provider) -> bool:
    """Return whether a provider needs a mail's sender; one that doesn't declare it does."""
    return provider.needs_sender if isinstance(provider, DeclaresNeedOfSender) else True


@dataclass(frozen=True, slots=True)
class Senders:
    """The addresses (`a@b.c`) and domains (`@b.c`) that a provider's mails come from."""

    addresses: frozenset[str]

    @classmethod
    def of(cls, addresses: Iterable[str]) -> Self:
        """Build from addresses in any case."""
        return cls(frozenset(map(letters.lower, addresses)))

    def __contains__(self, address: str) -> bool:
        return address in self.addresses or address[address.rfind("@") :] in self.addresses


def extra_labels(settings: ProviderSettings) -> dict[Field, tuple[str, ...]]:
    """Return the labels that the config adds to the preset's."""
    named = settings.labels
    if named is None:
        return {}
    return {
        Field.SENDER: named.sender or (),
        Field.RECIPIENT: named.to or (),
        Field.TIME: named.date or (),
        Field.MESSAGE_ID: named.id or (),
        Field.BODY: named.body or (),
    }


@dataclass(frozen=True, slots=True)
class LabelledProvider:
    """A provider whose mails have one labelled field per line, the body last.

    If the time label is missing, the mail's Date is used, with a warning. A time that is there
    but can't be read makes the mail unreadable: anything else would be a guess.
    """

    name: str
    senders: Senders
    labels: Labels
    read_time: ReadTime
    region: str | None
    expects_subject: Callable[[str], bool] = field(default=lambda _: True)

    @property
    def headers_read(self) -> frozenset[str]:
        """Empty: all values are in the text."""
        return frozenset()

    def matches(self, email: Email) -> bool:
        """Return whether the mail's only From is one of this provider's senders."""
        return email.sender is not None and email.sender in self.senders

    def read_email(self, email: Email) -> SmsMessage | Unreadable:
        """Read the labelled fields into a message, or name the one that is missing or malformed."""
        if len(email.text) > MAX_TEXT:
            return self._unreadable(f"the text is longer than {MAX_TEXT} characters")
        found = self.labels.read(email.text, email.cells)
        problem = _problem(found, self.labels)
        if problem is not None:
            return self._unreadable(problem)
        moment = self._moment(found, email)
        if isinstance(moment, Unreadable):
            return moment
        sender = numbers.normalise(found.values[Field.SENDER], self.region)
        recipient = numbers.normalise(found.values[Field.RECIPIENT], self.region)
        warnings = [*email.warnings, *number_warnings(sender, recipient), moment.warning]
        if not self.expects_subject(email.subject):
            warnings.append(SUBJECT_UNEXPECTED)
        if found.footer:
            warnings.append(FOOTER_CUT)
        return SmsMessage(
            provider=self.name,
            sender=sender.value,
            recipient=recipient.value,
            body=found.values[Field.BODY],
            received_at=moment.at,
            raw=RawFields(
                sender=found.values[Field.SENDER],
                recipient=found.values[Field.RECIPIENT],
                date=found.values.get(Field.TIME),
            ),
            has_own_time=moment.own,
            provider_message_id=own_id(found.values.get(Field.MESSAGE_ID, "")),
            warnings=tuple(dict.fromkeys(str(warning) for warning in warnings if warning)),
        )

    def explain(self, email: Email) -> Explanation:
        """Name the sender that matched, and the label of each value."""
        found = self.labels.read(email.text[:MAX_TEXT], email.cells)
        locations = [
            FieldLocation(_KEYS[which], f"at the label {found.names[which]}", *found.spans[which])
            for which in sorted(found.spans, key=lambda each: found.spans[each])
            if isinstance(which, Field)
        ]
        missing = [_KEYS[which] for which in _WANTED if which not in found.spans]
        if not found.values.get(Field.TIME) and email.date is not None:
            locations.append(FieldLocation("date", "the mail's own Date header"))
        return Explanation(
            f"the sender {email.sender} is one of its senders", tuple(locations), tuple(missing)
        )

    def _moment(self, found: LabelledFields, email: Email) -> Moment | Unreadable:
        written = found.values.get(Field.TIME)
        if written:
            moment = self.read_time(written)
            return moment or self._unreadable(
                f"the time at the label {found.names[Field.TIME]} is not in a format known here"
            )
        if email.date is None:
            return self._unreadable(
                f"{_missing(Field.TIME, found, self.labels)}, and the mail has no Date either"
            )
        return Moment(email.date, TIME_FROM_MAIL, own=False)

    def _unreadable(self, detail: str) -> Unreadable:
        return Unreadable(Reason.UNREADABLE, detail, self.name)


def own_id(written: str) -> str | None:
    """Return the provider's message id, or None for a placeholder such as "null"."""
    return None if written.strip(_ID_DECORATION).lower() in _NO_IDS else written


def _problem(found: LabelledFields, labels: Labels) -> str | None:
    if found.repeated:
        return f"the label {found.repeated} stands more than once before the body"
    for wanted in (Field.BODY, Field.SENDER, Field.RECIPIENT):
        if wanted not in found.values:
            return _missing(wanted, found, labels)
    if len(found.values[Field.BODY]) > MAX_BODY:
        label = found.names[Field.BODY]
        return f"the text at the label {label} is longer than {MAX_BODY} characters"
    for which in (Field.SENDER, Field.RECIPIENT, Field.TIME, Field.MESSAGE_ID):
        value = found.values.get(which)
        if value is None:
            continue
        if not value and which in {Field.SENDER, Field.RECIPIENT}:
            return f"nothing stands at the label {found.names[which]}"
        if len(value) > MAX_FIELD:
            return f"the value at {found.names[which]} is longer than {MAX_FIELD} characters"
        if _CONTROL.search(value):
            return f"the value at the label {found.names[which]} holds a control character"
    return None


def _missing(wanted: Field, found: LabelledFields, labels: Labels) -> str:
    names = " or ".join(labels.spelled(wanted))
    seen = ", ".join(found.names.values()) or "none"
    where = "in front of the body " if Field.BODY in found.values else ""
    return f"no label {names} was found {where}(labels found: {seen})"

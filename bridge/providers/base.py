"""What every provider is, and the one reader that all labelled mails share.

A provider's file says which labels its mails carry, how it writes a time and who sends; the rest
is here. Reading is lenient where formats are unknown and exact where it matters: the last label
takes the rest of the mail, character for character.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, Protocol, Self, runtime_checkable

from bridge import numbers
from bridge.config.settings import ProviderSettings
from bridge.model import Email, Ignored, RawFields, Reason, SmsMessage, Unreadable
from bridge.providers.labels import Field, Found, Labels
from bridge.providers.times import Moment, ReadTime

# Characters. A sender ID has 11, a UUID 36; the longest SMS is 255 parts of 153 letters.
MAX_FIELD: Final = 128
MAX_BODY: Final = 40_000

_WANTED: Final = (Field.SENDER, Field.RECIPIENT, Field.TIME, Field.BODY)
_SAID: Final = {
    **{each: each.value for each in Field},
    Field.SENDER: "from",
    Field.RECIPIENT: "to",
    Field.TIME: "date",
}
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")

FOOTER_CUT: Final = "footer_cut"
# What programs write where they have no id: taken for one, it would make every later message a
# duplicate of the first, and a duplicate is not sent.
_NO_IDS: Final = frozenset({"", "n/a", "na", "nil", "none", "null", "undefined", "unknown"})
_ID_DRESS: Final = " \t\xa0-_.,:;<>()[]{}'\"0"  # and a zero is no id, however long

SUBJECT_UNEXPECTED: Final = "subject_unexpected"
TIME_FROM_MAIL: Final = "time_from_mail"


class Provider(Protocol):
    """One company's e-mail format: pure, and it never raises."""

    @property
    def name(self) -> str:
        """The name that the config gives it."""

    def matches(self, email: Email) -> bool:
        """Tell if a mail claims to be this provider's; that is no evidence that it is."""

    def read_email(
        self, email: Email
    ) -> SmsMessage | tuple[SmsMessage, ...] | Unreadable | Ignored:
        """Read the SMS in a mail of this provider, or all of them in their order."""


@dataclass(frozen=True, slots=True)
class Trace:
    """Where a value was found: in words, and in the mail's text where it stands there."""

    field: str  # as in the webhook: "from", "to", "date", "body", "message id" …
    where: str
    start: int | None = None
    end: int | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a provider took a mail for its own, and what it found and did not find in it."""

    matched: str
    found: tuple[Trace, ...]
    missing: tuple[str, ...]


@runtime_checkable
class Explains(Protocol):
    """A provider that can say how it reads a mail; it is asked beside the line, never on it."""

    def explain(self, email: Email) -> Explanation:
        """Explain what `matches` and `read_email` make of a mail."""


def number_warnings(sender: numbers.Number, recipient: numbers.Number) -> tuple[str, ...]:
    """Name what is doubtful about the numbers, and of which of the two."""
    both = (("sender", sender.warning), ("recipient", recipient.warning))
    return tuple(f"{side}_{doubt}" for side, doubt in both if doubt)


@dataclass(frozen=True, slots=True)
class Senders:
    """The addresses (`a@b.c`) and domains (`@b.c`) that a provider's mails come from."""

    addresses: frozenset[str]

    @classmethod
    def of(cls, addresses: Iterable[str]) -> Self:
        """Take the config's senders, or a preset's own."""
        return cls(frozenset(address.lower() for address in addresses))

    def __contains__(self, address: str) -> bool:
        return address in self.addresses or address[address.rfind("@") :] in self.addresses


def more_labels(settings: ProviderSettings) -> dict[Field, tuple[str, ...]]:
    """Give the labels that the config names beside the preset's own."""
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
    """A provider whose mails hold one labelled field a line, the body last.

    A missing time label is not fatal: the mail's own Date stands in, and the message says so. A
    time that is there and cannot be read is: it would be a guess.
    """

    name: str
    senders: Senders
    labels: Labels
    read_time: ReadTime
    region: str | None
    expects_subject: Callable[[str], bool] = field(default=lambda _: True)

    def matches(self, email: Email) -> bool:
        """Tell if the mail's one clean From is among this provider's senders."""
        return email.sender is not None and email.sender in self.senders

    def read_email(self, email: Email) -> SmsMessage | Unreadable:
        """Read the labelled fields into a message, or say which one is missing or malformed."""
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
        """Say by which sender the mail matched, and at which label each value stands."""
        found = self.labels.read(email.text, email.cells)
        traces = [
            Trace(_SAID[which], f"at the label {found.names[which]}", *found.spans[which])
            for which in sorted(found.spans, key=lambda each: found.spans[each])
        ]
        missing = [_SAID[which] for which in _WANTED if which not in found.spans]
        if not found.values.get(Field.TIME) and email.date is not None:
            traces.append(Trace("date", "the mail's own Date header"))
        return Explanation(
            f"the sender {email.sender} is one of its senders", tuple(traces), tuple(missing)
        )

    def _moment(self, found: Found, email: Email) -> Moment | Unreadable:
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
    """Give the provider's own id of the message, or None for a word that stands for none."""
    return None if written.strip(_ID_DRESS).lower() in _NO_IDS else written


def _problem(found: Found, labels: Labels) -> str | None:
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


def _missing(wanted: Field, found: Found, labels: Labels) -> str:
    names = " or ".join(labels.spelled(wanted))
    seen = ", ".join(found.names.values()) or "none"
    where = "in front of the body " if Field.BODY in found.values else ""
    return f"no label {names} was found {where}(labels found: {seen})"

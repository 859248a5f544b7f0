"""What every provider is, and the one reader that all labelled mails share.

A provider's file says which labels its mails carry, how it writes a time and who sends; the rest
is here. Reading is lenient where formats are unknown and exact where it matters: the last label
takes the rest of the mail, character for character.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, Protocol, Self

from bridge import numbers
from bridge.model import Email, Ignored, RawFields, Reason, SmsMessage, Unreadable
from bridge.providers.labels import Field, Found, Labels
from bridge.providers.times import Moment, ReadTime

# Characters. A sender ID has 11, a UUID 36; the longest SMS is 255 parts of 153 letters.
MAX_FIELD: Final = 128
MAX_BODY: Final = 40_000

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")

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
class Senders:
    """The addresses (`a@b.c`) and domains (`@b.c`) that a provider's mails come from."""

    addresses: frozenset[str]

    @classmethod
    def of(cls, addresses: Iterable[str]) -> Self:
        """Take the config's senders, or a preset's own."""
        return cls(frozenset(address.lower() for address in addresses))

    def __contains__(self, address: str) -> bool:
        return address in self.addresses or address[address.rfind("@") :] in self.addresses


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
        found = self.labels.read(email.text)
        problem = _problem(found, self.labels)
        if problem is not None:
            return self._unreadable(problem)
        moment = self._moment(found, email)
        if isinstance(moment, Unreadable):
            return moment
        sender = numbers.normalise(found.values[Field.SENDER], self.region)
        recipient = numbers.normalise(found.values[Field.RECIPIENT], self.region)
        warnings = [*email.warnings, sender.warning, recipient.warning, moment.warning]
        if not self.expects_subject(email.subject):
            warnings.append(SUBJECT_UNEXPECTED)
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
            provider_message_id=found.values.get(Field.MESSAGE_ID) or None,
            warnings=tuple(dict.fromkeys(str(warning) for warning in warnings if warning)),
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

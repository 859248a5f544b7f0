"""A provider that reads mails as its template describes. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Final

from bridge import numbers
from bridge.config.pattern import Looks, SearchPattern
from bridge.config.template import IgnoreSettings, PartSettings
from bridge.model import Email, Ignored, RawFields, Reason, SmsMessage, Unreadable
from bridge.providers.base import (
    MAIL_SPLIT,
    MAX_BODY,
    MAX_FIELD,
    PREAMBLE_LEFT_OUT,
    TIME_FROM_MAIL,
    Explanation,
    FieldLocation,
    Senders,
    number_warnings,
    own_id,
)
from bridge.providers.formats import ReadNear
from bridge.providers.labels import Field, Labels
from bridge.providers.marks import Marks, have
from bridge.providers.places import Place, Sheet, Value, first
from bridge.providers.splitting import Pieces, Split, above_footers
from bridge.providers.times import Moment
from bridge.text import without_end

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_LOOKS: Final = 4_000  # of one reading: 32 ms
KEYS: Final[Mapping[Field, str]] = {
    Field.SENDER: "from",
    Field.RECIPIENT: "to",
    Field.BODY: "body",
    Field.TIME: "date",
    Field.MESSAGE_ID: "id",
}
NEEDED: Final[Mapping[Field, str]] = {
    Field.SENDER: 'who sent the SMS, like from = { label = "From" }',
    Field.RECIPIENT: (
        'which number it was sent to, like to = { label = "To" }; where the mail does not say, '
        'write your number: to = { value = "+391234567890" }'
    ),
    Field.BODY: 'where the text is, like body = { label = "Text" } or { after_blank = true }',
}


@dataclass(frozen=True, slots=True)
class Findings:
    """The values found for one SMS.

    `labels` are those that occur in the text, `repeated` one with two different values.
    """

    values: Mapping[Field, Value]
    labels: tuple[str, ...]
    repeated: str | None


@dataclass(frozen=True, slots=True)
class TemplateProvider:
    """A declared provider."""

    name: str
    marks: Marks
    places: Mapping[Field, tuple[Place, ...]]
    labels: Labels | None
    read_time: ReadNear
    region: str | None
    footers: tuple[SearchPattern, ...]
    part: PartSettings | None
    split: Split | None
    ignore: tuple[IgnoreSettings, ...]
    headers_read: frozenset[str]
    needs_sender: bool
    max_text: int  # characters; fewer, the more its patterns weigh

    def matches(self, email: Email) -> bool:
        """Return whether a mail is this provider's: an SMS, or one that `ignore` names."""
        if email.sender is None and (self.needs_sender or not email.names_nobody):
            return False
        if not self.marks.match(email):
            return False
        if self.marks.subject is None or email.subject in self.marks.subject:
            return True
        return self.marks.beside_subject and self._ignored(email) is not None

    def read_email(
        self, email: Email
    ) -> SmsMessage | tuple[SmsMessage, ...] | Unreadable | Ignored:
        """Read every SMS in a mail; if one of them can't be read, the whole mail is unreadable."""
        why = self._ignored(email)
        if why is not None:
            return Ignored(why, self.name)
        seen = self._seen(email)
        if seen is None:
            return self._unreadable(f"the mail has no {self.part}, or a longer one than is read")
        if self._is_over(seen, parts=1):
            return self._too_long
        parts = [seen.text]
        if self.split is not None:
            pieces = self.split.pieces(seen.text)
            if isinstance(pieces, str):
                return self._unreadable(pieces)
            if pieces.preamble:
                seen = replace(seen, warnings=(*seen.warnings, PREAMBLE_LEFT_OUT))
            parts = [seen.text[slice(*span)] for span in pieces.spans]
            if self._is_over(seen, len(parts)):
                return self._too_long
        looks = Looks(_LOOKS)
        found = [self.find(seen, part, looks) for part in parts]
        if looks.over:
            return self._unreadable(looks.why())
        return self._read(seen, found[0]) if len(parts) == 1 else self._read_all(seen, parts, found)

    def _read_all(
        self, email: Email, parts: Sequence[str], found: Sequence[Findings]
    ) -> tuple[SmsMessage, ...] | Unreadable:
        messages: list[SmsMessage] = []
        layout = _opening(found[0], parts[0])
        for number, (part, findings) in enumerate(zip(parts, found, strict=True), 1):
            which = f"part {number} of {len(parts)}"
            message = self._read(email, findings)
            if isinstance(message, Unreadable):
                return self._unreadable(f"{which}: {message.detail}")
            field, above = _opening(findings, part)
            if field is not layout[0] or above > layout[1]:
                return self._unreadable(f"{which} does not begin as the first one does")
            messages.append(replace(message, warnings=(*message.warnings, MAIL_SPLIT)))
        return tuple(messages)

    def find(self, email: Email, text: str, looks: Looks | None = None) -> Findings:
        """Find the value and place of every field that is there, without validating them."""
        sheet = Sheet(email, text, self.labels, looks or Looks(_LOOKS))
        values: dict[Field, Value] = {}
        body = first(self.places[Field.BODY], sheet, empty=True)
        if body is not None:
            kept = above_footers(body.text, self.footers, beside=_is_beside(body, text))
            body = _ended(_shortened(body, kept), text)
            values[Field.BODY] = body
            # What looks like another value inside the body is part of the SMS. Only where the
            # body is declared to be the whole text can the others be nowhere else.
            sheet = sheet.without(body)
        for field, places in self.places.items():
            value = first(places, sheet, empty=False) if field is not Field.BODY else None
            if value is not None:
                values[field] = value
        found = sheet.found
        return Findings(values, tuple(found.names.values()), found.repeated)

    def explain(self, email: Email) -> Explanation:
        """Explain what `matches` and `read_email` make of a mail; of its first SMS, if several."""
        seen = self._seen(email) or email
        matched = "the mail bears all the marks that are set: " + ", ".join(
            name for name, mark in self._marks() if mark
        )
        if self._is_over(seen, parts=1):  # `read_email` says so, and searches nothing
            return Explanation(matched, found=(), missing=(), text=seen.text)
        text = seen.text
        start = 0
        pieces = self.split.pieces(text) if self.split is not None else None
        if isinstance(pieces, Pieces):
            start, end = pieces.spans[0]
            text = text[start:end]
        values = self.find(seen, text).values
        return Explanation(
            matched=matched,
            found=tuple(
                FieldLocation(
                    KEYS[field], value.place, start + value.span[0], start + value.span[1]
                )
                if value.span is not None
                else FieldLocation(KEYS[field], value.place)
                for field, value in values.items()
            ),
            missing=tuple(KEYS[field] for field in NEEDED if field not in values),
            text=seen.text,
        )

    def _marks(self) -> tuple[tuple[str, object], ...]:
        marks = self.marks
        return (
            ("senders", marks.senders),
            ("subject", marks.subject),
            ("recipient", marks.recipient),
            ("headers", marks.headers),
        )

    def _read(self, email: Email, findings: Findings) -> SmsMessage | Unreadable:
        values = findings.values
        problem = self._problem(findings)
        if problem is not None:
            return self._unreadable(problem)
        moment = self._moment(values.get(Field.TIME), email)
        if isinstance(moment, Unreadable):
            return moment
        sender, recipient = values[Field.SENDER].text, values[Field.RECIPIENT].text
        normal = [numbers.normalise(each, self.region) for each in (sender, recipient)]
        written = values.get(Field.TIME)
        id_ = values.get(Field.MESSAGE_ID)
        warnings = [*email.warnings, *number_warnings(*normal), moment.warning]
        return SmsMessage(
            provider=self.name,
            sender=normal[0].value,
            recipient=normal[1].value,
            body=values[Field.BODY].text,
            received_at=moment.at,
            raw=RawFields(sender, recipient, written.text if written else None),
            has_own_time=moment.own,
            provider_message_id=own_id(id_.text) if id_ else None,
            warnings=tuple(dict.fromkeys(str(each) for each in warnings if each)),
        )

    def _problem(self, findings: Findings) -> str | None:
        values = findings.values
        if findings.repeated is not None:
            return f"the label {findings.repeated} stands more than once, with different values"
        for needed in NEEDED:
            if needed not in values:
                looked = _names(self.places[needed])
                seen = f" (labels found: {', '.join(findings.labels)})" if findings.labels else ""
                return f"nothing for {KEYS[needed]!r} was found at {looked}{seen}"
        for field, value in values.items():
            key = KEYS[field]
            if field is Field.BODY:
                if len(value.text) > MAX_BODY:
                    return f"the SMS's text is longer than {MAX_BODY} characters"
            elif len(value.text) > MAX_FIELD:
                return f"the value for {key!r} is longer than {MAX_FIELD} characters"
            elif _CONTROL.search(value.text):
                return f"the value for {key!r} holds a control character"
        return None

    def _moment(self, written: Value | None, email: Email) -> Moment | Unreadable:
        if written is not None:
            moment = self.read_time(written.text, email.date)
            return moment or self._unreadable(
                f"the time at {written.place} is in none of the formats in date_format"
            )
        if email.date is not None:
            return Moment(email.date, TIME_FROM_MAIL, own=False)
        places = self.places.get(Field.TIME, ())
        problem = f"no time was found at {_names(places)}" if places else "no place holds a time"
        return self._unreadable(f"{problem}, and the mail has no Date either")

    def _seen(self, email: Email) -> Email | None:
        """Return a mail with the part that the template reads in the place of its text."""
        if self.part is None:
            return email
        text = next((each.read() for each in email.parts if self.part.is_it(each)), None)
        return (
            None
            if text is None
            else replace(email, **{each.name: getattr(text, each.name) for each in fields(text)})
        )

    def _ignored(self, email: Email) -> str | None:
        email = (self._seen(email) if self.ignore else None) or email
        for rule in self.ignore:
            if (
                (rule.sender is None or (email.sender or "") in Senders.of([rule.sender]))
                and (rule.subject is None or email.subject in rule.subject)
                and have(email, rule.headers)
                and (rule.text is None or email.text[: self.max_text] in rule.text)
            ):
                return rule.why
        return None

    def _is_over(self, email: Email, parts: int) -> bool:
        """Return whether there is more to search than `max_text`; headers are for each part."""
        headers = sum(
            len(value) for name in self.headers_read for value in email.headers.get(name, ())
        )
        return len(email.text) + parts * (len(email.subject) + headers) > self.max_text

    @property
    def _too_long(self) -> Unreadable:
        return self._unreadable(
            f"text and headers are longer than {self.max_text} characters, the most that this "
            "provider's patterns are tried on (more, with lower counts in them)"
        )

    def _unreadable(self, detail: str) -> Unreadable:
        return Unreadable(Reason.UNREADABLE, detail, self.name)


def _names(places: tuple[Place, ...]) -> str:
    return ", nor at ".join(dict.fromkeys(place.name for place in places))


def _is_beside(body: Value, text: str) -> bool:
    """Return whether a body begins in the line of something else, as of its label."""
    start = body.span[0] if body.span is not None else 0
    return bool(text[text.rfind("\n", 0, start) + 1 : start].strip())


def _ended(body: Value, text: str) -> Value:
    """Cut off the blanks at the end of a body that goes on to the end of the mail or its part."""
    if body.span is None or text[body.span[1] :].strip():
        return body
    return _shortened(body, without_end(body.text))


def _shortened(body: Value, text: str) -> Value:
    if body.span is None or body.span[1] - body.span[0] != len(body.text):
        return replace(body, text=text)  # it was encoded: what is cut has no span of its own
    return replace(body, text=text, span=(body.span[0], body.span[0] + len(text)))


def _opening(findings: Findings, text: str) -> tuple[Field | None, int]:
    """Return the field that comes first in a part, and the number of lines above it."""
    starts = [(each.span[0], field) for field, each in findings.values.items() if each.span]
    if not starts:
        return None, 0
    start, field = min(starts, key=lambda each: each[0])
    return field, sum(bool(line.strip()) for line in text[:start].split("\n")[:-1])

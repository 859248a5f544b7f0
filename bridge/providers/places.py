"""Finds the values at the places that a template names, and where in the text they are.

Everything is a search in one `Sheet`: a mail, or one of several SMS in it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from typing import Final

from bridge import letters
from bridge.config.pattern import Looks, Match, SearchPattern, Span
from bridge.config.template import Encoding, PlaceSettings
from bridge.model import Email
from bridge.providers.encodings import undo
from bridge.providers.labels import Label, LabelledFields, Labels, Piece

# Tried only where a word begins: from each of its letters, it would be quadratic.
_ADDRESS: Final = re.compile(r"(?<![^\s<>,;:\"()])[^\s<>,;:\"()]+@[^\s<>,;:\"()]+")
_BLANK_LINE: Final = re.compile(r"^[ \t\xa0]*\n", re.MULTILINE)
_LINE: Final = re.compile(r"^[^\S\n]*+\S[^\n]*", re.MULTILINE)  # that isn't blank

_INK: Final = re.compile(r"\S")

WHOLE: Final = "the whole text"
# Stands in for each character of the body where other fields are searched. No text holds a NUL:
# decoding replaces it.
MASK: Final = "\0"


@dataclass(frozen=True, slots=True)
class Value:
    """A value, its place, and its span in the sheet's text or in the subject, if it is there."""

    text: str
    place: str
    span: Span | None = None
    in_subject: Span | None = None


class Sheet:
    """What places search in a mail; expensive parts are computed on first use."""

    def __init__(self, email: Email, text: str, labels: Labels | None, looks: Looks) -> None:
        """Take a mail and its text, or one SMS's part of it; `looks` is shared by all of these."""
        self.email = email
        self.text = text
        self.looks = looks
        self._labels = labels

    def without(self, body: Value) -> Sheet:
        """Return this sheet with the body masked: what its author wrote is in no other value."""
        subject, text = self.email.subject, self.text
        if body.in_subject is not None:
            subject = _masked(subject, body.in_subject)
        if body.span is not None and body.place != WHOLE:
            text = _masked(text, body.span)
        sheet = Sheet(replace(self.email, subject=subject), text, self._labels, self.looks)
        sheet.document = self.document  # JSON keeps its values apart itself
        return sheet

    @cached_property
    def found(self) -> LabelledFields:
        """The labelled fields."""
        if self._labels is None:
            return LabelledFields({}, {}, None, {})
        return self._labels.read(self.text)

    @cached_property
    def document(self) -> object:
        """The text as JSON, or None."""
        try:
            return json.loads(self.text)
        except (ValueError, RecursionError):
            return None


Look = Callable[[Sheet], Value | None]


@dataclass(frozen=True, slots=True)
class Place:
    """One place: how to look there, and its name in a sentence."""

    name: str
    look: Look


def place_of(settings: PlaceSettings, label: Label) -> Place:
    """Build a place from the config; `label` is how its labels are asked for."""
    name = _name(settings)
    place = Place(name, _look(settings, label, name))
    if settings.pattern is not None:
        place = _narrowed(place, settings.pattern)
    if settings.encoded is not None:
        place = _undone(place, settings.encoded)
    return place


def _narrowed(place: Place, pattern: SearchPattern) -> Place:
    def look(sheet: Sheet) -> Value | None:
        value = place.look(sheet)
        match = _match(pattern, value.text, sheet.looks) if value is not None else None
        if value is None or match is None:
            return None
        return Value(match.value, value.place, _moved(match.span, value.span))

    return Place(f"{place.name} (as its pattern wants it)", look)


def _undone(place: Place, encoding: Encoding) -> Place:
    def look(sheet: Sheet) -> Value | None:
        value = place.look(sheet)
        text = None if value is None or MASK in value.text else undo(encoding, value.text)
        return None if value is None or text is None else replace(value, text=text)

    return Place(f"{place.name} (as {encoding})", look)


def headers_of(settings: PlaceSettings) -> frozenset[str]:
    """Return the headers that a place reads, in lower case."""
    if settings.join is not None:
        return frozenset().union(*map(headers_of, settings.join))
    if settings.header is not None:
        return frozenset({settings.header})
    return frozenset({"to"} if settings.address == "to" else ())


def first(places: Sequence[Place], sheet: Sheet, *, empty: bool) -> Value | None:
    """Return the first value found outside the body; `empty`: one without text counts."""
    found = (place.look(sheet) for place in places)
    values = (each for each in found if each is not None and MASK not in each.text)
    if empty:
        return next(values, None)
    return next((each for each in map(_stripped, values) if each.text), None)


def _stripped(value: Value) -> Value:
    text = value.text.strip()
    blanks = len(value.text) - len(value.text.lstrip())
    return Value(text, value.place, _moved((blanks, blanks + len(text)), value.span))


def _moved(span: Span, within: Span | None) -> Span | None:
    """Return a span in a value as one in the text that the value is in."""
    return None if within is None else (within[0] + span[0], within[0] + span[1])


def _masked(text: str, span: Span) -> str:
    # Blanks and line ends stay, so that all positions and lines do.
    start, end = span
    return text[:start] + _INK.sub(MASK, text[start:end]) + text[end:]


def _match(pattern: SearchPattern, text: str, looks: Looks) -> Match | None:
    """Return the first match whose value is outside the body."""
    return next((each for each in pattern.all(text, looks) if MASK not in each.value), None)


_NAMES: Final = {
    "header": "the header {0.header}",
    "subject": "the subject's pattern",
    "text": "the text's pattern",
    "pointer": "JSON {0.pointer}",
    "line": "line {0.line}",
    "address": "the mail's {0.address} address",
    "after": "the line that the text follows",
    "after_blank": "a blank line that the text follows",
    "all": WHOLE,
    "value": "the config",
}


def _name(settings: PlaceSettings) -> str:
    if settings.label:
        return f"the label {' or '.join(settings.label)}"
    if settings.join:
        return ", and ".join(map(_name, settings.join))
    return _NAMES[settings.kind].format(settings)


def _look(settings: PlaceSettings, label: Label, name: str) -> Look:
    match settings.kind:
        case "label":
            return lambda sheet: _at_label(sheet, label)
        case "join":
            joined = [place_of(each, piece_of(label, each)) for each in settings.join or ()]
            return lambda sheet: _joined(joined, sheet, name)
        case "header":
            return lambda sheet: _in_header(sheet.email, settings.header or "", name)
        case "address":
            return lambda sheet: _address(sheet.email, settings.address, name)
        case "pointer":
            steps = _steps(settings.pointer or "")
            return lambda sheet: _at_pointer(sheet.document, steps, name)
        case "value":
            return lambda _: Value(settings.value or "", name)
        case "subject":
            return lambda sheet: _in_subject(settings, sheet, name)
        case _:
            return lambda sheet: _in_text(settings, sheet, name)


def piece_of(label: Label, settings: PlaceSettings) -> Piece:
    """Return how the label of a place among several joined ones is asked for."""
    return Piece(label.field if isinstance(label, Piece) else label, settings.label or ())


def _at_label(sheet: Sheet, label: Label) -> Value | None:
    value = sheet.found.values.get(label)
    if value is None:
        return None
    return Value(value, f"the label {sheet.found.names[label]}", sheet.found.spans[label])


def _joined(places: Sequence[Place], sheet: Sheet, name: str) -> Value | None:
    """Put all values together, or none if one is missing; together they stand nowhere."""
    values = [first([place], sheet, empty=False) for place in places]
    texts = [value.text for value in values if value is not None]
    return Value(" ".join(texts), name) if len(texts) == len(values) else None


def _in_header(email: Email, header: str, name: str) -> Value | None:
    # A header that occurs twice with different values is ambiguous.
    values = set(email.headers.get(header, ()))
    return Value(values.pop().strip(), name) if len(values) == 1 else None


def _address(email: Email, which: str | None, name: str) -> Value | None:
    if which == "from":
        return None if email.sender is None else Value(email.sender, name)
    found = {
        letters.lower(address)
        for value in email.headers.get("to", ())
        for address in addresses(value)
    }
    return Value(found.pop(), name) if len(found) == 1 else None


def addresses(value: str) -> list[str]:
    """Find the addresses in a header's value."""
    return _ADDRESS.findall(value)


def _in_subject(settings: PlaceSettings, sheet: Sheet, name: str) -> Value | None:
    match = _match(settings.subject, sheet.email.subject, sheet.looks) if settings.subject else None
    return None if match is None else Value(match.value, name, in_subject=match.span)


def _in_text(settings: PlaceSettings, sheet: Sheet, name: str) -> Value | None:
    span = _span(settings, sheet)
    return None if span is None else Value(sheet.text[slice(*span)], name, span)


def _span(settings: PlaceSettings, sheet: Sheet) -> Span | None:
    text = sheet.text
    if settings.all:
        return 0, len(text)
    if settings.text is not None:
        match = _match(settings.text, text, sheet.looks)
        return None if match is None else match.span
    if settings.line is not None:
        return _line(text, settings.line)
    start = _start(settings, text)
    return None if start is None else (start, len(text))


def _line(text: str, number: int) -> Span | None:
    """Return the span of the n-th line that isn't blank, counted from the end if negative."""
    if number < 0:
        span = _line(text[::-1], -number)
        return None if span is None else (len(text) - span[1], len(text) - span[0])
    lines = islice(_LINE.finditer(text), number - 1, None)
    return next((each.span() for each in lines), None)


def _start(settings: PlaceSettings, text: str) -> int | None:
    if settings.after_blank:
        blank = _BLANK_LINE.search(text)
        return None if blank is None else blank.end()
    found = settings.after.wholes(text) if settings.after is not None else ()
    span = next((each for each in found if MASK not in text[slice(*each)]), None)
    if span is None:
        return None
    line_end = text.find("\n", max(span[1] - 1, span[0]))
    return len(text) if line_end < 0 else line_end + 1


def _steps(pointer: str) -> tuple[str, ...]:
    return tuple(step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:])


def _at_pointer(document: object, steps: Sequence[str], name: str) -> Value | None:
    for step in steps:
        if isinstance(document, Mapping):
            document = document.get(step)
        elif isinstance(document, list) and step.isdecimal() and int(step) < len(document):
            document = document[int(step)]
        else:
            return None
    if isinstance(document, str):
        # JSON can escape a lone surrogate, which isn't text: it becomes U+FFFD.
        whole = document.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return Value(whole, name)
    if isinstance(document, int) and not isinstance(document, bool):
        return Value(str(document), name)
    return None

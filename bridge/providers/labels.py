"""Finds labelled fields in a mail's text.

Read are `From: +39…`, `FROM = +39…`, `*From:* +39…`, `from<tab>+39…`, a table's cell beside its
label's, and a value on the line after its label.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Final, NamedTuple

from bridge.text import without_end

_BLANKS: Final = r"[ \t\xa0]*+"
_COLON: Final = "[:=\N{FULLWIDTH COLON}]"
_SEPARATORS: Final = frozenset(":=\t\N{FULLWIDTH COLON}")
_ALIGNED: Final = re.compile(rf"{_BLANKS}{_COLON}[ \xa0]?")  # colons below each other, by tabs
_APART: Final = re.compile(r"[\s_./-]+")  # between the words of a label
_MAX_LABELS: Final = 1000  # in one text; no format has more than a few
_NO_CELLS: Final[Mapping[int, int]] = MappingProxyType({})
# A line that looks like a label, known or not, isn't a value: no number or time looks like one.
_LIKE_A_LABEL: Final = re.compile(rf"{_BLANKS}[^\W\d][^\n:=]{{0,40}}[:=](?=[ \t\xa0\n]|\Z)")


class Field(Enum):
    """What a label can mean; the last three are known so that they aren't taken for text."""

    SENDER = "sender"
    RECIPIENT = "recipient"
    TIME = "time"
    MESSAGE_ID = "message id"
    BODY = "body"
    SERVICE_ID = "service id"
    WEBHOOK_URL = "webhook url"
    FALLBACK_URL = "fallback url"

    # Enum's own hash is Python code, and a mail asks for some thirty of them.
    __hash__ = object.__hash__


class Piece(NamedTuple):
    """A label of its own in a field that is put together from several."""

    field: Field
    names: tuple[str, ...]


Label = Field | Piece
Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class LabelledFields:
    """The fields' values as written, and the labels (in our spelling) at which they were found.

    `repeated` is a label with two different values before the body. `spans` are the values'
    (start, end) in the text. `footer`: one was cut off.
    """

    values: Mapping[Label, str]
    names: Mapping[Label, str]
    repeated: str | None
    spans: Mapping[Label, Span]
    footer: bool = False


class Labels:
    """The labels of one format in all their spellings; case and whitespace are ignored.

    `after_body`: the fields that may also follow the body, as the very last lines of the mail and
    in this order. They must include the time, else they are the text's own. `footers`: the last
    line that begins with one of these, and everything after it, isn't part of the body.
    """

    def __init__(
        self,
        spellings: Mapping[Label, Sequence[str]],
        *,
        after_body: Sequence[Field] = (),
        footers: Sequence[str] = (),
    ) -> None:
        self._spellings = spellings
        self._after_body = after_body
        self._footer = (
            re.compile(rf"^(?:{'|'.join(map(_beginning, footers))})", re.MULTILINE)
            if footers
            else None
        )
        self._fields = [(which, name) for which, names in spellings.items() for name in names]
        names = "|".join(f"({_words(name)})" for _, name in self._fields)
        plain = "|".join(_words(name) for _, name in self._fields)
        before = rf"^({_BLANKS}\*{{0,2}}+(?:{plain})\*{{0,2}}+)"
        self._spaced = re.compile(f"{before} ", re.IGNORECASE | re.MULTILINE)
        self._spaced_or_last = re.compile(f"{before}(?: |$)", re.IGNORECASE | re.MULTILINE)
        # One space after the colon belongs to the layout, any further one to the value. Mail
        # programs render bold text with asterisks.
        self._label = re.compile(
            rf"^{_BLANKS}(\*\*?)?(?:{names})(?(1)\*{{0,2}})"
            rf"(?:[ \xa0]*+{_COLON}(?(1)\*{{0,2}})[ \t\xa0]?|[ \xa0]*+\t|{_BLANKS}(?=\n|\Z))",
            re.IGNORECASE | re.MULTILINE,
        )

    def spelled(self, which: Field) -> Sequence[str]:
        """Return a field's labels as the provider writes them."""
        return self._spellings.get(which, ())

    def extended(self, more: Mapping[Field, Sequence[str]], footers: Sequence[str] = ()) -> Labels:
        """Return these labels with those that the config adds, and its footers."""
        spellings = {
            which: (*names, *(more.get(which, ()) if isinstance(which, Field) else ()))
            for which, names in self._spellings.items()
        }
        return Labels(spellings, after_body=self._after_body, footers=footers)

    def tabbed(self, text: str, *, ends: bool = False) -> str:
        """Return a text with a tab, which makes a label, in place of a space behind its name.

        `ends`: also where the name ends its line, from which a blank may have been taken away.
        """
        return (self._spaced_or_last if ends else self._spaced).sub("\\1\t", text)

    def read(self, text: str, cells: Mapping[int, int] = _NO_CELLS) -> LabelledFields:
        """Read each field up to the body's label; the body takes the rest of the text.

        The body is kept character for character, less the blanks and blank lines at the mail's
        end; what looks like a label inside it is text. Other values end with their line and are
        stripped. Lines without a label before the body are skipped. Any value in a table cell ends
        with the cell.
        """
        return _Reading(text, cells, self._label, self._fields).read(self._footer, self._after_body)


class _Reading:
    """One pass over one text."""

    def __init__(
        self,
        text: str,
        cells: Mapping[int, int],
        label: re.Pattern[str],
        fields: Sequence[tuple[Label, str]],
    ) -> None:
        self._text = text
        self._cells = cells
        self._label = label
        self._fields = fields
        self._names: dict[Label, str] = {}
        self._spans: dict[Label, Span] = {}
        self._repeated: str | None = None
        self._below = 0  # lines between a label and its value below it, for the last such value
        self._aligned = False  # some label was followed by tabs and a colon
        self._blank = False  # some label was followed by a blank and its value

    def read(self, footer: re.Pattern[str] | None, after_body: Sequence[Field]) -> LabelledFields:
        """Find all fields."""
        cut = False
        at = 0
        for _ in range(_MAX_LABELS):
            label = self._label.search(self._text, at)
            if label is None:
                break
            which, name = self._which(label)
            at = label.end()
            if which is Field.BODY:
                if which in self._spans or (_is_bare(label) and not self._spans):
                    continue  # a heading
                span = self._cell(label) or self._enclosed(self._body_begins(label))
                self._take(which, name, span or (self._body_begins(label), len(self._text)))
                if span is None:
                    cut = footer is not None and self._cut_footer(footer)
                    self._cut_end()
                    if after_body and Field.TIME not in self._spans:
                        self._cut_fields_after(after_body)
                    break
            else:
                span = self._cell(label) or self._beside_or_below(label)
                self._take(which, name, span)
            at = max(at, span[1])
        values = {which: self._value(which, span) for which, span in self._spans.items()}
        return LabelledFields(values, self._names, self._repeated, self._spans, cut)

    def _which(self, label: re.Match[str]) -> tuple[Label, str]:
        assert label.lastindex is not None  # each name is a group; the first is the asterisk
        return self._fields[label.lastindex - 2]

    def _take(self, which: Label, name: str, span: Span) -> None:
        known = self._spans.get(which)
        if known is None:
            self._spans[which], self._names[which] = span, name
        elif Field.BODY not in self._spans and self._written(known) != self._written(span):
            self._repeated = name

    def _written(self, span: Span) -> str:
        return self._text[slice(*span)]

    def _value(self, which: Label, span: Span) -> str:
        written = self._text[slice(*span)]
        return written if which is Field.BODY else written.strip()

    def _cell(self, label: re.Match[str]) -> Span | None:
        """Return the span of the table cell next to the label's, if both are cells."""
        if not self._cells:
            return None
        at = label.end()
        if self._text.startswith("\t", at):
            at += 1
        end = self._cells.get(at) if self._text.startswith("\t", at - 1) else None
        return None if end is None else (at, end)

    def _enclosed(self, begin: int) -> Span | None:
        """Return the rest of the cell that a text is in: what follows isn't part of the SMS."""
        around = [start for start, end in self._cells.items() if start <= begin <= end]
        return (begin, self._cells[max(around)]) if around else None

    def _beside_or_below(self, label: re.Match[str]) -> Span:
        begin = label.end()
        end = _line_end(self._text, begin)
        aligned = _ALIGNED.match(self._text, begin, end) if _is_tab(label) else None
        if aligned:
            self._aligned, begin = True, aligned.end()
        if self._text[begin:end].strip():
            self._blank = self._blank or self._text[begin - 1] in " \t\xa0"
            return _stripped(self._text, begin, end)
        below = begin
        for lines in range(1, 4):
            below = _line_end(self._text, below) + 1
            if below > len(self._text):
                break
            line_end = _line_end(self._text, below)
            if not self._text[below:line_end].strip():
                continue
            if self._label.match(self._text, below) or _LIKE_A_LABEL.match(self._text, below):
                break
            self._below = lines
            return _stripped(self._text, below, line_end)
        return begin, begin

    def _body_begins(self, label: re.Match[str]) -> int:
        """Return where the body begins: beside its label, or below if that is the layout.

        It is if other values were below their labels, if the label has no colon, or if only this
        label has no space after its colon. Otherwise a line end belongs to the SMS.
        """
        begin = label.end()
        if self._aligned and _is_tab(label) and (colon := _ALIGNED.match(self._text, begin)):
            return colon.end()
        if not self._text.startswith("\n", begin):
            return begin
        last = self._text[begin - 1]
        if not (self._below or _is_bare(label) or (self._blank and last not in " \t\xa0")):
            return begin
        begin += 1
        for _ in range(self._below - 1):  # blank lines that all values have above them
            if self._text.startswith("\n", begin):
                begin += 1
        return begin

    def _cut_footer(self, footer: re.Pattern[str]) -> bool:
        begin, end = self._spans[Field.BODY]
        lines = list(footer.finditer(self._text, begin, end))
        if lines:
            kept = self._text[begin : lines[-1].start()].rstrip("\n")
            self._spans[Field.BODY] = begin, begin + len(kept)
        return bool(lines)

    def _cut_end(self) -> None:
        begin, end = self._spans[Field.BODY]
        self._spans[Field.BODY] = begin, begin + len(without_end(self._text[begin:end]))

    def _cut_fields_after(self, order: Sequence[Field]) -> None:
        """Move fields that are still missing from the body's end, last line first.

        Whoever wrote the SMS may have ended it with such lines. So a field that was already found,
        or one out of order, stops it; and without the time among them, nothing is moved.
        """
        begin, end = self._spans[Field.BODY]
        found: dict[Label, tuple[Span, str]] = {}
        left = list(order)
        while True:
            last = begin + len(self._text[begin:end].rstrip("\n"))
            line = self._text.rfind("\n", begin, last) + 1 or begin
            if line == begin and not self._text.startswith("\n", begin - 1):
                break  # the rest of the label's own line
            label = self._label.match(self._text, line, last)
            if label is None or _is_bare(label):  # one word may be the text's last
                break
            which, name = self._which(label)
            if which not in left or which in self._spans:
                break
            found[which] = _stripped(self._text, label.end(), last), name
            left = left[: left.index(which)]
            end = max(begin, line - 1)
        if Field.TIME not in found:
            return
        for which, (span, name) in found.items():
            self._spans[which], self._names[which] = span, name
        self._spans[Field.BODY] = begin, end


def _is_bare(label: re.Match[str]) -> bool:
    """Return whether a label is alone on its line, without a colon or a tab."""
    assert label.lastindex is not None
    return not set(label.string[label.end(label.lastindex) : label.end()]) & _SEPARATORS


def _is_tab(label: re.Match[str]) -> bool:
    return label.string[label.end() - 1] == "\t"


def _beginning(footer: str) -> str:
    """Return a pattern for how a line begins, however many blanks there are, at its end none."""
    words = [re.escape(word) for word in re.split(r"[ \t]+", footer)]
    end = "" if words[-1] else r"(?=[ \t\n]|\Z)"
    return r"[ \t]++".join(words if words[-1] else words[:-1]) + end


def _words(name: str) -> str:
    words = [re.escape(word) for word in _APART.split(name) if word] or [re.escape(name)]
    return rf"{_BLANKS}(?:[-_./]{_BLANKS})?+".join(words)


def _line_end(text: str, at: int) -> int:
    end = text.find("\n", at)
    return len(text) if end < 0 else end


def _stripped(text: str, begin: int, end: int) -> Span:
    written = text[begin:end]
    begin += len(written) - len(written.lstrip())
    return begin, begin + len(written.strip())

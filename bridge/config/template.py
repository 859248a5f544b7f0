"""`[providers.template]` and `[providers.labels]`: mail formats declared in the config."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Final, Literal, Self

from pydantic import BeforeValidator, Field, StrictInt, field_validator, model_validator

from bridge.config.pattern import Finder, Pattern, SearchPattern
from bridge.config.strict import Strict
from bridge.config.times import MonthNames, TimeFormat, ZoneNames
from bridge.config.values import AddressOrDomain
from bridge.model import Part

_HEADER: Final = re.compile(r"[!-9;-~]{1,76}")
_POINTER: Final = re.compile(r"(?:/(?:[^~/]|~[01])*)+")


def _several(value: object) -> object:
    """Accept a single value as a list of one."""
    return [value] if isinstance(value, str | Mapping) else value


def _header(name: str) -> str:
    if not _HEADER.fullmatch(name):
        raise ValueError(f"{name!r} is no header's name, like X-SMS-To")
    return name.lower()


def _headers(value: object) -> object:
    if not isinstance(value, Mapping):
        raise ValueError('must be a table of headers and patterns, like { X-SMS-Type = "^in$" }')  # noqa: TRY004
    return {_header(str(name)): pattern for name, pattern in value.items()}


def _label(name: str) -> str:
    if not name.strip() or "\n" in name:
        raise ValueError('a label is what stands in front of the colon, like "From"')
    return name.strip()


def _pointer(pointer: str) -> str:
    if not _POINTER.fullmatch(pointer):
        raise ValueError(f"{pointer!r} is no JSON pointer (RFC 6901), like /message/text")
    return pointer


LabelName = Annotated[
    str, BeforeValidator(lambda name: _label(name) if isinstance(name, str) else name)
]
LabelNames = Annotated[tuple[LabelName, ...], BeforeValidator(_several), Field(min_length=1)]
HeaderPatterns = Annotated[dict[str, Pattern], BeforeValidator(_headers)]


class LabelSettings(Strict):
    """`[providers.labels]`: labels of each value, in addition to the preset's."""

    sender: LabelNames | None = Field(None, alias="from")
    to: LabelNames | None = None
    body: LabelNames | None = None
    date: LabelNames | None = None
    id: LabelNames | None = None


_MAX_FILE_NAME: Final = 255  # characters; longer than any file system's

Encoding = Literal["base64", "percent", "form", "xml"]


class PlaceSettings(Strict):
    """One place of a field in the mail: exactly one kind of place."""

    label: LabelNames | None = (
        None  # after this label, to the end of the line (a body: of the mail)
    )
    header: str | None = None  # the value of this header
    subject: Finder | None = None  # found by a pattern in the subject
    text: Finder | None = None  # found by a pattern in the text
    pointer: str | None = Field(None, alias="json")  # at this JSON pointer in the text
    line: StrictInt | None = None  # the n-th line that is not blank; -1 is the last
    address: Literal["from", "to"] | None = None  # the mail's own sender or recipient
    after: Pattern | None = None  # everything after the line that matches
    after_blank: Literal[True] | None = None  # everything after the first blank line
    all: Literal[True] | None = None  # the whole text
    value: str | None = None  # a constant
    join: tuple[PlaceSettings, ...] | None = None  # several places, with a blank in between
    pattern: Finder | None = None  # selects a part of the value
    encoded: Encoding | None = None  # how the value, or its part, is written

    @field_validator("header")
    @classmethod
    def _known_header(cls, header: str | None) -> str | None:
        return header if header is None else _header(header)

    @field_validator("pointer")
    @classmethod
    def _known_pointer(cls, pointer: str | None) -> str | None:
        return pointer if pointer is None else _pointer(pointer)

    @field_validator("line")
    @classmethod
    def _counted_from_one(cls, line: int | None) -> int | None:
        if line == 0:
            raise ValueError("lines are counted from 1, or from the end: -1")
        return line

    @property
    def kind(self) -> str:
        """Which kind of place it is."""
        return next(name for name in KINDS if getattr(self, name) is not None)

    @property
    def patterns(self) -> Sequence[SearchPattern]:
        """The patterns by which it is found."""
        found = [self.subject, self.text, self.after, self.pattern]
        joined = [pattern for place in self.join or () for pattern in place.patterns]
        return [*(each for each in found if each is not None), *joined]

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        kinds = [name for name in KINDS if getattr(self, name) is not None]
        named = ", ".join("json" if name == "pointer" else name for name in KINDS)
        if len(kinds) != 1:
            raise ValueError(f"must name exactly one place: {named}")
        if self.pattern is not None and kinds[0] in {"subject", "text", "value"}:
            raise ValueError(f"needs no pattern beside {kinds[0]}")
        if self.encoded is not None and kinds[0] in {"value", "join"}:
            raise ValueError(f"nothing is encoded beside {kinds[0]}")
        if self.join is not None and (len(self.join) < 2 or any(each.join for each in self.join)):
            raise ValueError("join names two places or more, and none that joins others")
        return self


_BESIDE: Final = frozenset({"pattern", "encoded"})
KINDS: Final = tuple(name for name in PlaceSettings.model_fields if name not in _BESIDE)


def _places(value: object) -> object:
    if not isinstance(value, Mapping | list | tuple):
        raise ValueError('must be a place, like { label = "From" }, or a list of places')  # noqa: TRY004
    return _several(value)


Places = Annotated[tuple[PlaceSettings, ...], BeforeValidator(_places), Field(min_length=1)]


class IgnoreSettings(Strict):
    """`[[providers.template.ignore]]`: mails of this provider that aren't SMS, and why."""

    why: str = Field(min_length=1)
    sender: AddressOrDomain | None = None
    subject: Pattern | None = None
    text: Pattern | None = None
    headers: HeaderPatterns = Field(default_factory=dict)

    @model_validator(mode="after")
    def _some_sign(self) -> Self:
        if not (self.sender or self.subject or self.text or self.headers):
            raise ValueError("set what identifies such a mail: sender, subject, text or headers")
        return self


class PartSettings(Strict):
    """Which part of a mail is read: exactly one of the two."""

    file: Pattern | None = None  # the attached file whose name matches
    version: Literal["plain", "html"] | None = None  # of the mail's text

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.file is None) == (self.version is None):
            raise ValueError("must name either a version of the text, or a file")
        return self

    def is_it(self, part: Part) -> bool:
        """Return whether a part is the one that is meant."""
        if self.file is not None:
            return (
                part.file is not None
                and len(part.file) <= _MAX_FILE_NAME
                and part.file in self.file
            )
        return part.file is None and part.is_html == (self.version == "html")

    def __str__(self) -> str:
        """Name it for operators."""
        return f"{self.version} text" if self.file is None else "file with such a name"


def _part(value: object) -> object:
    if isinstance(value, str) and value in ("plain", "html"):
        return {"version": value}
    if isinstance(value, Mapping | PartSettings):
        return value
    raise ValueError('must be "plain", "html", or a file, like { file = \'\\.txt$\' }')


class SplitSettings(Strict):
    """How several SMS in one mail are told apart: exactly one of the two."""

    between: Pattern | None = None  # the lines between them, which are no part of any
    head: Pattern | None = None  # the first line of each; what is above the first is left out

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.between is None) == (self.head is None):
            raise ValueError("must name either the lines between the SMS, or the head of each")
        return self

    @property
    def line(self) -> SearchPattern:
        """What the lines look like at which the text is split."""
        line = self.head or self.between
        assert line is not None  # one of them is set
        return line


def _split(value: object) -> object:
    if isinstance(value, str | SearchPattern):
        return {"between": value}
    if isinstance(value, Mapping | SplitSettings):
        return value
    raise ValueError("must be a pattern in quotes, or the head of each, like { head = '^SMS ' }")


class TemplateSettings(Strict):
    """`[providers.template]`: where each field is in a provider's mails."""

    recipient: Pattern | None = None  # the mail's recipient looks like this
    part: Annotated[PartSettings, BeforeValidator(_part)] | None = None  # default: the mail's text
    headers: HeaderPatterns = Field(default_factory=dict)  # these headers look like this
    sender: Places | None = Field(None, alias="from")
    to: Places | None = None
    body: Places | None = None
    date: Places | None = None  # default: the mail's Date
    date_format: Annotated[tuple[TimeFormat, ...], BeforeValidator(_several)] = ()
    months: MonthNames | None = None  # as %b and %B read them; default: in English
    zones: ZoneNames = Field(default_factory=dict)  # as %Z reads them, beside UTC and GMT
    id: Places | None = None
    footers: Annotated[tuple[Pattern, ...], BeforeValidator(_several)] = ()
    split: Annotated[SplitSettings, BeforeValidator(_split)] | None = None  # several SMS in a mail
    ignore: tuple[IgnoreSettings, ...] = ()

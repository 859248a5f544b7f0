"""`[providers.template]` and `[providers.labels]`: mail formats declared in the config."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Final, Literal, Self

from pydantic import BeforeValidator, Field, StrictInt, field_validator, model_validator

from bridge.config.pattern import Finder, Pattern, SearchPattern
from bridge.config.strict import Strict
from bridge.config.times import TimeFormat
from bridge.config.values import AddressOrDomain

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
    pattern: Finder | None = None  # selects a part of the value

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
        found = (self.subject, self.text, self.after, self.pattern)
        return [each for each in found if each is not None]

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        kinds = [name for name in KINDS if getattr(self, name) is not None]
        named = ", ".join("json" if name == "pointer" else name for name in KINDS)
        if len(kinds) != 1:
            raise ValueError(f"must name exactly one place: {named}")
        if self.pattern is not None and kinds[0] in {"subject", "text", "value"}:
            raise ValueError(f"needs no pattern beside {kinds[0]}")
        return self


KINDS: Final = tuple(name for name in PlaceSettings.model_fields if name != "pattern")


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


class TemplateSettings(Strict):
    """`[providers.template]`: where each field is in a provider's mails."""

    recipient: Pattern | None = None  # the mail's recipient looks like this
    headers: HeaderPatterns = Field(default_factory=dict)  # these headers look like this
    sender: Places | None = Field(None, alias="from")
    to: Places | None = None
    body: Places | None = None
    date: Places | None = None  # default: the mail's Date
    date_format: Annotated[tuple[TimeFormat, ...], BeforeValidator(_several)] = ()
    id: Places | None = None
    footers: Annotated[tuple[Pattern, ...], BeforeValidator(_several)] = ()
    split: Pattern | None = None  # the lines between several SMS in one mail
    ignore: tuple[IgnoreSettings, ...] = ()

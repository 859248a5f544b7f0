"""`[providers.post.template]`: a provider's posts declared in the config (docs/posts.md)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    StrictBool,
    StrictInt,
    field_validator,
    model_validator,
)

from bridge.config.json_path import Path
from bridge.config.pattern import Finder, Pattern
from bridge.config.signed_text import BODY, URL, Signed
from bridge.config.strict import Strict
from bridge.config.times import TimeFormat
from bridge.config.values import PositiveSeconds

_HEADER: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,76}")
_TYPE: Final = re.compile(r"[a-z0-9.+-]+/[a-z0-9.+-]+(?:; ?charset=utf-8)?")
_PLACEHOLDER: Final = re.compile(r"\{\w+\}")
METHODS: Final = ("POST", "GET")


def _several(value: object) -> object:
    """Accept a single value as a list of one."""
    return [value] if isinstance(value, str | Mapping) else value


def _header(name: str | None) -> str | None:
    if name is not None and not _HEADER.fullmatch(name):
        raise ValueError(f"{name!r} is no header's name, like X-Signature")
    return name if name is None else name.lower()


def _method(method: str) -> str:
    if method not in METHODS:
        raise ValueError(f"must be {' or '.join(METHODS)}")
    return method


Method = Annotated[str, AfterValidator(_method)]


class PostPlaceSettings(Strict):
    """One place of a value in a post: exactly one kind of place."""

    parameter: str | None = None  # of the form, or of the query where the body is no form
    header: str | None = None  # the value of this header
    path: Path | None = Field(None, alias="json")  # at this JSON path in the body
    value: str | None = None  # a constant
    inner: Path | None = None  # the text at `json` is JSON too: the path in that
    pattern: Finder | None = None  # selects a part of the value

    _known_header = field_validator("header")(_header)

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if sum(getattr(self, kind) is not None for kind in KINDS) != 1:
            raise ValueError("must name exactly one place: parameter, header, json, value")
        if self.inner is not None and (self.path is None or self.inner.in_item):
            raise ValueError("inner belongs beside json, and begins with $")
        for path in (self.path, self.inner):
            if path is not None and not path.is_single:
                raise ValueError(
                    f'{path.text} names several values: let each = "{path.text}" name the items, '
                    "and begin the path in an item with @"
                )
        if self.value is not None and self.pattern is not None:
            raise ValueError("needs no pattern beside value")
        return self

    @property
    def shown(self) -> str:
        """The place in words, for messages to operators."""
        if self.path is not None:
            return f"{self.path.text} {self.inner.text}" if self.inner else self.path.text
        return self.parameter or self.header or "the constant"


KINDS: Final = ("parameter", "header", "path", "value")


def _places(value: object) -> object:
    if not isinstance(value, Mapping | list | tuple):
        raise ValueError('must be a place, like { parameter = "from" }, or a list of places')  # noqa: TRY004
    return _several(value)


Places = Annotated[
    tuple[PostPlaceSettings, ...], BeforeValidator(_places), Field(min_length=1)
]  # the first that has a value


class PostIgnoreSettings(Strict):
    """`[[providers.post.template.ignore]]`: posts that are acknowledged and are no SMS, and why."""

    why: str = Field(min_length=1)
    place: PostPlaceSettings  # there is a value here …
    matches: Pattern | None = None  # … which this matches; default: any


class AnswerSettings(Strict):
    """`[providers.post.template.answer]`: what tells the provider that its SMS is stored."""

    status: Annotated[StrictInt, Field(ge=200, le=299)] = 200
    type: str | None = None
    body: str = ""  # {id} is the provider's id of the first SMS

    @model_validator(mode="after")
    def _written_right(self) -> Self:
        if self.type is not None and not _TYPE.fullmatch(self.type):
            raise ValueError('type must be a media type, like "text/plain"')
        if self.body and (self.type is None or self.status == 204):
            raise ValueError("a body needs a type, and a status other than 204")
        if set(_PLACEHOLDER.findall(self.body)) - {"{id}"}:
            raise ValueError("the only placeholder in an answer's body is {id}")
        return self


class LoginSettings(Strict):
    """`[providers.post.template.login]`: how the caller shows the password.

    It proves who calls and not what is said, and is never stored.
    """

    kind: Literal["basic", "bearer", "header", "parameter"]
    name: str | None = None  # of the header, or of the parameter of the form or query

    @model_validator(mode="after")
    def _named(self) -> Self:
        named = self.kind in {"header", "parameter"}
        if named != (self.name is not None):
            raise ValueError(f"kind = {self.kind!r} {'needs a' if named else 'has no'} name")
        if self.kind == "header":
            _header(self.name)
        return self


class SignatureSettings(Strict):
    """`[providers.post.template.signature]`: what is signed, how, and where the signature is."""

    algorithm: Literal["hmac-sha1", "hmac-sha256", "hmac-sha512", "ed25519", "jwt-hs256"]
    place: PostPlaceSettings  # where the signature, or the JWT, is
    signed: Signed | None = None  # what is signed, with placeholders; not for a JWT
    claims: dict[str, Signed] = Field(default_factory=dict)  # what a JWT's claims must be
    encoding: Literal["hex", "hex-any-case", "base64", "base64url"] = "hex"
    prefix: str = ""  # in front of the signature
    separator: Annotated[str, Field(min_length=1, max_length=3)] | None = None  # between several
    key: Literal["text", "hex", "base64"] = "text"  # how the secret writes the key
    timestamp: PostPlaceSettings | None = None  # when it was signed, in Unix time
    timestamp_unit: Literal["s", "ms"] = "s"
    tolerance: PositiveSeconds = 300.0  # how far that may be off
    nonce: PostPlaceSettings | None = None
    each_parameter: str = "{name}{value}"  # how {parameters} writes each one, sorted by name
    underscore: str = ""  # characters of parameters that are signed as _
    optional: StrictBool = False  # without a secret, the token alone is checked

    @property
    def names(self) -> frozenset[str]:
        """All placeholders that are signed."""
        signed = [self.signed] if self.signed else []
        return frozenset().union(*(each.names for each in (*signed, *self.claims.values())))

    @property
    def signs_body(self) -> bool:
        """Whether the body is signed."""
        return bool(self.names & BODY)

    @property
    def signs_query(self) -> bool:
        """Whether the query is signed."""
        return bool(self.names & URL) or "parameters" in self.names

    def _within(self, place: PostPlaceSettings | None) -> bool:
        """Return whether a place is in what is signed anyway."""
        if place is None or not self.signs_body:
            return False
        return bool(place.path) or (place.parameter is not None and "parameters" in self.names)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        jwt = self.algorithm == "jwt-hs256"
        if jwt == (self.signed is not None):
            raise ValueError("set signed, or for jwt-hs256 claims instead")
        if not jwt and self.claims:
            raise ValueError("only a JWT (jwt-hs256) has claims")
        if jwt and (self.timestamp is not None or self.separator is not None):
            raise ValueError("a JWT has its own times, and there is one: drop timestamp, separator")
        names = self.names
        for part in ("timestamp", "nonce"):
            place = getattr(self, part)
            if (part in names) != (place is not None) and not self._within(place):
                raise ValueError(
                    f"{part} must be signed and have a place: write {{{part}}} in signed, and "
                    f"{part} = {{ … }}"
                )
        if not jwt and not names - {"secret", "method"}:
            raise ValueError("signed has no placeholder that differs from post to post")
        written = self.each_parameter
        if written.count("{name}") != 1 or written.count("{value}") != 1:
            raise ValueError("each_parameter holds {name} and {value} once, like &{name}={value}")
        return self


class PostTemplateSettings(Strict):
    """`[providers.post.template]`: where values are in a post, what proves it, what answers."""

    methods: Annotated[tuple[Method, ...], BeforeValidator(_several), Field(min_length=1)] = (
        "POST",
    )
    each: Path | None = None  # the items, if a post can hold several SMS: "$.results[*]"
    sender: Places | None = Field(None, alias="from")
    to: Places | None = None  # default: `to` in [providers.post]
    body: Places | None = None
    date: Places | None = None  # default: when the post arrived
    date_format: Annotated[tuple[TimeFormat, ...], BeforeValidator(_several)] = ()
    id: Places | None = None
    event: Places | None = None  # which kind of event it is
    events: Annotated[tuple[str, ...], BeforeValidator(_several)] = ()  # the kinds that are SMS
    ignore: tuple[PostIgnoreSettings, ...] = ()
    signature: SignatureSettings | None = None
    login: LoginSettings | None = None
    answer: AnswerSettings = AnswerSettings()

    @property
    def conflict(self) -> str | None:
        """What doesn't fit together, or None; asked when a preset's keys are in as well."""
        if (self.event is None) != (not self.events):
            return "event and events belong together: set both or none"
        if self.each is not None and (self.each.in_item or self.each.is_single):
            return "each must begin with $ and hold [*]: it names the items of a list"
        if self.each is None and any(place.path and place.path.in_item for place in self.places):
            return "a path with @ is in an item: name the items with each"
        return None

    @property
    def places(self) -> tuple[PostPlaceSettings, ...]:
        """Every place that is read."""
        fields = (self.sender, self.to, self.body, self.date, self.id, self.event)
        return (
            *(place for found in fields for place in found or ()),
            *(rule.place for rule in self.ignore),
        )

"""What a provider's posts are to the rest: how they are judged, read and answered."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any, Final, Protocol
from urllib.parse import quote

from bridge import numbers, posts
from bridge.config.posts import PostSettings
from bridge.config.settings import ProviderSettings
from bridge.errors import ConfigError
from bridge.model import Ignored, Post, RawFields, Reason, SmsMessage, Trust, Unreadable
from bridge.providers.base import MAX_BODY, MAX_FIELD, number_warnings, own_id
from bridge.providers.posts.values import storable
from bridge.providers.times import Moment, ReadTime

# Amazon SNS calls its JSON text/plain. A post may also say nothing of its type, as httpSMS's.
CONTENT_TYPES: Final = (posts.FORM, "application/json", "text/plain")
TOLERANCE: Final = timedelta(minutes=5)  # of a signed time, as Standard Webhooks has it
_LONGEST_TIME: Final = 15
TIME_FROM_ARRIVAL: Final = "time_from_arrival"
BY_TOKEN: Final = Trust("token", "the address that was called; the body is not signed")
# What an id may hold that is repeated as it is, whatever the type of the answer; the rest is
# percent-encoded.
_ECHOED: Final = "+=:@~,"

Read = SmsMessage | tuple[SmsMessage, ...] | Unreadable | Ignored


@dataclass(frozen=True, slots=True)
class Answer:
    """A response's status, body and type, exactly as the provider wants them."""

    status: int = 200
    body: bytes = b""
    content_type: str | None = None
    headers: tuple[tuple[str, str], ...] = ()  # further ones


NOT_FOUND: Final = Answer(404)  # whatever is wrong with an address


@dataclass(frozen=True, slots=True)
class Client:
    """Who made a request: its address, and the certificate that its connection showed.

    The certificate is as `ssl` has it, if one of the CAs in the config signed it; the address is
    the one behind the proxies that the config names.
    """

    address: str | None = None
    certificate: Mapping[str, Any] | None = None


def anyone(_post: Post, _client: Client, _at: datetime) -> str | None:
    """Admit any caller."""
    return None


@dataclass(frozen=True, slots=True)
class Posts:
    """One configured provider's posts: pure functions, which never raise.

    `admit` returns why a caller is refused, or None. It is given the request with all its headers,
    the client and the time, and is asked once, when the post comes in: what it checks (passwords,
    tokens, the address, the certificate) is not stored. `stored` returns the part of the request
    that is. From that alone, `verify` returns why the post is believed, or a sentence why it isn't,
    and `read` what it says; both get the time of arrival, and are asked again for a reparse.

    `answer` returns the success of a post, `refusal` every other answer: with the body and type of
    `failure`. `challenge` is what a client that logs in may wait for before it does (RFC 9110,
    11.6.1). `fields` says where each value is, for the operator.
    """

    name: str
    verify: Callable[[Post, datetime], Trust | str]
    read: Callable[[Post, datetime], Read]
    success: Answer = Answer()
    failure: Answer = Answer(503)
    methods: frozenset[str] = field(default=frozenset({"POST"}))
    admit: Callable[[Post, Client, datetime], str | None] = anyone
    stored: Callable[[Post], Post] = posts.stored
    echo: Callable[[Post], str] | None = None  # the id that the success repeats at {id}
    challenge: str | None = None
    fields: Mapping[str, str] = field(default_factory=dict)

    def answer(self, post: Post) -> Answer:
        """Return the success answer to a post."""
        if self.echo is None:
            return self.success
        written = quote(self.echo(post), safe=_ECHOED).encode()
        return replace(self.success, body=self.success.body.replace(b"{id}", written))

    def refusal(self, status: int) -> Answer:
        """Return the answer to a post that is not taken."""
        headers: tuple[tuple[str, str], ...] = ()
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            headers = (("Allow", ", ".join(sorted(self.methods))),)
        elif status == HTTPStatus.UNAUTHORIZED and self.challenge is not None:
            headers = (("WWW-Authenticate", self.challenge),)
        return replace(self.failure, status=status, headers=headers)


@dataclass(frozen=True, slots=True)
class Context:
    """What a format is built with: the provider's table and the URLs that it may be called by."""

    settings: ProviderSettings
    post: PostSettings
    key: str  # the table's path in the config
    urls: Sequence[str]  # one for each token; empty without [posts] public_url

    @property
    def name(self) -> str:
        """The provider's name."""
        return self.settings.name

    def secrets(self) -> tuple[str, ...]:
        """Return the signing secrets, newest first; ConfigError if there is none."""
        found = tuple(each.get_secret_value() for each in self.post.signing_secrets)
        if not found:
            raise ConfigError(
                f"{self.key}.post.secret",
                f"{self.name} signs its posts: name the secret that its console shows",
            )
        return found

    def passwords(self) -> tuple[str, ...]:
        """Return the provider's passwords, newest first; ConfigError if there is none."""
        found = self.post.all_passwords
        if not found:
            raise ConfigError(
                f"{self.key}.post.password",
                f"{self.name} shows a password: set the one that its console has",
            )
        return found

    def without_password(self) -> None:
        """Refuse a password or a user name where none is shown."""
        for name in ("username", "password", "passwords"):
            if getattr(self.post, name):
                raise ConfigError(
                    f"{self.key}.post.{name}",
                    f"{self.name} shows none: a [providers.post.template.login] declares one",
                )

    def without_secret(self) -> None:
        """Refuse a secret where nothing is signed."""
        if self.post.signing_secrets:
            raise ConfigError(
                f"{self.key}.post.secret", f"{self.name} signs nothing: only the token protects it"
            )


class Build(Protocol):
    """What a format's file offers; raises ConfigError."""

    def __call__(self, context: Context) -> Posts:
        """Build the posts of one provider."""


def by_token(_post: Post, _at: datetime) -> Trust | str:
    """Believe a post by its address alone."""
    return BY_TOKEN


def hex_hmac(keys: Sequence[bytes], signed: bytes, given: str) -> bool:
    """Return whether `given` is the HMAC-SHA256 of `signed`, in lower hex, with one of the keys."""
    return matches((hmac.digest(key, signed, hashlib.sha256).hex() for key in keys), given)


def matches(right: Iterable[str], given: str) -> bool:
    """Compare with each that would be right, in constant time, until one is.

    They can be computed one by one: an HMAC costs, and mostly the first one is right.
    """
    text = given.encode("utf-8", "surrogateescape")
    return any(hmac.compare_digest(each.encode(), text) for each in right)


def fresh(written: str, at: datetime, tolerance: timedelta = TOLERANCE, unit: float = 1.0) -> bool:
    """Return whether a signed Unix time is within the tolerance; `unit` is its unit in seconds."""
    if not (written.isascii() and written.isdecimal() and len(written) <= _LONGEST_TIME):
        return False
    return abs(int(written) * unit - at.timestamp()) <= tolerance.total_seconds()


@dataclass(frozen=True, slots=True)
class Fields:
    """The names of a format's parameters or keys, and how its times are read."""

    sender: str
    recipient: str | None
    body: str
    time: str | None = None
    message_id: str | None = None
    read_time: ReadTime | None = None
    body_optional: bool = False

    @property
    def named(self) -> Mapping[str, str]:
        """The names by what they hold."""
        names = (
            ("from", self.sender), ("to", self.recipient), ("body", self.body),
            ("date", self.time), ("id", self.message_id),
        )  # fmt: skip
        return {word: name for word, name in names if name is not None}


def message(
    context: Context, values: Mapping[str, str], fields: Fields, at: datetime
) -> SmsMessage | Unreadable:
    """Make the message from values by name, or say what is missing or malformed."""
    name = context.name
    values = {storable(each): storable(value) for each, value in values.items()}

    def unreadable(detail: str) -> Unreadable:
        return Unreadable(Reason.UNREADABLE, detail, name)

    sender = values.get(fields.sender, "").strip()
    recipient = values.get(fields.recipient or "", "").strip() or (context.post.to or "")
    body = values.get(fields.body)
    if body is None and fields.body_optional:
        body = ""
    if body is None or not sender:
        missing = fields.body if body is None else fields.sender
        return unreadable(f"{missing} is missing (there are: {_names(values)})")
    if not recipient:
        return unreadable(
            f'{fields.recipient or "the recipient"} is missing: set to = "…" in [providers.post]'
        )
    written = values.get(fields.time or "", "").strip()
    own = own_id(values.get(fields.message_id or "", "").strip())
    if len(body) > MAX_BODY:
        return unreadable(f"{fields.body} is longer than {MAX_BODY} characters")
    if any(len(each) > MAX_FIELD for each in (sender, recipient, written, own or "")):
        return unreadable(f"a value is longer than {MAX_FIELD} characters")
    moment: Moment | None = Moment(at, TIME_FROM_ARRIVAL, own=False)
    if written and fields.read_time is not None:
        moment = fields.read_time(written)
    if moment is None:
        return unreadable(f"{fields.time} is not in a format known here")
    read_sender = numbers.normalise(sender, context.settings.region)
    read_recipient = numbers.normalise(recipient, context.settings.region)
    warnings = [*number_warnings(read_sender, read_recipient), moment.warning]
    return SmsMessage(
        provider=name,
        sender=read_sender.value,
        recipient=read_recipient.value,
        body=body.replace("\r\n", "\n"),
        received_at=moment.at,
        raw=RawFields(sender, recipient, written or None),
        has_own_time=moment.own,
        provider_message_id=own,
        warnings=tuple(dict.fromkeys(str(each) for each in warnings if each)),
    )


def _names(values: Mapping[str, str]) -> str:
    return ", ".join(sorted(name[:20] for name in values)[:12]) or "none"

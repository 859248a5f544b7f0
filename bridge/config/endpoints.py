"""`[[endpoints]]`: the services that receive webhooks, and how smsbridge authenticates to them."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal, Self

from pydantic import (
    AfterValidator,
    AnyHttpUrl,
    BeforeValidator,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)

from bridge.config.filters import FilterSettings
from bridge.config.rate import RateText
from bridge.config.secret import read_secret
from bridge.config.strict import Strict
from bridge.config.values import ConfigPath, Count, Name, PositiveSeconds, Secret
from bridge.model import SMS_RECEIVED

DEFAULT_SCHEME: Final = "standard-webhooks"
NO_SCHEME: Final = "none"

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
_VISIBLE: Final = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
_MIN_TOKEN: Final = 16
_BEARER: Final = re.compile(r"[\x21-\x7e]+")
_USERNAME: Final = re.compile(r"[^\x00-\x1f\x7f:]+")
# What every request has already, and what belongs to the connection.
_RESERVED: Final = frozenset({
    "accept", "accept-encoding", "connection", "content-encoding", "content-length",
    "content-type", "expect", "host", "keep-alive", "proxy-authorization", "te", "trailer",
    "transfer-encoding", "upgrade", "user-agent",
})  # fmt: skip
_OURS: Final = "webhook-"


def _header_name(name: str) -> str:
    if not _TOKEN.fullmatch(name):
        raise ValueError('must be a header\'s name, like "X-Tenant"')
    if name.lower() in _RESERVED or name.lower().startswith(_OURS):
        raise ValueError(f"{name} is set by smsbridge: name another header")
    return name


def _header_value(value: SecretStr) -> SecretStr:
    # Never repeated: it may be a secret.
    if not _VISIBLE.fullmatch(value.get_secret_value()):
        raise ValueError("a header's value is ASCII text, with no line break in it")
    return value


def _bearer(value: SecretStr) -> SecretStr:
    if not _BEARER.fullmatch(value.get_secret_value()):
        raise ValueError('a bearer token is ASCII without spaces; "Bearer " is added to it')
    return value


def _at_least_a_second(seconds: float) -> float:
    if seconds < 1:
        raise ValueError("must be at least 1s")
    return seconds


def _pull_token(value: SecretStr) -> SecretStr:
    if len(value.get_secret_value()) < _MIN_TOKEN:
        raise ValueError(f"a token has at least {_MIN_TOKEN} characters (`smsbridge secret`)")
    return _bearer(value)


def _prefix(text: str) -> str:
    if text and not _VISIBLE.fullmatch(text):
        raise ValueError('must be ASCII text, like "sha256="; "" for none')
    return text


def _username(text: str) -> str:
    if not _USERNAME.fullmatch(text):
        raise ValueError("must not be empty, nor hold a colon or control characters")
    return text


def _without_fragment(url: AnyHttpUrl) -> AnyHttpUrl:
    if url.fragment is not None:
        raise ValueError("has a #fragment, which is never sent: leave it out")
    return url


def _distinct(headers: dict[str, SecretStr]) -> dict[str, SecretStr]:
    seen: set[str] = set()
    for name in headers:
        if name.lower() in seen:
            raise ValueError(f"{name} is there twice: case doesn't matter in a header's name")
        seen.add(name.lower())
    return headers


HeaderName = Annotated[str, AfterValidator(_header_name)]
HeaderValue = Annotated[Secret, AfterValidator(_header_value)]
PullToken = Annotated[Secret, AfterValidator(_pull_token)]
Headers = Annotated[dict[HeaderName, HeaderValue], AfterValidator(_distinct)]


class FailoverSettings(Strict):
    """`failover` of an endpoint: where its webhooks go while its own URL fails."""

    url: AnyHttpUrl
    after: PositiveSeconds = 60.0  # of failures only
    secret: Secret | None = None  # else the endpoint's
    secrets: tuple[Secret, ...] = ()  # [new, old] while rotating

    @field_validator("url")
    @classmethod
    def _no_fragment(cls, url: AnyHttpUrl) -> AnyHttpUrl:
        return _without_fragment(url)

    @model_validator(mode="after")
    def _one_kind_of_secret(self) -> Self:
        if self.secret is not None and self.secrets:
            raise ValueError("set secret, or secrets = [new, old] while rotating, and not both")
        return self

    @property
    def signing_secrets(self) -> tuple[SecretStr, ...]:
        """Its own signing secrets, newest first; none: the endpoint's are used."""
        return self.secrets or ((self.secret,) if self.secret else ())


class EndpointSettings(Strict):
    """`[[endpoints]]`: one internal service that receives webhooks."""

    name: Name
    url: AnyHttpUrl
    secret: Secret | None = None
    secrets: tuple[Secret, ...] = ()  # [new, old] while rotating
    format: str = SMS_RECEIVED  # what webhooks look like; one of bridge.formats.FORMATS
    scheme: str | None = (
        None  # how they are signed; one of bridge.signing.SCHEMES, else the format's
    )
    scheme_header: HeaderName | None = None  # where hex puts the signature
    scheme_prefix: Annotated[str, AfterValidator(_prefix)] | None = None
    providers: tuple[str, ...] = ()  # only messages of these providers; empty: all
    to: tuple[str, ...] = ()  # only messages to these numbers; empty: all
    filter: tuple[FilterSettings, ...] = ()  # only messages that one of these takes; empty: all
    order: Literal["none", "conversation"] = "none"  # one by one, from a sender to a recipient
    behind: Literal["block", "pass"] | None = None  # one that fails: wait (default), or go on
    headers: Headers = Field(default_factory=dict)  # sent with every request
    bearer: Annotated[Secret, AfterValidator(_bearer)] | None = None
    username: Annotated[str, AfterValidator(_username)] | None = None  # HTTP basic
    password: Secret | None = None
    tls_ca: ConfigPath | None = None  # the only trusted CA (PEM); default: the system's
    tls_certificate: ConfigPath | None = None  # with tls_key: our own, for mutual TLS
    tls_key: ConfigPath | None = None
    # The URL may contain a password, so it can be given like a secret.
    proxy: Annotated[AnyHttpUrl, BeforeValidator(read_secret)] | None = Field(None, repr=False)
    concurrency: Count | None = None  # else [delivery]'s
    timeout: PositiveSeconds | None = None
    failover: FailoverSettings | None = None  # where they go while `url` fails
    give_up: PositiveSeconds | None = None  # else [delivery]'s
    # A signed digest of what it was sent, so often; default: none.
    digest: Annotated[PositiveSeconds, AfterValidator(_at_least_a_second)] | None = None
    # Opens its events to whoever has it, on [http]; default: nobody.
    pull_token: PullToken | None = None
    pull_tokens: tuple[PullToken, ...] = ()  # [new, old] while changing it
    rate: RateText | None = None  # "10/s": so many requests in that time
    burst: Count | None = None  # so many at once after a pause; default: 1

    @field_validator("url")
    @classmethod
    def _no_fragment(cls, url: AnyHttpUrl) -> AnyHttpUrl:
        return _without_fragment(url)

    @field_validator("proxy")
    @classmethod
    def _host_only(cls, proxy: AnyHttpUrl | None) -> AnyHttpUrl | None:
        if proxy is not None and (proxy.path not in {None, "/"} or proxy.query or proxy.fragment):
            raise ValueError('has more than a host and a port: write "http://proxy.internal:3128"')
        return proxy

    @model_validator(mode="after")
    def _secret_or_secrets(self) -> Self:
        if self.scheme == NO_SCHEME:
            if self.signing_secrets:
                raise ValueError('scheme = "none" signs nothing: leave secret and secrets out')
            return self
        # Without a scheme, a format other than the default one may have no signature.
        unsigned = self.scheme is None and self.format != SMS_RECEIVED and not self.signing_secrets
        if (self.secret is None) == (not self.secrets) and not unsigned:
            raise ValueError("set secret, or secrets = [new, old] while rotating, and not both")
        return self

    @model_validator(mode="after")
    def _one_form_of_pull_token(self) -> Self:
        if self.pull_token is not None and self.pull_tokens:
            raise ValueError(
                "set pull_token, or pull_tokens = [new, old] while changing it, and not both"
            )
        return self

    @model_validator(mode="after")
    def _behind_in_order(self) -> Self:
        if self.behind is not None and self.order == "none":
            raise ValueError('behind has no effect without order = "conversation"')
        return self

    @model_validator(mode="after")
    def _burst_of_a_rate(self) -> Self:
        if self.burst is not None and self.rate is None:
            raise ValueError('burst has no effect without a rate: set rate = "10/s", or remove it')
        return self

    @model_validator(mode="after")
    def _one_login(self) -> Self:
        if (self.username is None) != (self.password is None):
            raise ValueError("username and password belong together: set both or none")
        logins = {
            "bearer": self.bearer is not None,
            "username": self.username is not None,
            "a name in the url": any(
                bool(each.username or each.password) for each in (self.url, *self._failover_url)
            ),
            "headers.Authorization": "authorization" in {each.lower() for each in self.headers},
        }
        if sum(logins.values()) > 1:
            used = " and ".join(name for name, set_ in logins.items() if set_)
            raise ValueError(f"{used} are the same header of a request: keep one")
        return self

    @model_validator(mode="after")
    def _tls(self) -> Self:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key belong together: set both or none")
        for name in ("tls_ca", "tls_certificate"):
            if self.url.scheme != "https" and getattr(self, name) is not None:
                raise ValueError(f"{name} has no effect with http://: remove one")
        return self

    @model_validator(mode="after")
    def _another_url(self) -> Self:
        if self.url in self._failover_url:
            raise ValueError("failover.url is the endpoint's own url: name another one")
        return self

    @property
    def _failover_url(self) -> tuple[AnyHttpUrl, ...]:
        return () if self.failover is None else (self.failover.url,)

    @property
    def named_providers(self) -> frozenset[str]:
        """The providers that the endpoint's filters name."""
        conditions = (each for table in self.filter for each in table.conditions())
        return frozenset(self.providers).union(*(each.provider for each in conditions))

    @property
    def signing_secrets(self) -> tuple[SecretStr, ...]:
        """The signing secrets, newest first."""
        return self.secrets or ((self.secret,) if self.secret else ())

    @property
    def all_pull_tokens(self) -> tuple[SecretStr, ...]:
        """What opens its events, newest first; none: nothing does."""
        return self.pull_tokens or ((self.pull_token,) if self.pull_token else ())

    @property
    def login(self) -> str | None:
        """How smsbridge authenticates in a header: bearer, basic or its own; None if it doesn't."""
        if self.bearer is not None:
            return "bearer"
        if self.username is not None or self.url.username or self.url.password:
            return "basic"
        named = any(each.lower() == "authorization" for each in self.headers)
        return "headers.Authorization" if named else None

"""Every setting with its type and default: the single definition of the config.

Sizes are bytes (`"10MiB"` is read too), durations seconds (`"20s"`, `"5m"`, `"6h"`, `"7d"` are
read too). All models are frozen and refuse a key that they do not know.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    BeforeValidator,
    ByteSize,
    Field,
    StrictBool,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from bridge.config.authserv import AuthservSettings
from bridge.config.endpoints import EndpointSettings
from bridge.config.folder import anchored
from bridge.config.http import HttpSettings
from bridge.config.imap import ImapSettings
from bridge.config.pattern import Pattern
from bridge.config.posts import PostSettings, PostsSettings
from bridge.config.retention import RetentionSettings
from bridge.config.secret import read_secret
from bridge.config.secret_address import SecretAddress
from bridge.config.strict import Strict
from bridge.config.template import LabelSettings, TemplateSettings
from bridge.config.values import (
    AddressOrDomain,
    ConfigPath,
    Count,
    Destination,
    Domain,
    Host,
    Label,
    Listen,
    Name,
    Network,
    PositiveSeconds,
    PositiveSize,
    Region,
    Seconds,
    Size,
    Zone,
    nearest,
)


class StoreSettings(Strict):
    """`[store]`: where arrivals, messages and deliveries are kept."""

    # The URL may contain a password, so it can be given like a secret.
    url: Annotated[str, BeforeValidator(read_secret)] = Field(
        "sqlite:///bridge.db", repr=False, validate_default=True
    )
    min_free: Size = ByteSize(256 * 1024**2)  # below this much free disk, mail is deferred
    busy_timeout: PositiveSeconds = 5.0  # how long a commit waits for another process's lock
    # The most that strangers' mails may take in quarantine, a single peer a quarter of it.
    quarantine_mails: Count = 20_000
    quarantine_size: PositiveSize = ByteSize(512 * 1024**2)

    @field_validator("url")
    @classmethod
    def _known_kind(cls, url: str) -> str:
        if url.startswith("postgresql://"):
            return url
        kind, found, rest = url.partition("sqlite:///")
        if kind or not found:
            raise ValueError("must begin with sqlite:/// or postgresql://")
        path, mark, options = rest.partition("?")
        if not path or path.startswith((":memory:", "file:")):
            raise ValueError("must name a file after sqlite:///: nothing is kept in memory only")
        return f"sqlite:///{anchored(Path(path))}{mark}{options}"


class SmtpSettings(Strict):
    """`[smtp]`: the listener for mail from other mail servers.

    An address is `127.0.0.1:2525`, `[::1]:2525`, `:2525` (every address) or `systemd:NAME`
    (a socket passed by systemd).
    """

    listen: tuple[Listen, ...] = ("127.0.0.1:2525",)
    tls_listen: tuple[Listen, ...] = ()  # implicit TLS
    tls_certificate: ConfigPath | None = None  # with tls_key: STARTTLS is offered on `listen`
    tls_key: ConfigPath | None = None
    hostname: str | None = None  # in the greeting; default: the machine's name
    recipients: tuple[AddressOrDomain, ...] = ()  # "sms@example.com" or "@example.com"; empty: any
    max_message: PositiveSize = ByteSize(10 * 1024**2)
    max_line: PositiveSize = ByteSize(64 * 1024)
    max_recipients: Count = 100
    max_connections: Count = 200
    max_connections_per_peer: Count = 50
    idle_timeout: PositiveSeconds = 60.0
    session_timeout: PositiveSeconds = 600.0

    @model_validator(mode="after")
    def _certificate_and_key(self) -> Self:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key belong together: set both or none")
        if self.tls_listen and self.tls_certificate is None:
            raise ValueError("tls_listen needs tls_certificate and tls_key")
        return self


class LogSettings(Strict):
    """`[log]`: one line per event on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = "auto"  # auto: console on a terminal, else JSON


DEFAULT_SCHEDULE: tuple[float, ...] = (
    0.0, 2.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0, 14400.0,
)  # fmt: skip


class DeliverySettings(Strict):
    """`[delivery]`: how webhooks are sent, unless an endpoint overrides it."""

    concurrency: Count = 10  # concurrent calls per endpoint
    timeout: PositiveSeconds = 20.0  # one deadline over the whole attempt
    schedule: tuple[Seconds, ...] = Field(
        default=DEFAULT_SCHEDULE, min_length=1
    )  # delay before each attempt
    repeat: PositiveSeconds = 6 * 3600.0  # then at this interval
    give_up: PositiveSeconds = 7 * 86400.0  # then the delivery is dead
    max_retry_after: Seconds = 24 * 3600.0  # the longest Retry-After that is honoured
    grace: PositiveSeconds = 25.0  # on shutdown: time for in-flight attempts to finish
    hosts: tuple[Host, ...] = ()  # the only ones that endpoints' URLs may name; empty: any
    networks: tuple[Destination, ...] = ()  # the only ones to connect to; empty: any

    @field_validator("schedule")
    @classmethod
    def _first_try_at_once(cls, schedule: tuple[float, ...]) -> tuple[float, ...]:
        if schedule[0] != 0:
            raise ValueError("the first try is made at once: let it begin with 0")
        return schedule


class TrustSettings(Strict):
    """`[providers.trust]`: the evidence that makes a provider's mail believed; any one suffices.

    Only the keys are typed here. What each kind checks, needs and warns of is declared in
    `bridge.trust`, one file per kind.
    """

    networks: tuple[Network, ...] = ()  # the SMTP client's address is in one of these
    recipients: tuple[SecretAddress, ...] = ()  # the mail was sent to this secret address
    dkim: tuple[Domain, ...] = ()  # signed by one of these domains; we verify it
    authserv_id: AuthservSettings | None = None  # your own mail server verified it
    anyone: StrictBool = False  # believe everyone: explicit, and `check` warns

    @model_validator(mode="after")
    def _some_evidence(self) -> Self:
        if not any(getattr(self, kind) for kind in type(self).model_fields):
            kinds = ", ".join(name for name in type(self).model_fields if name != "anyone")
            raise ValueError(f"name at least one kind of evidence: {kinds}, or anyone = true")
        return self


class ProviderSettings(Strict):
    """`[[providers]]`: one company whose mails are parsed."""

    name: Name
    preset: str | None = None  # which built-in format; default: the one called `name`
    time_zone: Zone | None = None
    region: Region | None = None  # ISO 3166, for numbers
    senders: tuple[AddressOrDomain, ...] | None = (
        None  # "a@b.c" or "@b.c"; default: the preset's own
    )
    subject: Pattern | None = None  # what its subjects look like; default: the preset's own
    labels: LabelSettings | None = None  # beside the preset's own
    footers: tuple[Label, ...] = ()  # a line that begins so ends the text
    template: TemplateSettings | None = None  # how its mails are read, or what differs
    samples: tuple[ConfigPath, ...] = ()  # mails that `check` must be able to read; * is any name
    post: PostSettings | None = None  # how its HTTP posts come in; default: they don't
    trust: TrustSettings = Field(None, validate_default=True)

    @field_validator("trust", mode="wrap")
    @classmethod
    def _mails_need_evidence(
        cls, trust: object, check: ValidatorFunctionWrapHandler, info: ValidationInfo
    ) -> object:
        """Require evidence unless only posts are read: those have a token."""
        if trust is not None:
            return check(trust)
        if info.data.get("post", ...) is None:  # a wrong table is not in there at all
            raise PydanticCustomError("missing", "Field required")
        return TrustSettings.model_construct()

    @property
    def reads_mails(self) -> bool:
        """Whether its mails are read: they are if there is evidence for them."""
        return any(getattr(self.trust, kind) for kind in type(self.trust).model_fields)


class Settings(BaseSettings):
    """The whole config; `bridge.config.load.load` builds it from a TOML file."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    # A factory, because the default URL is relative to the config's folder too.
    store: StoreSettings = Field(default_factory=StoreSettings)
    smtp: SmtpSettings = SmtpSettings()
    imap: tuple[ImapSettings, ...] = ()
    posts: PostsSettings = PostsSettings()
    http: HttpSettings = HttpSettings()
    log: LogSettings = LogSettings()
    delivery: DeliverySettings = DeliverySettings()
    retention: RetentionSettings = RetentionSettings()
    providers: tuple[ProviderSettings, ...] = ()
    endpoints: tuple[EndpointSettings, ...] = ()

    @field_validator("imap")
    @classmethod
    def _unique_mailboxes(cls, imap: tuple[ImapSettings, ...]) -> tuple[ImapSettings, ...]:
        _unique([mailbox.name for mailbox in imap])
        read: dict[object, str] = {}
        for mailbox in imap:
            first = read.setdefault(mailbox.place, mailbox.name)
            if first != mailbox.name:
                raise ValueError(f"{first} and {mailbox.name} read the same folder: drop one")
        for mailbox in imap:
            for setting, target in mailbox.targets.items():
                if target in read:
                    raise ValueError(
                        f"{mailbox.name}.{setting} names a folder that {read[target]} reads, where "
                        "every mail would come in again: name another one"
                    )
        return imap

    @field_validator("providers")
    @classmethod
    def _unique_providers(
        cls, providers: tuple[ProviderSettings, ...]
    ) -> tuple[ProviderSettings, ...]:
        _unique([provider.name for provider in providers])
        return providers

    @field_validator("endpoints")
    @classmethod
    def _pulled_somewhere(
        cls, endpoints: tuple[EndpointSettings, ...], info: ValidationInfo
    ) -> tuple[EndpointSettings, ...]:
        if "http" in info.data and not info.data["http"].listen:
            for endpoint in endpoints:
                if endpoint.all_pull_tokens:
                    key = "pull_tokens" if endpoint.pull_tokens else "pull_token"
                    raise ValueError(
                        f"{endpoint.name}.{key} has no effect without an address in [http] "
                        "listen: set one"
                    )
        return endpoints

    @field_validator("endpoints")
    @classmethod
    def _endpoints_fit(
        cls, endpoints: tuple[EndpointSettings, ...], info: ValidationInfo
    ) -> tuple[EndpointSettings, ...]:
        _unique([endpoint.name for endpoint in endpoints])
        if "providers" not in info.data:  # reported separately
            return endpoints
        known = [provider.name for provider in info.data["providers"]]
        for endpoint in endpoints:
            for name in sorted(endpoint.named_providers):
                if name not in known:
                    near = nearest(name, known)
                    meant = f", did you mean {near!r}?" if near else ""
                    raise ValueError(
                        f"{endpoint.name} wants messages of provider {name!r}, "
                        f"which is not in [[providers]]{meant}"
                    )
        return endpoints

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only this file configures smsbridge: no environment variables, no .env."""
        return (init_settings,)


def _unique(names: Sequence[str]) -> None:
    for name, count in Counter(names).items():
        if count > 1:
            raise ValueError(f"the name {name!r} is used {count} times: names must be unique")

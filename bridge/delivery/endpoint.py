"""An endpoint as lanes use it: parsed and checked once, from its settings."""

from __future__ import annotations

import base64
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import httpx

from bridge.config.endpoints import (
    DEFAULT_SCHEME,
    NO_SCHEME,
    EndpointSettings,
    FailoverSettings,
)
from bridge.config.rate import Rate
from bridge.config.settings import DeliverySettings
from bridge.delivery.filters import Filter, unmatched
from bridge.delivery.routing import conversation_key, number_key, unwanted
from bridge.errors import ConfigError, SigningError
from bridge.formats import FORMATS, Format, format_of
from bridge.formats.form import CONTENT_TYPE as FORM
from bridge.model import SMS_RECEIVED, DeliveryState, Message, Order, PlannedDelivery
from bridge.net.destinations import ANYWHERE, Destinations, literal
from bridge.net.tls import client_context, load_pair
from bridge.signing import SCHEMES, Adjustable, CoversForm, Scheme, Schemes, find

HeaderList = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One service that receives webhooks; `keys` are its signing keys, newest first.

    `headers` are sent with every request, credentials included. `tls` is the context of an
    endpoint with a CA or a certificate of its own; others share one.
    """

    name: str
    url: httpx.URL = field(repr=False)  # its query and userinfo may be secret
    keys: tuple[bytes, ...] = field(repr=False)
    concurrency: int
    timeout: float
    give_up: float | None = None  # seconds; None: as [delivery] says
    rate: Rate | None = None
    digest: float | None = None  # seconds between two digests
    providers: frozenset[str] = frozenset()
    recipients: frozenset[str] = field(default=frozenset(), repr=False)
    filters: tuple[Filter, ...] = ()
    format: str = SMS_RECEIVED
    order: Order = Order.NONE
    scheme: Scheme = field(default=SCHEMES[DEFAULT_SCHEME], repr=False)
    headers: HeaderList = field(default=(), repr=False)
    tls: ssl.SSLContext | None = field(default=None, repr=False)
    proxy: str | None = field(default=None, repr=False)  # its userinfo may be secret
    destinations: Destinations = ANYWHERE
    failover: Endpoint | None = None  # the same with another URL, for while this one fails
    failover_after: float = 0.0  # seconds

    @property
    def speaks_tls(self) -> bool:
        """Whether the endpoint or its proxy is reached by TLS."""
        return self.url.scheme == "https" or (self.proxy or "").startswith("https:")

    @classmethod
    def from_settings(
        cls,
        index: int,
        settings: EndpointSettings,
        delivery: DeliverySettings,
        schemes: Schemes = SCHEMES,
    ) -> Self:
        """Build from `endpoints.<index>` of the config; ConfigError names the key that is wrong."""
        url = httpx.URL(str(settings.url))
        form = format_of(index, settings)
        scheme = _scheme(index, settings, schemes, url, form)
        keys = _keys(index, settings, scheme)
        signed = _signed_headers(index, settings, scheme, keys)
        destinations = Destinations.of(delivery.networks)
        _require_allowed(f"endpoints.{index}.url", url.host, destinations, delivery.hosts)
        if settings.proxy is not None:
            _require_allowed(f"endpoints.{index}.proxy", settings.proxy.host or "", destinations)
        made = cls(
            name=settings.name,
            url=url,
            keys=keys,
            concurrency=settings.concurrency or delivery.concurrency,
            timeout=timeout_of(settings, delivery),
            give_up=settings.give_up,
            rate=settings.rate and settings.rate.with_burst(settings.burst or 1),
            digest=_digest(index, settings, scheme),
            format=form.name,
            order=Order.NONE if settings.order == "none" else Order(settings.behind or Order.BLOCK),
            providers=frozenset(settings.providers),
            recipients=frozenset(number_key(number) for number in settings.to),
            filters=tuple(Filter.from_settings(each) for each in settings.filter),
            scheme=scheme,
            headers=_headers(index, settings, signed, form),
            tls=_tls(index, settings),
            proxy=None if settings.proxy is None else str(settings.proxy),
            destinations=destinations,
        )
        if settings.failover is None:
            return made
        failover = _failover(index, settings, settings.failover, made, schemes, form)
        _require_allowed(
            f"endpoints.{index}.failover.url", failover.url.host, destinations, delivery.hosts
        )
        return replace(made, failover=failover, failover_after=settings.failover.after)

    def unwanted(self, message: Message) -> str | None:
        """Return why this endpoint doesn't get the message, with nothing of it; None if it does."""
        return unwanted(
            message.sms, providers=self.providers, recipients=self.recipients
        ) or unmatched(self.filters, message)

    def plan(self, message: Message, reserve: Callable[[], bool] = bool) -> PlannedDelivery:
        """Plan the delivery of a message: filtered or pending.

        `reserve` takes a slot of the lane, True if there was one; it is called for pending
        deliveries only. By default there is none, and the delivery waits for the next poll.
        """
        reason = self.unwanted(message)
        if reason is not None:
            return PlannedDelivery(
                self.name, DeliveryState.FILTERED, reason=reason, format=self.format
            )
        return PlannedDelivery(
            self.name,
            DeliveryState.PENDING,
            claimed=reserve(),
            format=self.format,
            order=self.order,
            conversation=None if self.order is Order.NONE else conversation_key(message.sms),
        )


def scheme_name(settings: EndpointSettings) -> str:
    """Return how an endpoint's webhooks are signed: as it says, or as its format is by default."""
    return settings.scheme or FORMATS[settings.format].scheme


def timeout_of(settings: EndpointSettings, delivery: DeliverySettings) -> float:
    """Return the seconds that an attempt may take: the endpoint's, its format's, [delivery]'s."""
    return settings.timeout or FORMATS[settings.format].timeout or delivery.timeout


def _failover(
    index: int,
    settings: EndpointSettings,
    failover: FailoverSettings,
    own: Endpoint,
    schemes: Schemes,
    form: Format,
) -> Endpoint:
    """Make an endpoint of its failover URL, which differs in that, and in its secrets if any."""
    url = httpx.URL(str(failover.url))
    scheme = _scheme(index, settings, schemes, url, form)
    if not failover.signing_secrets:
        return replace(own, url=url, scheme=scheme)
    try:
        keys = tuple(
            scheme.parse_secret(each.get_secret_value()) for each in failover.signing_secrets
        )
        scheme.headers(keys, "msg_0", 0, b"")
    except SigningError as error:
        raise ConfigError(f"endpoints.{index}.failover", str(error)) from None
    return replace(own, url=url, scheme=scheme, keys=keys)


def _require_allowed(
    key: str, host: str, destinations: Destinations, hosts: Sequence[str] = ()
) -> None:
    """Refuse a host that isn't in the list, and an address; names are looked up when used."""
    bare = host.strip("[]").rstrip(".").lower()
    if hosts and not any(
        bare.endswith(each[1:]) if each.startswith("*.") else bare == each for each in hosts
    ):
        raise ConfigError(key, "names a host that is not in [delivery] hosts: add it there")
    address = literal(host)
    refused = None if address is None else destinations.refusal(address)
    if refused is not None:
        raise ConfigError(key, f"leads to {refused}, where no webhook goes: name another host")


def _scheme(
    index: int, settings: EndpointSettings, schemes: Schemes, url: httpx.URL, form: Format
) -> Scheme:
    name = scheme_name(settings)
    try:
        scheme = find(name, schemes)
    except SigningError as error:
        raise ConfigError(f"endpoints.{index}.scheme", str(error)) from None
    if isinstance(scheme, CoversForm):
        if form.content_type != FORM:
            problem = f"the scheme {name} signs forms, and the format {form.name} is none"
            raise ConfigError(f"endpoints.{index}.scheme", problem)
        # As on the wire, where the name and password are in a header.
        scheme = scheme.with_url(str(url.copy_with(username=None, password=None)))
    if isinstance(scheme, Adjustable):
        return scheme.with_options(settings.scheme_header, settings.scheme_prefix)
    for key in ("scheme_header", "scheme_prefix"):
        if getattr(settings, key) is not None:
            problem = f"the scheme {name} has headers of its own: leave it out"
            raise ConfigError(f"endpoints.{index}.{key}", problem)
    return scheme


def _keys(index: int, settings: EndpointSettings, scheme: Scheme) -> tuple[bytes, ...]:
    name = scheme_name(settings)
    if not settings.signing_secrets and name != NO_SCHEME:
        problem = f"set the secret that the scheme {name} signs with"
        raise ConfigError(f"endpoints.{index}.secret", problem)
    keys = []
    for position, secret in enumerate(settings.signing_secrets):
        place = f"secrets.{position}" if settings.secrets else "secret"
        if name == NO_SCHEME:
            problem = (
                f"the format {settings.format} is not signed: leave it out, or set scheme, too"
            )
            raise ConfigError(f"endpoints.{index}.{place}", problem)
        try:
            keys.append(scheme.parse_secret(secret.get_secret_value()))
        except SigningError as error:
            raise ConfigError(f"endpoints.{index}.{place}", str(error)) from None
    return tuple(keys)


def _digest(index: int, settings: EndpointSettings, scheme: Scheme) -> float | None:
    """Return how often there are digests; they are JSON, whatever the format, and signed."""
    if settings.digest is None:
        return None
    key = f"endpoints.{index}.digest"
    name = scheme_name(settings)
    if name == NO_SCHEME:
        raise ConfigError(key, "a digest that is not signed proves nothing: set scheme, too")
    if isinstance(scheme, CoversForm):
        raise ConfigError(key, f"a digest is JSON, and the scheme {name} signs forms")
    return settings.digest


def _signed_headers(
    index: int, settings: EndpointSettings, scheme: Scheme, keys: Sequence[bytes]
) -> set[str]:
    """Sign once, so that `check` refuses what can't sign; return the headers' names."""
    try:
        made = scheme.headers(keys, "msg_0", 0, b"")
    except SigningError as error:
        place = "secrets" if settings.secrets else "secret"
        raise ConfigError(f"endpoints.{index}.{place}", str(error)) from None
    return {name.lower() for name, _ in made}


def _headers(index: int, settings: EndpointSettings, signed: set[str], form: Format) -> HeaderList:
    made = [(name, value.get_secret_value()) for name, value in settings.headers.items()]
    if settings.bearer is not None:
        made.append(("Authorization", f"Bearer {settings.bearer.get_secret_value()}"))
    if settings.password is not None:
        login = f"{settings.username}:{settings.password.get_secret_value()}".encode()
        made.append(("Authorization", f"Basic {base64.b64encode(login).decode('ascii')}"))
    for name, _ in made:
        if name.lower() in signed:
            raise ConfigError(f"endpoints.{index}.headers", f"{name} is the signature's header")
        if name.lower() in form.header_names:
            problem = f"{name} is a header of the format {form.name}"
            raise ConfigError(f"endpoints.{index}.headers", problem)
    return tuple(made)


def _tls(index: int, settings: EndpointSettings) -> ssl.SSLContext | None:
    if settings.tls_ca is None and settings.tls_certificate is None:
        return None
    context = client_context(settings.tls_ca, f"endpoints.{index}.tls_ca")
    if settings.tls_certificate is not None and settings.tls_key is not None:
        load_pair(context, settings.tls_certificate, settings.tls_key, f"endpoints.{index}")
    return context

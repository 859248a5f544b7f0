"""An endpoint as lanes use it: parsed and checked once, from its settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

import httpx

from bridge.config.settings import DEFAULT_SCHEME, DeliverySettings, EndpointSettings
from bridge.delivery.routing import number_key, unwanted
from bridge.errors import ConfigError, SigningError
from bridge.model import DeliveryState, PlannedDelivery, SmsMessage
from bridge.signing import SCHEMES, Scheme, Schemes, find


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One service that receives webhooks; `keys` are its signing keys, newest first."""

    name: str
    url: httpx.URL = field(repr=False)  # its query and userinfo may be secret
    keys: tuple[bytes, ...] = field(repr=False)
    concurrency: int
    timeout: float
    providers: frozenset[str] = frozenset()
    recipients: frozenset[str] = field(default=frozenset(), repr=False)
    scheme: Scheme = field(default=SCHEMES[DEFAULT_SCHEME], repr=False)

    @classmethod
    def from_settings(
        cls,
        index: int,
        settings: EndpointSettings,
        delivery: DeliverySettings,
        schemes: Schemes = SCHEMES,
    ) -> Self:
        """Build from `endpoints.<index>` of the config; ConfigError names the key that is wrong."""
        scheme = _scheme(index, settings, schemes)
        return cls(
            name=settings.name,
            url=httpx.URL(str(settings.url)),
            keys=_keys(index, settings, scheme),
            concurrency=settings.concurrency or delivery.concurrency,
            timeout=settings.timeout or delivery.timeout,
            providers=frozenset(settings.providers),
            recipients=frozenset(number_key(number) for number in settings.to),
            scheme=scheme,
        )

    def plan(self, message: SmsMessage, reserve: Callable[[], bool] = bool) -> PlannedDelivery:
        """Plan the delivery of a message: filtered or pending.

        `reserve` takes a slot of the lane, True if there was one; it is called for pending
        deliveries only. By default there is none, and the delivery waits for the next poll.
        """
        reason = unwanted(message, providers=self.providers, recipients=self.recipients)
        if reason is not None:
            return PlannedDelivery(self.name, DeliveryState.FILTERED, reason=reason)
        return PlannedDelivery(self.name, DeliveryState.PENDING, claimed=reserve())


def _scheme(index: int, settings: EndpointSettings, schemes: Schemes) -> Scheme:
    try:
        return find(settings.scheme, schemes)
    except SigningError as error:
        raise ConfigError(f"endpoints.{index}.scheme", str(error)) from None


def _keys(index: int, settings: EndpointSettings, scheme: Scheme) -> tuple[bytes, ...]:
    keys = []
    for position, secret in enumerate(settings.signing_secrets):
        try:
            keys.append(scheme.parse_secret(secret.get_secret_value()))
        except SigningError as error:
            place = f"secrets.{position}" if settings.secrets else "secret"
            raise ConfigError(f"endpoints.{index}.{place}", str(error)) from None
    return tuple(keys)
